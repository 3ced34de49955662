"""What is learnt, one file per task: a head, what a model puts out, its loss and its score (see base.py)."""
