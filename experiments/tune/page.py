"""The page: what was tried, what came out of it, what is chosen by which rule, and what the search cost."""

from __future__ import annotations

import numpy as np
import pandas as pd

from experiments.sweeps import markdown, share_of_retraining, spread
from fedunlearn.report.formats import quantity, signed
from fedunlearn.report.statistics import column
from fedunlearn.report.verdict import NONE, WORDS

PROTOCOL = """\
Classes and seeds here are in no reported table. Every method gets the same number of trials, its declared grid, the
defaults first. A trial's *distance* in a cell is how far the finding that is farthest outside is from its band of
retrained models, in noise floors, whether more is left or less; only findings count on which the original model is
above the band. Chosen is the trial that is *erased* in most cells; of several, the one whose accuracy stays in
fewest, then the one with the least mean distance, then the one with the best retain accuracy. A trial that fails in a
cell, such as one that diverges, is not chosen."""


def build(method: str, frame: pd.DataFrame) -> str:
    """Markdown, from the table of the runs; those that are not done are passed over."""
    done = frame[frame["status"] == "done"]
    if done.empty:
        return f"# Tuning `{method}`\n\nNo run is done."
    best, default = chosen(done), frame["asked"].iloc[0]
    said = "the defaults" if best == default else f"`{best}` (the defaults were `{default}`)"
    parts = [f"# Tuning `{method}`", PROTOCOL, f"**Chosen:** {said}.", _table(done), *_failed(frame)]
    parts += [_cost(done), _where(done)]
    return "\n\n".join(parts)


def chosen(done: pd.DataFrame) -> str:
    """The trial that comes first by the rule of the protocol; of equals, the one that was tried first."""
    trials = dict(list(done.groupby("asked", sort=False)))
    most = max(map(len, trials.values()))
    return str(max((name for name in trials if len(trials[name]) == most), key=lambda name: _merit(trials[name])))


def _merit(cells: pd.DataFrame) -> tuple[float, ...]:
    erased, kept = (float((cells["verdict"] == word).sum()) for word in ("erased", "not erased"))
    retain = float(column(cells, "gap.retain_accuracy").mean())
    return erased, -kept, -float(distance(cells).mean()), retain


def distance(cells: pd.DataFrame) -> pd.Series:
    """Of each run, how far outside its band the farthest finding that counts is, in noise floors; 0 inside all."""
    names = [name.removeprefix("margin.") for name in cells if name.startswith("margin.")]
    margins = pd.DataFrame({name: pd.to_numeric(cells[f"margin.{name}"]) for name in names}, index=cells.index)
    before = pd.DataFrame({name: pd.to_numeric(cells[f"original_margin.{name}"]) for name in names}, index=cells.index)
    outside = np.maximum(margins, -2 - margins).clip(lower=0)  # a band is from -2 to 0
    return outside.where(before > 0).max(axis=1).fillna(0.0)


def _table(done: pd.DataFrame) -> str:
    header = ["trial", *WORDS, "distance", "forget accuracy", "retain gap", "work"]
    return markdown(header, [[f"`{trial}`", *_cells(cells)] for trial, cells in done.groupby("asked", sort=False)])


def _cells(cells: pd.DataFrame) -> list[str]:
    counts = [int((cells["verdict"].replace("", NONE) == word).sum()) for word in WORDS]
    numbers = [
        spread(distance(cells), 1.0, lambda value: f"{value:.2f}"),
        spread(column(cells, "unlearned.forget_accuracy")),
        spread(column(cells, "gap.retain_accuracy"), 1.0, signed),
        share_of_retraining(cells, "samples"),
    ]
    return [*(str(count or "") for count in counts), *numbers]


def _failed(frame: pd.DataFrame) -> list[str]:
    failed = frame[frame["status"] == "failed"]
    lines = [
        f"- `{row.asked}` on {row.dataset}, {row.forget}, seed {row.seed}: {row.reason}" for row in failed.itertuples()
    ]
    return ["\n".join(["Failed:", "", *lines])] if lines else []


def _cost(done: pd.DataFrame) -> str:
    work = (column(done, "cost.unlearn.samples") / column(done, "cost.retrain.samples")).sum()
    cells = len(done.drop_duplicates(["dataset", "forget", "seed"]))
    return (
        f"*Work* is the samples that clients went through, as a share of one retraining. The search itself, "
        f"{done['asked'].nunique()} trials in each of {cells} cells, cost as much as {quantity(work)} retrainings; the "
        f"original and the retrained models serve every method that is tuned."
    )


def _where(done: pd.DataFrame) -> str:
    cells = ", ".join(dict.fromkeys(f"{row.setting} (seed {row.seed})" for row in done.itertuples()))
    return f"Cells: {cells}. Versions and machine are in environment.json, every run in runs.csv."
