"""What a selector is: which of a client's retain samples it replays while a model is unlearned or repaired.

A client selects once, before the first round of a stage, from what it has, class by class. What it keeps are its forget
samples and the selected ones; for the rest of the stage it is as if it had no others. Selectors see points: the
features that the received model gives the samples, reduced by a PCA of the client's own retain samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from fedunlearn.settings.schema import Count, Share

SHARE = 0.1


@dataclass(frozen=True)
class Budget:
    """How many retain samples a client keeps. The settings of every selector but `all` have these fields."""

    share: Share | None = None  # of the retain samples of each class, at least one; null: 0.1, and 1 with to=minority
    to: Literal["minority"] | None = None  # minority: first cut every class to the size of the client's smallest


@dataclass(frozen=True)
class InSpace(Budget):
    """For selectors that look at where samples are."""

    components: Count = 16  # principal components of the features in which distances are taken


# (points, count, settings, stream) -> which of a class's samples are kept, int64 [count], each once and in any order.
# `points`: float64 [n, d] on the CPU, 0 < count < n; d is 0 for selectors that do not look.
Choose = Callable[[Tensor, int, Any, torch.Generator], Tensor]
# (sizes, settings) -> how many are kept of every class that a client has samples of, given how many it has, at least 1.
Allot = Callable[[Sequence[int], Any], list[int]]


def allotted(sizes: Sequence[int], budget: Budget) -> list[int]:
    """The budget's share of every class, rounded to whole samples; at least one of each."""
    share = budget.share or (1.0 if budget.to else SHARE)
    most = min(sizes, default=0) if budget.to else max(sizes, default=0)
    return [max(1, round(share * min(size, most))) for size in sizes]


def evenly(sizes: Sequence[int], total: int) -> list[int]:
    """`total` dealt out one at a time, each to the first of those that got least and have more to give."""
    given = [0] * len(sizes)
    for _ in range(min(total, sum(sizes))):
        _, place = min((got, place) for place, got in enumerate(given) if got < sizes[place])
        given[place] += 1
    return given


def sampled(count: int, n: int, stream: torch.Generator) -> Tensor:
    """`count` of the numbers from 0 to n - 1 at random, each once; int64."""
    return torch.randperm(n, generator=stream)[:count]


@dataclass(frozen=True)
class Selector:
    """A registered selector.

    `settings`: a frozen dataclass, `Budget` or with its fields. `choose`: which samples of a class are kept. `allot`:
    how many of each class. `looks`: does it need points? Then its settings have a field `components`.
    """

    name: str
    settings: type
    choose: Choose
    allot: Allot = allotted
    looks: bool = True
    about: str = ""  # for those who read conf/


def reduced(features: Tensor, components: int) -> Tensor:
    """Features [n, w] in their first principal components, float64 [n, d] on the CPU, d = min(components, w).

    Every component points to where its largest loading is above 0, so that the result is the same every time.
    """
    centred = features.detach().cpu().double()
    centred = centred - centred.mean(dim=0)
    _, axes = torch.linalg.eigh(centred.T @ centred)  # variances ascending
    first = axes.flip(1)[:, :components]
    largest = first.gather(0, first.abs().argmax(dim=0, keepdim=True))
    points: Tensor = centred @ (first * largest.sign())
    return points
