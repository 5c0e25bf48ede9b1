"""Training under masks of single weights."""
