"""What the server adds up: one reply at a time, so that its memory does not grow with the number of clients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fedunlearn.federation import wire
from fedunlearn.federation.wire import Forms

Tensors = dict[str, Tensor]


@dataclass
class Total:
    """A running weighted sum of states in float64, and a plain sum of uploads."""

    weight: float = 0.0
    forms: Forms | None = None  # types and shapes of the uploads of the first client
    state: Tensors = field(default_factory=dict)
    uploads: Tensors = field(default_factory=dict)

    def add(self, state: Tensors, weight: float, uploads: Tensors) -> None:
        """Take one client's reply into account."""
        self.weight += weight
        self.forms = wire.forms(uploads) if self.forms is None else self.forms
        _add_to(self.state, state, weight)
        _add_to(self.uploads, uploads, 1.0)

    def mean(self, like: Mapping[str, Tensor]) -> Tensors:
        """The weighted mean, in the types of `like`; integers (such as counters of batch norm) are rounded."""
        return {name: _cast(self.state[name] / self.weight, like[name].dtype) for name in like}


def _add_to(sums: Tensors, values: Tensors, weight: float) -> None:
    for name, value in values.items():
        if name not in sums:
            sums[name] = torch.zeros_like(value, dtype=torch.float64)
        sums[name].add_(value, alpha=weight)


def _cast(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.to(dtype) if dtype.is_floating_point else value.round().to(dtype)
