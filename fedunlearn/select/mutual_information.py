"""Stratified sampling by mutual information: strata of samples that tell of each other, and as many from each.

Mak et al., "An approach to statistical undersampling with mutual information and support points", arXiv 2412.14527,
after their code: the information that two samples have of each other is that of two discrete variables, observed once
in each feature. Samples are clustered by it (average linkage, distance 1 − information) into strata, and the same
number is drawn at random from each.

Ours: features are continuous here, where every value would be a category of its own, so that they are cut into `bins`
levels of equal frequency first, feature by feature. The distance is log(bins) − information, which is not below 0 and
makes the same tree. Where a stratum has too few samples, the others make up for it evenly. Memory for clustering grows
with the square of the samples: of a larger class, `clustered` samples at random are clustered, and each of the others
joins the stratum that tells most of it on average.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from sklearn.cluster import AgglomerativeClustering
from torch import Tensor

from fedunlearn.select.base import InSpace, Selector, evenly, sampled
from fedunlearn.select.distance import blocks
from fedunlearn.settings.schema import AtLeast, Count


@dataclass(frozen=True)
class MutualInformation(InSpace):
    """Settings."""

    strata: Count = 3  # of every class
    bins: Annotated[int, AtLeast(2)] = 4  # levels of a feature
    clustered: Annotated[int, AtLeast(2)] = 2000  # samples of a class that are clustered; the others join them


def choose(points: Tensor, count: int, settings: MutualInformation, stream: torch.Generator) -> Tensor:
    """As many from every stratum."""
    of = strata(levels(points, settings.bins), settings, stream)
    members = [(of == number).nonzero()[:, 0] for number in torch.unique(of).tolist()]
    counts = evenly([len(each) for each in members], count)
    drawn = [each[sampled(wanted, len(each), stream)] for each, wanted in zip(members, counts, strict=True)]
    return torch.cat(drawn)


def levels(points: Tensor, bins: int) -> Tensor:
    """Which of `bins` levels of equal frequency each value of a feature has: int64 [n, d] from 0 to bins − 1."""
    inner = torch.arange(1, bins, dtype=points.dtype) / bins
    edges = torch.quantile(points, inner, dim=0)
    return torch.stack([points > edge for edge in edges]).sum(dim=0)


def strata(values: Tensor, settings: MutualInformation, stream: torch.Generator) -> Tensor:
    """The number of each sample's stratum, int64 [n], from levels [n, d]."""
    n, bins = len(values), settings.bins
    order = sampled(n, n, stream) if n > settings.clustered else torch.arange(n)
    core, rest = order[: settings.clustered], order[settings.clustered :]
    of = torch.zeros(n, dtype=torch.int64)
    of[core] = clusters(information(values[core], values[core], bins), bins, settings.strata)
    parts = [values[core[of[core] == number]] for number in torch.unique(of[core]).tolist()]
    joined = [_most_telling(block, parts, bins) for block in blocks(values[rest], len(core))]
    of[rest] = torch.cat(joined)
    return of


def clusters(told: Tensor, bins: int, count: int) -> Tensor:
    """Strata of samples of which each tells `told` [n, n] of each other: int64 [n] from 0, `count` if there are."""
    away = (math.log(bins) - told).clamp_min(0).fill_diagonal_(0).numpy()
    tree = AgglomerativeClustering(min(count, len(told)), metric="precomputed", linkage="average")
    return torch.from_numpy(tree.fit_predict(away)).long()


def information(x: Tensor, y: Tensor, bins: int) -> Tensor:
    """Mutual information of all pairs of samples x [n, d] and y [m, d], float64 [n, m] in nats, from 0 to log(bins)."""
    has_x, has_y = ([(each == level).double() / math.sqrt(each.shape[1]) for level in range(bins)] for each in (x, y))
    both = sum((_plogp(a @ b.T) for a in has_x for b in has_y), torch.zeros(len(x), len(y), dtype=torch.float64))
    alone_x, alone_y = (sum(_plogp(a.square().sum(dim=1)) for a in has) for has in (has_x, has_y))
    return both - torch.as_tensor(alone_x)[:, None] - torch.as_tensor(alone_y)


def _plogp(p: Tensor) -> Tensor:
    return torch.xlogy(p, p)


def _most_telling(some: Tensor, parts: list[Tensor], bins: int) -> Tensor:
    """For each of some samples, the number of the part whose samples tell most of it on average."""
    return torch.stack([information(some, part, bins).mean(dim=1) for part in parts]).argmax(dim=0)


SELECTORS = {
    "mutual_information": Selector(
        "mutual_information",
        MutualInformation,
        choose,
        about="as many from each of a class's strata, which mutual information makes",
    )
}
