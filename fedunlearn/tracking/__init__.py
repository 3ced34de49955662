"""Experiment trackers, for those who use one. Each is imported only when it is chosen; none can end a run."""
