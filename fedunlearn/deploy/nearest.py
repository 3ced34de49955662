"""intB: signed whole numbers of B bits times one float scale per output channel, or per group of its weights.

Symmetric round to nearest: s = max |w| / (2^(B-1) - 1), code = round(w / s), ties to even; the weight is read back as
s · code. The lowest of the 2^B codes is not used, so that zero stays zero and both signs reach equally far.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from fedunlearn.deploy.base import Format, Rounded, largest


def nearest(groups: Tensor, bits: int) -> Rounded:
    """`groups` [groups, size] with one scale for each group.

    In float64 the largest weight of a group is read back as it was, so that to round again changes no bit.
    """
    most = 2 ** (bits - 1) - 1
    top = largest(groups)
    steps = top / torch.full_like(top, most)  # a tensor: by a number, GPUs multiply with its reciprocal
    exact = groups.double() / torch.where(steps > 0, steps, torch.ones_like(steps))  # zeros stay zeros
    codes = exact.round().clamp(-most, most)
    halves = (steps / torch.full_like(steps, 2.0)).expand_as(codes)
    return Rounded((codes * steps).to(groups.dtype), codes.to(torch.int16), halves)


def _format(bits: int) -> Format:
    return Format(f"int{bits}", bits, partial(nearest, bits=bits), about="whole numbers, round to nearest")


FORMATS = {format.name: format for format in map(_format, (8, 4, 3))}
