"""What executes the clients' work: one file for each engine."""
