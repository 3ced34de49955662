"""Can augmentations be told apart by their profiles? Between them against within them, by permutation.

A profile is what a model's maps differ by from those of models without augmentation: a vector of measures, each in
units of its standard deviation over all models. Starting states are blocks: what a state does to all augmentations
alike is taken out, and labels are only exchanged among models of the same state, which are equally likely in any order
if augmentations do not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

DRAWS = 9999
ROUNDING = 1e-12  # of shares: what differs by less is the same


@dataclass(frozen=True)
class Separation:
    """`share`: of the variance inside of states, what lies between augmentations; by `chance`, its mean.

    `p`: how often chance gives as much. `found`: how many of all `models` have the profile nearest to the mean of
    their own augmentation's in the other states, among `groups` augmentations.
    """

    share: float
    chance: float
    p: float
    found: int
    models: int
    groups: int


def separation(rows: pd.DataFrame, measures: Sequence[str], draws: int = DRAWS, seed: int = 0) -> Separation | None:
    """Of a table with `augment`, `seed` and the measures, one row for each; None for fewer than two of either."""
    values = profiles(rows, measures)
    states, groups, _ = values.shape
    if min(states, groups) < 2:
        return None
    stream, observed = np.random.default_rng(seed), between(values)
    shuffled = np.array([between(exchanged(values, stream)) for _ in range(draws)])
    p = (1 + int((shuffled >= observed - ROUNDING).sum())) / (1 + draws)
    return Separation(observed, float(shuffled.mean()), p, recognised(values), states * groups, groups)


def profiles(rows: pd.DataFrame, measures: Sequence[str]) -> np.ndarray:
    """[states, augmentations, measures], standardised, with the mean over each state's augmentations taken out.

    States that lack an augmentation, and measures that some model lacks or all have alike, are left out.
    """
    tables = [rows.pivot(index="seed", columns="augment", values=name).dropna(how="any") for name in measures]
    tables = [table for table in tables if not table.empty and table.to_numpy().std() > 0]
    if not tables:
        return np.empty((0, 0, 0))
    seeds = sorted(set.intersection(*(set(table.index) for table in tables)))
    values = np.stack([table.loc[seeds].to_numpy() for table in tables], axis=-1)
    spread = values.std(axis=(0, 1), ddof=1)
    return np.asarray((values - values.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1))


def exchanged(values: np.ndarray, stream: np.random.Generator) -> np.ndarray:
    """The same profiles, labels exchanged inside of each state."""
    return np.stack([state[stream.permutation(len(state))] for state in values])


def between(values: np.ndarray) -> float:
    """The share of the variance that lies between augmentations, in [0, 1]."""
    means = values.mean(axis=0)
    return float(len(values) * np.square(means).sum() / np.square(values).sum())


def recognised(values: np.ndarray) -> int:
    """How many models lie nearest to the mean of their own augmentation in the other states."""
    right = 0
    for number, state in enumerate(values):
        others = np.delete(values, number, axis=0).mean(axis=0)
        distances = np.square(state[:, None] - others[None]).sum(-1)
        right += int((distances.argmin(axis=1) == np.arange(len(state))).sum())
    return right
