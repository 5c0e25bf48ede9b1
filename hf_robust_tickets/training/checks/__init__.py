"""What is refused before training, and what ends one that is lost."""
