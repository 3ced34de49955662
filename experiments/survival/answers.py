"""What the numbers say to each question, in sentences that are made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from experiments.survival.page import (
    ALIKE,
    BACK,
    CELL,
    FORGET,
    FORMATS,
    RATIO,
    WORST,
    above_zero,
    after_fucrt,
    at,
    calibrated,
    named,
    over_seeds,
    paired,
    pairs,
    plain,
    shown,
)
from experiments.survival.planted import STARTS
from fedunlearn.report.formats import fixed, signed
from fedunlearn.report.statistics import Estimate, column
from fedunlearn.settings.config import FLOAT32

READING = """\
Written by `python -m experiments.survival` from the numbers in [table.md](table.md), which says what was run and what
the words mean. *Rises* and *falls* mean that the 95 % t-interval over seeds does not hold 0. With three seeds such
intervals are wide: where nothing rises or falls, a small effect may still be there. And of many comparisons, one in
twenty does so by chance."""


def build(frame: pd.DataFrame, controls: pd.DataFrame) -> str:
    """The page, in Markdown. `frame`, `controls`: `forms.table` of the runs and of the planted updates."""
    rows = plain(frame)
    said = [planted(controls), rounding(rows), sizes(rows), adapters(rows), calibration(frame), training(frame)]
    answers = "\n".join(f"- {each}" for each in said if each)
    return f"# Does forgetting survive what ships?\n\n{READING}\n\n{answers}\n"


def planted(controls: pd.DataFrame) -> str:
    """Does the measurement see a reversion that must be there?"""
    low = at(controls, "int4")
    grid, trained = (low[low["start"] == start] for start in STARTS)
    small, large = grid[grid["size"] < 1], grid[grid["size"] == grid["size"].max()]
    back = [column(rows, f"survival.way_back.{FORGET}") for rows in (small, large, trained[trained["size"] < 1])]
    seen = "sees" if back[0].min() > 0.99 else "does not always see"
    return (
        f"**The control.** The measurement {seen} a reversion that is planted: updates below half a step of int4, of "
        f"weights on its grid, go {fixed(back[0].mean())} of the way back (lowest {fixed(back[0].min())}), those of "
        f"{large['size'].max():g} half steps {fixed(back[1].mean())}. Updates below half a step of the weights as "
        f"trained, which lie anywhere in their bins, go {fixed(back[2].mean())} of the way back."
    )


def rounding(rows: pd.DataFrame) -> str:
    """Does it bring the class back? Of methods that did not take it away, nothing can come back."""
    cells = [
        (f"{' '.join(named(names))} at {format}", over_seeds(at(group, format), BACK))
        for names, group in rows.groupby(CELL, sort=False)
        if _gone(at(group, FLOAT32))
        for format in FORMATS
    ]
    if not cells:
        return ""
    name, largest = max(cells, key=lambda cell: cell[1].mean)
    back = [f"{name} ({shown(value, signed)})" for name, value in cells if above_zero(value)]
    return (
        f"**Does rounding bring the class back?** Forget accuracy rises in {len(back)} of {len(cells)} cells (method, "
        f"way of training, format){_listed(back)}. The largest mean change is {shown(largest, signed)}, {name}."
    )


def sizes(rows: pd.DataFrame) -> str:
    """For which sizes of updates?"""
    known = column(rows, BACK).notna() & (column(rows, RATIO) > 0)
    some = rows[
        known & (column(rows, f"unlearned.{FORGET}") - column(rows, BACK) < column(rows, f"original.{FORGET}") / 2)
    ]
    if column(some, BACK).nunique() < 2:
        return f"**For which updates?** Nothing comes back at any size, over {len(some)} models." if len(some) else ""
    rank = column(some, RATIO).corr(column(some, BACK), method="spearman")
    low, high = column(some, RATIO).min(), column(some, RATIO).max()
    low4 = at(some, "int4")
    below = some[(column(some, RATIO) < 1) & (column(some, BACK) > 0)]
    return (
        f"**For which updates?** Median steps go from {low:.2g} to {high:.2g} half steps. Their rank correlation with "
        f"what comes back is {signed(rank)} over {len(some)} models that had forgotten. Of those with a median below "
        f"half a step, {len(below)} of {int((column(some, RATIO) < 1).sum())} get any accuracy back. Small updates do "
        f"leave their bins: at int4, {shown(over_seeds(low4, 'survival.flipped'))} of the weights, at a median step of "
        f"{shown(over_seeds(low4, RATIO))}."
    )


def adapters(rows: pd.DataFrame) -> str:
    """Do they protect, and at what utility?"""
    found = pairs(rows)
    if not found:
        return ""
    back = [paired(at(low, "int3"), at(whole, "int3"), BACK) for _, low, whole in found]
    steps = [paired(at(low, "int4"), at(whole, "int4"), RATIO) for _, low, whole in found]
    utility = [paired(at(low, FLOAT32), at(whole, FLOAT32), "unlearned.retain_accuracy") for _, low, whole in found]
    return (
        f"**Do adapters protect?** Adapters against whole weights, {len(found)} pairs: what comes back at int3 "
        f"{_counted(back)}, the median step {_counted(steps)}, retain accuracy {_counted(utility)}."
    )


def calibration(frame: pd.DataFrame) -> str:
    """Does it repair classes that skewed clients suppress, and does it re-open the forgotten one?"""
    cells = [group for _, group in calibrated(frame).groupby(CELL, sort=False)]
    names = {"retain accuracy": "retain_accuracy", "the worst class": WORST, "forget accuracy": FORGET}
    names |= {"what one scalar brings back": "gamma_recovered"}
    changes = {said: [_by_repair(group, f"unlearned.{name}") for group in cells] for said, name in names.items()}
    words = "; ".join(f"{said} {_counted(values)}" for said, values in changes.items())
    return f"**What does calibration do?** Of {len(cells)} unlearned models: {words}."


def training(frame: pd.DataFrame) -> str:
    """Does imbalance-aware training help the worst class at int4?"""
    by = {str(name): group for name, group in after_fucrt(frame).groupby("after")}
    if "climbq" not in by:
        return ""
    against = [name for name in ("none", "finetune", ALIKE) if name in by]
    words = [f"{shown(paired(by['climbq'], by[name], f'unlearned.{WORST}'), signed)} ({name})" for name in against]
    return f"**Does imbalance-aware training help the worst class at int4?** ClimbQ minus others: {', '.join(words)}."


def _by_repair(group: pd.DataFrame, name: str) -> Estimate:
    return paired(group[group["repair"] != ""], group[group["repair"] == ""], name)


def _gone(exact: pd.DataFrame) -> bool:
    """Is the forget accuracy below half of the original's?"""
    left, before = (over_seeds(exact, f"{model}.{FORGET}").mean for model in ("unlearned", "original"))
    return bool(left < before / 2)


def _counted(changes: Sequence[Estimate]) -> str:
    up = sum(map(above_zero, changes))
    down = sum(above_zero(replace(each, mean=-each.mean)) for each in changes)
    means = [each.mean for each in changes if not np.isnan(each.mean)]
    if not means:
        return "is not known"
    return f"rises in {up} and falls in {down} (means from {signed(min(means))} to {signed(max(means))})"


def _listed(names: Sequence[str]) -> str:
    return f": {'; '.join(names)}" if names else ""
