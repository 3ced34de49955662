"""A table of runs in all their forms: as unlearned, repaired, and each of the two rounded to every format."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from fedunlearn.report import runs as reading
from fedunlearn.report import tables
from fedunlearn.report.runs import Run

PLACES = r" '?(?:data\.root|output\.dir|store\.dir)=\S+"  # words of a command that say where on a machine things were
MODELS = ("original", "retrained", "unlearned")


def table(sweep: str, folders: Sequence[Path]) -> pd.DataFrame:
    """`tables.tidy` of a sweep's runs, with what else this experiment asks of each form.

    `sweep`; `way` of unlearning: `whole` or the rank; `rate`: unlearn.lr; `given_repair` and its `weighting`: what the
    run was asked for, also where the row is about the models without it. `M.worst_class`: the lowest accuracy of model
    M on a retained class. `survival.S`: as in summary.json, empty in float32.
    """
    found = reading.in_forms([reading.read(folder) for folder in folders])
    more = pd.DataFrame([{"sweep": sweep, **_more(run)} for run in found])
    return pd.concat([more, tables.frame_of(found)], axis=1, verify_integrity=True)


def _more(run: Run) -> dict[str, Any]:
    config = run.summary.config
    adapter, repair = config.get("adapter") or {}, config.get("repair") or {}
    rate = (config.get("unlearn") or {}).get("lr")
    return {
        "asked": re.sub(PLACES, "", run.summary.command),
        "way": f"rank {adapter['rank']}" if "rank" in adapter else "whole",
        "rate": "default" if rate is None else f"{rate:g}",
        "given_repair": run.chosen("repair"),
        "weighting": repair.get("weighting", ""),
        **{f"{model}.worst_class": worst_class(run, model) for model in MODELS},
        **{f"survival.{name}": value for name, value in reading.known(run.survival.get("unlearned", {})).items()},
    }


def worst_class(run: Run, model: str) -> float | None:
    """The lowest accuracy of a model (by its role) on a retained class; None where none is known."""
    accuracies = run.summary.details.get(model, {}).get("class_accuracy", ())
    retained = [x for number, x in enumerate(accuracies) if number not in run.summary.forget_classes and x is not None]
    return min(retained, default=None)
