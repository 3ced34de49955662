"""What a sweep begins with: a sentence for each of its settings, and how many of its runs are not done."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from fedunlearn.report.runs import Run
from fedunlearn.results import headline

SETTINGS = 6  # so many settings have a sentence of their own


def of_sweep(found: Sequence[Run], rows: pd.DataFrame) -> list[str]:
    """A sentence per setting, which it begins with where there are several. `rows`: `tables.frame_of(found)`."""
    settings: dict[str, list[tuple[str, Run]]] = {}
    for run, row in zip(found, rows.to_dict("records"), strict=True):
        if run.status == "done":
            variant = str(row["label"]).removeprefix(run.chosen("method"))
            settings.setdefault(str(row["setting"]), []).append((headline.title(run.summary) + variant, run))
    said = {name: headline.of_runs([(title, run.summary) for title, run in each]) for name, each in settings.items()}
    told = [text if len(said) == 1 else f"{name}: {text}" for name, text in said.items()]
    more = len(told) - SETTINGS
    others = [f"And {more} more {'setting' if more == 1 else 'settings'}, in the tables."] if more > 0 else []
    return [*told[:SETTINGS], *others, *_not_done(found)]


def _not_done(found: Sequence[Run]) -> list[str]:
    numbers = {status: sum(run.status == status for run in found) for status in ("failed", "missing")}
    parts = [f"{number} {status}" for status, number in numbers.items() if number]
    return [f"Of {len(found)} runs: {', '.join(parts)}."] if parts else []
