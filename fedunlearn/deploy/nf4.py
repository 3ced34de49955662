"""nf4: four-bit NormalFloat (QLoRA, Dettmers et al., arXiv 2305.14314), as bitsandbytes loads models with.

A block's weights are divided by the largest magnitude in it, and each takes the nearest of sixteen levels: quantiles of
a normal distribution, scaled to [-1, 1], with an exact zero (section 3 there, and `create_normal_map` of bitsandbytes).
Our reading: blocks of 64 weights lie within an output channel; bitsandbytes lets them run on into the next, which is
the same where a channel's weights are a multiple of 64. Scales are not quantised again.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fedunlearn.deploy.base import Format, Rounded, largest

# Appendix E of the paper: eight quantiles of the left half and nine of the right, with zero in both.
LEVELS = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)
BLOCK = 64


def nf4(groups: Tensor) -> Rounded:
    """`groups` [groups, size] with one scale for each group. Halfway between two levels, the lower one is taken."""
    levels = torch.tensor(LEVELS, dtype=torch.float64, device=groups.device)
    edges = (levels[1:] + levels[:-1]) / torch.full_like(levels[1:], 2.0)
    top = largest(groups)
    codes = torch.bucketize(groups.double() / torch.where(top > 0, top, torch.ones_like(top)), edges)
    halves = _half_widths(levels, edges)[codes] * top
    return Rounded((levels[codes] * top).to(groups.dtype), codes.to(torch.int16), halves)


def _half_widths(levels: Tensor, edges: Tensor) -> Tensor:
    """Half the width of each level's bin; those at the ends, which have one edge alone, as far as that edge is."""
    return torch.cat([edges[:1] - levels[:1], (edges[1:] - edges[:-1]) / 2, levels[-1:] - edges[-1:]])


FORMATS = {"nf4": Format("nf4", 4, nf4, BLOCK, about="levels of a normal distribution, in blocks of 64")}
