"""Regression for fedunlearn, in a package of its own."""
