"""What produces results/: run from the top folder, `python -m experiments.NAME`."""
