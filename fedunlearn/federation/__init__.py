"""Federated simulation on Flower's Message API: what a client does, what the server does, and what runs them."""
