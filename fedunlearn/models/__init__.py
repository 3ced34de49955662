"""Architectures, one file per family. Every model is an encoder of features and a head (base.py)."""
