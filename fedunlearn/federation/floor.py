"""A floor under the steps of unlearning: a weight moves only if it leaves its bin in a format.

What rounding to that format would undo is undone after every round, so the next one goes on without it, and what is
audited in float32 is carried by weights that ship with another code. The idea of a floor that lets updates cross bins
is that of MANSU (arXiv 2605.15138), which makes small updates larger; ours leaves them out (our reading).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fedunlearn.deploy.base import Floor, Format, rounded, weights_of
from fedunlearn.models.base import Network
from fedunlearn.settings import registry


def anchor(network: Network, model: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights that formats round, as they are before the stage."""
    return {name: model[name].clone() for name in weights_of(network)}


def kept(floor: Floor, start: Mapping[str, Tensor], model: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The model with every weight back where it was in `start`, unless it has left the bin that it had there.

    A bin reaches half its width to both sides of the level that the weight takes, on the grid that `start` has. So the
    largest weight of a channel, which is at the end of the grid, can leave its bin in both directions, too.
    """
    return {**model, **{name: _kept(floor, before, model[name]) for name, before in start.items()}}


def _kept(floor: Floor, before: Tensor, now: Tensor) -> Tensor:
    grid = rounded(before, registry.find(Format, floor.format), floor.group_size)
    return torch.where((now.double() - grid.values.double()).abs() > grid.half_steps, now, before)
