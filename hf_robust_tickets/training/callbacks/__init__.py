"""Callbacks: what watches a training, stops it, or measures it."""
