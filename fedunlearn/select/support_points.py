"""Support points, moved to samples: points that represent a class best in energy distance.

Mak and Joseph, "Support points", Annals of Statistics 46, 2018. n free points x minimise the energy distance to the N
samples y of a class. Their convex-concave procedure (equation 22) moves all of them at a time to

    x_i  ←  [ Σ_m y_m / ‖x_i − y_m‖  +  (N/n) Σ_{j≠i} (x_i − x_j) / ‖x_i − x_j‖ ]  /  Σ_m 1 / ‖x_i − y_m‖

and never increases the distance. Then every point in turn takes the nearest sample that no point before it took; in
high dimension much is lost by that (docs/select.md).

As the authors' package: the start is a random subset, slightly moved, and points stay in the range of the samples,
which keeps the promise (the bound that a step minimises is a sphere around each point). Ours: columns are not
standardised, since distances are those of the other selectors; all samples take part in every step; distances are
‖·‖ = √(d² + ε²) with a small ε, so that a point may lie on a sample.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedunlearn.select.base import InSpace, Selector, sampled
from fedunlearn.select.distance import blocks, distances
from fedunlearn.settings.schema import Count

MOVED = 0.01  # of a column's standard deviation: how far starts are moved off the samples
SMALL = 1e-6  # ε, of the root mean square distance of the samples from their mean
STILL = 1e-10  # squared move of the point that moves most, as a share of the mean square distance, at which it ends


@dataclass(frozen=True)
class SupportPoints(InSpace):
    """Settings."""

    iterations: Count = 100  # steps of the convex-concave procedure, at most


def choose(points: Tensor, count: int, settings: SupportPoints, stream: torch.Generator) -> Tensor:
    """Which samples the support points end on."""
    return snapped(support(points, count, settings.iterations, stream), points)


def support(y: Tensor, count: int, iterations: int, stream: torch.Generator) -> Tensor:
    """Free support points of samples y [N, d]: float64 [count, d]."""
    x, square = started(y, count, stream), (y - y.mean(dim=0)).square().sum(dim=1).mean()
    for _ in range(iterations if square > 0 else 0):  # where all samples are the same one, so are the points
        before, x = x, step(x, y, SMALL * float(square.sqrt()))
        if (x - before).square().sum(dim=1).max() <= STILL * square:
            break
    return x


def started(y: Tensor, count: int, stream: torch.Generator) -> Tensor:
    """A random subset of y [N, d], each sample slightly moved: float64 [count, d]."""
    first = y[sampled(count, len(y), stream)]
    noise = torch.randn(first.shape, generator=stream, dtype=y.dtype)
    return first + MOVED * y.std(dim=0, correction=0) * noise


def step(x: Tensor, y: Tensor, epsilon: float) -> Tensor:
    """Points x [n, d] a step nearer to the samples y [N, d]."""
    moved = torch.cat([_moved(block, x, y, epsilon) for block in blocks(x, len(y) + len(x))])
    return moved.clamp(y.amin(dim=0), y.amax(dim=0))


def _moved(some: Tensor, x: Tensor, y: Tensor, epsilon: float) -> Tensor:
    """Where the points `some` of x go."""
    towards, away = _inverse(distances(some, y), epsilon), distances(some, x)
    apart = torch.where(away > 0, _inverse(away, epsilon), 0.0)  # points that coincide do not push each other
    pull, push = towards @ y, some * apart.sum(dim=1, keepdim=True) - apart @ x
    return (pull + len(y) / len(x) * push) / towards.sum(dim=1, keepdim=True)


def _inverse(away: Tensor, epsilon: float) -> Tensor:
    return (away.square() + epsilon**2).rsqrt()


def snapped(x: Tensor, y: Tensor) -> Tensor:
    """For each point of x [n, d] in turn, the number of the nearest sample of y [N, d] that is free; int64 [n]."""
    free, taken = torch.zeros(len(y)), list[int]()
    for point in x:
        nearest = int((distances(y, point[None])[:, 0] + free).argmin())
        taken.append(nearest)
        free[nearest] = torch.inf
    return torch.tensor(taken)


SELECTORS = {
    "support_points": Selector(
        "support_points", SupportPoints, choose, about="support points of every class, moved to the nearest samples"
    )
}
