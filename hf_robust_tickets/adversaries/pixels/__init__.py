"""Attacks on the pixels of images, one method per file."""
