"""Federated unlearning, simulated and audited against retraining from scratch.

`fedunlearn.run`, `fedunlearn.sweep` and `fedunlearn.audit` do from Python what the command line does (docs/python.md).
They are loaded when they are first used, so that `import fedunlearn` costs next to nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from fedunlearn import sources

if TYPE_CHECKING:
    from fedunlearn.api import Models, Result, Sweep, audit, run, sweep
    from fedunlearn.errors import RequestError, RunError

__all__ = ["Models", "RequestError", "Result", "RunError", "Sweep", "audit", "run", "sweep"]

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")  # before Flower is imported: nothing leaves the machine
sources.package(__name__)  # as they are now, before anything of them is imported (see `sources`)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return sources.version(__name__)
    if name not in __all__:
        raise AttributeError(f"module 'fedunlearn' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("fedunlearn.errors" if name.endswith("Error") else "fedunlearn.api"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, "__version__"])
