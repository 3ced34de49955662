"""What a run found: findings, verdict, summary, provenance. No training, no drawing."""
