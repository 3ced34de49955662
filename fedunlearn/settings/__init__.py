"""The schema of conf/, checked before anything runs, and the registry of everything that plugs in."""
