"""What a sweep begins with: a sentence for each of its settings, and how many of its runs are not done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from fedunlearn.report import names
from fedunlearn.report.formats import capital
from fedunlearn.report.runs import Run
from fedunlearn.results import headline
from fedunlearn.results.summary import Summary

SETTINGS = 6  # so many settings have a sentence of their own


def of_sweep(found: Sequence[Run], rows: pd.DataFrame) -> list[str]:
    """A sentence per setting and form, which it begins with where there are several.

    `rows`: `tables.frame_of(found)`, both with those in other forms.
    """
    settings: dict[tuple[str, str], list[tuple[str, Summary]]] = {}  # by setting and form
    for run, row in zip(found, rows.to_dict("records"), strict=True):
        if run.status == "done":
            variant = str(row["label"]).removeprefix(run.chosen("method"))
            alone, form = replace(run.summary, deployed={}, repaired=None), names.form(run.format, run.repair)
            settings.setdefault((str(row["setting"]), form), []).append((headline.title(alone) + variant, alone))
    one = sum(not form for _, form in settings) == 1
    told = [
        f"{_beginning(name, form, one)}{headline.of_runs(summaries)}" for (name, form), summaries in settings.items()
    ]
    more = len(told) - SETTINGS
    others = [f"And {more} more {'setting' if more == 1 else 'settings'}, in the tables."] if more > 0 else []
    return [*told[:SETTINGS], *others, *_not_done(found)]


def _beginning(setting: str, form: str, one: bool) -> str:
    """Of one setting, only the forms of its models have to be told apart."""
    if one:
        return f"{capital(form)}: " if form else ""
    return f"{setting}: "


def _not_done(runs: Sequence[Run]) -> list[str]:
    found = [run for run in runs if run.as_unlearned]
    numbers = {status: sum(run.status == status for run in found) for status in ("failed", "missing")}
    parts = [f"{number} {status}" for status, number in numbers.items() if number]
    return [f"Of {len(found)} runs: {', '.join(parts)}."] if parts else []
