"""Augmentations: what is done to images before a client trains on them, one in each file; docs/augment.md."""
