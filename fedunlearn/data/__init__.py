"""Datasets, how their samples are dealt to clients, and which of them are to be forgotten."""
