"""What mends a model after unlearning, one file per repair; each is described in docs/repair.md."""
