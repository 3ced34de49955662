"""Herding: sample after sample, the one that brings the mean of what is kept nearest to the mean of the class.

Welling, "Herding dynamical weights to learn", ICML 2009; as a rule for exemplars, Rebuffi et al., "iCaRL", CVPR 2017:

    argmin over y  of  ‖ mean over all z of z  −  (y + sum over kept x of x) / (m + 1) ‖

iCaRL scales features to length 1 first; here they are points of the same space as for the other selectors.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fedunlearn.select.base import InSpace, Selector


def choose(points: Tensor, count: int, settings: InSpace, stream: torch.Generator) -> Tensor:
    """Nothing in it is random."""
    mean, total = points.mean(dim=0), torch.zeros_like(points[0])
    taken, kept = torch.zeros(len(points)), list[int]()
    for number in range(count):
        gaps = (mean - (total + points) / (number + 1)).square().sum(dim=1)
        best = int((gaps + taken).argmin())
        kept.append(best)
        total = total + points[best]
        taken[best] = torch.inf
    return torch.tensor(kept)


SELECTORS = {"herding": Selector("herding", InSpace, choose, about="greedily near the class's mean")}
