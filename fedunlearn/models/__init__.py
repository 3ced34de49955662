"""Architectures, one file per family. Every model is `features(x)` followed by a linear `head(z)` (see base.py)."""
