"""Parts of a set of samples: stratified ones, a training set and a test set."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from fedunlearn.data.types import Prepare, Split


class Splits(NamedTuple):
    """What a dataset's source reads.

    `remarks`: sentences that its user should know, such as what was left out. `prepare`: as of the source, where the
    samples alone do not say it, such as which text their tokens stand for. `unseen`: see `Dataset`.
    """

    train: Split
    test: Split
    names: tuple[str, ...]  # of the groups
    remarks: tuple[str, ...] = ()
    prepare: Prepare | None = None
    unseen: Split | None = None


def stratified(labels: np.ndarray, count: int, stream: np.random.Generator, leave: int = 0) -> np.ndarray:
    """About `count` sample numbers (sorted, int64) with every class in proportion.

    Largest remainder method after one sample of every class is taken and `leave` of every class are set aside, which
    keeps `count` exact between those limits. Every class needs at least 1 + `leave` samples.
    """
    _, strata, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    spare = sizes - 1 - leave
    total = max(int(spare.sum()), 1)
    extra = min(max(count - len(sizes), 0), int(spare.sum()))
    take, remainder = np.divmod(spare * extra, total)
    take[np.argsort(-remainder, kind="stable")[: extra - take.sum()]] += 1
    order = stream.permutation(len(labels))
    taken = [order[strata[order] == stratum][: 1 + number] for stratum, number in enumerate(take)]
    return np.sort(np.concatenate(taken))


def subset(samples: Split, indices: np.ndarray) -> Split:
    """The samples with these numbers."""
    return samples.at(torch.from_numpy(indices))


def divide(whole: Split, held_out: np.ndarray) -> tuple[Split, Split]:
    """Training set and test set, if the samples with the numbers `held_out` are the test set."""
    return subset(whole, np.setdiff1d(np.arange(len(whole)), held_out)), subset(whole, held_out)
