"""The attacked model: texts in, logits out."""
