"""What a run's audits left for pictures, in `exhibits/NAME.json`: lists by model."""

from __future__ import annotations

import json
from typing import Any

from fedunlearn.report.runs import Run

MODELS = {"original": "original", "retrained_0": "retrained", "unlearned": "unlearned"}


def every(run: Run, name: str) -> dict[str, Any]:
    """The exhibit by model (`retrained_0`, …); empty where there is no such file, or none that can be read."""
    try:
        found = json.loads((run.folder / "exhibits" / f"{name}.json").read_text(encoding="utf-8"))
        return {model: each for model, each in found.items() if isinstance(each, dict)}
    except (OSError, ValueError, AttributeError):
        return {}


def read(run: Run, name: str) -> dict[str, Any]:
    """The exhibit by what each model is called; empty where there is no such file, or none that can be read."""
    found = every(run, name)
    return {called: found[model] for model, called in MODELS.items() if model in found}
