"""Accuracy on data sets that are hard, noisy, contrasting, or adversarial for another model."""
