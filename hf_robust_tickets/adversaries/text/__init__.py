"""Attacks on word embeddings and hidden states, one method per file."""
