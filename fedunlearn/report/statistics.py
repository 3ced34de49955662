"""Means over seeds, and how sure they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats


@dataclass(frozen=True)
class Estimate:
    """Mean, standard deviation (n - 1; NaN for one seed) and half width of the 95 % t-interval (likewise) of n seeds."""

    mean: float
    sd: float
    half: float
    n: int


def estimate(values: pd.Series, seeds: pd.Series) -> Estimate:
    """The estimate from one value per seed; a seed that occurs again (the same run, copied) counts once, by its mean."""
    each = values.astype(float).groupby(seeds).mean().dropna().to_numpy()
    n = len(each)
    if n < 2:
        return Estimate(float(each[0]) if n else np.nan, np.nan, np.nan, n)
    sd = float(np.std(each, ddof=1))
    return Estimate(float(np.mean(each)), sd, float(stats.t.ppf(0.975, n - 1)) * sd / float(np.sqrt(n)), n)


def column(frame: pd.DataFrame, name: str) -> pd.Series:
    """A column of numbers, all of them missing where no run has it."""
    if name not in frame:
        return pd.Series(float("nan"), index=frame.index)
    return pd.to_numeric(frame[name])
