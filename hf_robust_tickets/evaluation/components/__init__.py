"""What recipes are made of: encoders, masked language models, substitutions."""
