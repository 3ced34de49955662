"""Formats: how the weights of a model are kept when it ships. One file per kind; none of them trains."""
