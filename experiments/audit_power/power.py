"""How often a finding takes a model for one in which more is left: of retrained models, and of planted ones.

A *distance* is that of a model from the mean of n retrained ones, in half widths of the verdict's band, above 0 where
more is left: the verdict's margin plus one. Which n of a cell's bank are drawn is left to chance, many times. What is
beyond a threshold is an alarm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fedunlearn.randomness import numpy_stream
from fedunlearn.results.findings import Finding
from fedunlearn.results.verdict import WIDTHS
from fedunlearn.runs.steps import ORIGINAL, RETRAINED

FALSE_ALARMS = 0.05  # of retrained models, on the cells on which thresholds are chosen
DRAWS = 400  # of retrained models, in each cell
RESAMPLES = 2000  # of cells, for intervals
SIZES = (2, 4, 8, 16)  # n
Planted = tuple[str, float]  # kind and dose

TAKES_PART = ("up", "down")  # directions: one number for each model, whatever the retrained models are
BESIDE = ("membership_distance",)  # a distance from chance, not from retrained models


def findings_of(rows: pd.DataFrame, declared: Mapping[str, Finding]) -> list[Finding]:
    """Those that say of one model alone whether more is left in it, and were measured on all."""
    return [
        finding
        for finding in declared.values()
        if finding.kind == "number"
        and (finding.direction in TAKES_PART or finding.name in BESIDE)
        and finding.name in rows
        and rows[finding.name].notna().all()
    ]


@dataclass(frozen=True)
class Distances:
    """Of one cell, by findings [F]: of retrained models that were not drawn [draws, F], and of planted ones."""

    retrained: np.ndarray
    planted: Mapping[Planted, np.ndarray]


def distances(rows: pd.DataFrame, findings: Sequence[Finding], n: int, draws: int = DRAWS) -> Distances:
    """Of the models of one cell, `rows`, from n of its retrained models, of which it must have more."""
    bank = _values(rows[rows["kind"] == RETRAINED], findings)
    stream = numpy_stream(0, "audit power", n)
    order = stream.random((draws, len(bank))).argsort(axis=1)
    drawn, left = bank[order[:, :n]], bank[order[:, n]]  # [draws, n, F], [draws, F]
    samples = int(rows["forget_samples"].iloc[0])
    least = np.array([finding.least(samples) for finding in findings])
    half = np.maximum(WIDTHS.get(n, 1.0) * np.ptp(drawn, axis=1), least)
    sides = np.array([finding.side for finding in findings])
    others = rows[~rows["kind"].isin((RETRAINED, ORIGINAL))]
    planted = {
        (str(row.kind), float(row.dose)): distance(values, drawn.mean(axis=1), half, sides)
        for row, values in zip(others.itertuples(), _values(others, findings), strict=True)
    }
    return Distances(distance(left, drawn.mean(axis=1), half, sides), planted)


def distance(values: np.ndarray, centre: np.ndarray, half: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """In half widths, above 0 where more is left; from a band without width it is 0 or infinite."""
    gap = sides * (values - centre)
    return np.divide(gap, half, out=np.where(gap == 0, 0.0, np.copysign(np.inf, gap)), where=half > 0)


def threshold(cells: Sequence[np.ndarray]) -> np.ndarray:
    """By findings: what at most `FALSE_ALARMS` of the distances of retrained models, [draws, F] each, are beyond."""
    return np.quantile(np.concatenate(cells), 1 - FALSE_ALARMS, axis=0, method="higher")


def table(rows: pd.DataFrame, findings: Sequence[Finding], sizes: Sequence[int] = SIZES) -> pd.DataFrame:
    """Thresholds from the choosing cells, and the share of alarms in each cell.

    Of `rows` (`planted.measured`, with `cell` and `part`) a row for each n, cell whose bank is larger, kind, dose and
    finding, with `rate`: the share of draws with an alarm; `verdict`: the share beyond the verdict's own threshold, 1.
    """
    cells = {str(name): group for name, group in rows.groupby("cell", sort=False)}
    lines = []
    for n in sizes:
        some = {name: group for name, group in cells.items() if (group["kind"] == RETRAINED).sum() > n}
        if len({group["part"].iloc[0] for group in some.values()}) == 2:
            lines.append(_of_size(some, findings, n))
    return pd.concat(lines, ignore_index=True)


def _of_size(cells: Mapping[str, pd.DataFrame], findings: Sequence[Finding], n: int) -> pd.DataFrame:
    found = {name: distances(group, findings, n) for name, group in cells.items()}
    chosen = threshold([found[name].retrained for name, group in cells.items() if group["part"].iloc[0] == "choosing"])
    lines = []
    for name, group in cells.items():
        first = group.iloc[0]
        for (kind, dose), each in {(RETRAINED, 0.0): found[name].retrained, **found[name].planted}.items():
            alarms = zip(findings, chosen, (each > chosen).mean(axis=0), (each > 1).mean(axis=0), strict=True)
            lines += [
                {
                    **{"n": n, "finding": finding.name, "kind": kind, "dose": dose, "cell": name},
                    **{"dataset": first["dataset"], "part": first["part"]},
                    **{"threshold": limit, "rate": rate, "verdict": beyond},
                }
                for finding, limit, rate, beyond in alarms
            ]
    return pd.DataFrame(lines)


def summed_up(found: pd.DataFrame, column: str = "rate") -> pd.DataFrame:
    """Of `table`: mean over cells, with its 95 % interval (percentiles, cells resampled), by n, finding, kind and dose.

    Draws within a cell share its models, and are no evidence of their own.
    """
    lines = []
    for names, group in found.groupby(["n", "finding", "kind", "dose"], sort=False):
        low, high = interval(group[column].to_numpy())
        line = dict(zip(("n", "finding", "kind", "dose"), names, strict=True))
        lines.append({**line, "mean": group[column].mean(), "low": low, "high": high, "cells": len(group)})
    return pd.DataFrame(lines)


def interval(cells: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of the mean of one number for each cell; NaN of fewer than two."""
    if len(cells) < 2:
        return np.nan, np.nan
    drawn = numpy_stream(0, "cells", len(cells)).integers(0, len(cells), (RESAMPLES, len(cells)))
    low, high = np.quantile(cells[drawn].mean(axis=1), (0.025, 0.975))
    return float(low), float(high)


def _values(rows: pd.DataFrame, findings: Sequence[Finding]) -> np.ndarray:
    return rows[[finding.name for finding in findings]].to_numpy(dtype=float)
