"""Euclidean distances between many points, and the energy distance between two sets of them.

E(X, Y) = 2 E‖x − y‖ − E‖x − x'‖ − E‖y − y'‖ (Székely and Rizzo, "Energy statistics", Journal of Statistical Planning
and Inference 143, 2013), at least 0, and 0 for equal distributions alone; here with all pairs, equal ones included.

Of n points there are n² distances. They are never held all at once: 50,000 points need a few hundred megabytes.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

AT_ONCE = 2**23  # distances that are held: 64 MiB


def distances(x: Tensor, y: Tensor) -> Tensor:
    """All of them between points x [n, d] and y [m, d], float64 [n, m]."""
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def blocks(x: Tensor, others: int) -> Iterator[Tensor]:
    """The points x [n, d] in pieces, each with few enough that its distances to so many others can be held."""
    yield from torch.split(x, max(1, AT_ONCE // max(1, others)))


def mean_distances(x: Tensor, y: Tensor) -> Tensor:
    """Of each point of x [n, d] the mean distance to those of y [m, d], float64 [n]."""
    return torch.cat([distances(block, y).mean(dim=1) for block in blocks(x, len(y))])


def energy_distance(x: Tensor, y: Tensor) -> float:
    """E(X, Y) of points x [n, d] and y [m, d], float64."""
    across, within_x, within_y = (float(mean_distances(a, b).mean()) for a, b in ((x, y), (x, x), (y, y)))
    return 2 * across - within_x - within_y
