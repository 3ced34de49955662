"""fedunlearn from Python: the same configuration, pipeline, store and folders as the command line (docs/python.md)."""

from __future__ import annotations

from fedunlearn.api.calls import audit, run, sweep
from fedunlearn.api.result import Models, Result, Sweep

__all__ = ["Models", "Result", "Sweep", "audit", "run", "sweep"]
