"""Means over seeds, and how sure they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from fedunlearn.report.names import several
from fedunlearn.results import gates


@dataclass(frozen=True)
class Estimate:
    """Of n seeds: mean, standard deviation (over n - 1) and half the 95 % t-interval; NaN where n is too small."""

    mean: float
    sd: float
    half: float
    n: int


def estimate(values: pd.Series, seeds: pd.Series) -> Estimate:
    """From one value per seed; a seed that occurs again (such as a run that was copied) counts once, by its mean."""
    each = values.astype(float).groupby(seeds).mean().dropna().to_numpy()
    n = len(each)
    if n < 2:
        return Estimate(float(each[0]) if n else np.nan, np.nan, np.nan, n)
    from scipy.stats import t  # here, for commands and processes that never come so far: it takes a second

    sd = float(np.std(each, ddof=1))
    return Estimate(float(np.mean(each)), sd, float(t.ppf(0.975, n - 1)) * sd / float(np.sqrt(n)), n)


def column(frame: pd.DataFrame, name: str) -> pd.Series:
    """A column of numbers, all of them missing where no run has it."""
    if name not in frame:
        return pd.Series(float("nan"), index=frame.index)
    return pd.to_numeric(frame[name])


def failed_gates(group: pd.DataFrame) -> str:
    """`the original model did not learn the task (seeds 1 and 2); ...`, from the columns `gate.G`."""
    said = []
    for name in (str(name) for name in group if str(name).startswith("gate.")):
        failed = group.loc[group[name].eq(False), "seed"]
        if len(failed):
            seeds = [str(int(seed)) for seed in sorted(failed.unique())]
            said.append(f"{gates.sentence(name.removeprefix('gate.'))} ({several('seed', 'seeds', seeds)})")
    return "; ".join(said)
