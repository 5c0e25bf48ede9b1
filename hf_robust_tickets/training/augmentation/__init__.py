"""Augmentation inside the Trainer: options, the collator of the training data, and the trainer that uses it."""
