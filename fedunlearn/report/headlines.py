"""What a sweep begins with: a sentence for each of its settings, and how many of its runs are not done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from fedunlearn.report.runs import Run
from fedunlearn.results import headline
from fedunlearn.results.summary import Summary
from fedunlearn.settings.config import FLOAT32

SETTINGS = 6  # so many settings have a sentence of their own


def of_sweep(found: Sequence[Run], rows: pd.DataFrame) -> list[str]:
    """A sentence per setting and format, which it begins with where there are several.

    `rows`: `tables.frame_of(found)`, both with those in other formats.
    """
    settings: dict[tuple[str, str], list[tuple[str, Summary]]] = {}
    for run, row in zip(found, rows.to_dict("records"), strict=True):
        if run.status == "done":
            variant = str(row["label"]).removeprefix(run.chosen("method"))
            alone = replace(run.summary, deployed={})
            settings.setdefault((str(row["setting"]), run.format), []).append((headline.title(alone) + variant, alone))
    one = sum(format == FLOAT32 for _, format in settings) == 1
    told = [
        f"{_beginning(name, format, one)}{headline.of_runs(summaries)}"
        for (name, format), summaries in settings.items()
    ]
    more = len(told) - SETTINGS
    others = [f"And {more} more {'setting' if more == 1 else 'settings'}, in the tables."] if more > 0 else []
    return [*told[:SETTINGS], *others, *_not_done(found)]


def _beginning(setting: str, format: str, one: bool) -> str:
    """Of one setting, only the formats beyond float32 have to be told apart."""
    if one:
        return "" if format == FLOAT32 else f"At {format}: "
    return f"{setting}: "


def _not_done(runs: Sequence[Run]) -> list[str]:
    found = [run for run in runs if run.format == FLOAT32]
    numbers = {status: sum(run.status == status for run in found) for status in ("failed", "missing")}
    parts = [f"{number} {status}" for status, number in numbers.items() if number]
    return [f"Of {len(found)} runs: {', '.join(parts)}."] if parts else []
