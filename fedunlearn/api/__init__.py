"""fedunlearn from Python: the same configuration, pipeline, store and folders as the command line (docs/python.md)."""

from __future__ import annotations

import os

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")  # before Flower is imported: nothing leaves the machine
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from fedunlearn.api.calls import audit, run, sweep
from fedunlearn.api.result import Models, Result, Sweep

__all__ = ["Models", "Result", "Sweep", "audit", "run", "sweep"]
