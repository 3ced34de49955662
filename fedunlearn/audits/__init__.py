"""Measurements of a model next to the models retrained without the forgotten data, one file each (see base.py).

What each one means, what a good value is and how it is misread: docs/audits.md.
"""
