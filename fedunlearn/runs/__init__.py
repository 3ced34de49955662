"""A run from its steps to its folder, sweeps of runs, and what the user sees meanwhile."""
