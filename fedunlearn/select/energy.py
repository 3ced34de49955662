"""Greedy energy: sample after sample, the one that brings what is kept nearest to the whole class.

Near is meant as the energy distance (see `distance`). With m samples kept, the one that makes it smallest is

    argmin over y  of  mean over all z of ‖y − z‖  −  1/(m + 1) · sum over kept x of ‖y − x‖

Ours. It asks for what support points ask for (Mak and Joseph, "Support points", Annals of Statistics 46, 2018), but
among real samples: in high dimension, free points lose that when they are moved to the nearest samples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fedunlearn.select.base import InSpace, Selector
from fedunlearn.select.distance import distances, mean_distances


def choose(points: Tensor, count: int, settings: InSpace, stream: torch.Generator) -> Tensor:
    """Nothing in it is random."""
    away = mean_distances(points, points)
    near, kept = torch.zeros_like(away), list[int]()
    for number in range(count):
        best = int((away - near / (number + 1)).argmin())
        kept.append(best)
        near += distances(points, points[best : best + 1])[:, 0]
        away[best] = torch.inf
    return torch.tensor(kept)


SELECTORS = {"energy": Selector("energy", InSpace, choose, about="greedily near the class in energy distance")}
