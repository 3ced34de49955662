"""What an augmentation is: a pure function of a batch's images and of random numbers drawn for it.

The numbers are drawn on the CPU from the client's own stream, so that they depend on no worker, engine or device. What
is done with them is vectorised over images that may belong to many clients, and treats every image by its own numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fedunlearn.tasks.base import EVERY

# (settings, count, stream) -> random numbers of a batch of `count` images, float32 [count, k], on the CPU
Draw = Callable[[Any, int, torch.Generator], Tensor]
# (images, numbers, settings) -> images; what leaves [0, 1] is cut off afterwards
Change = Callable[[Tensor, Tensor, Any], Tensor]
# (images, others, numbers, settings) -> images that are mixed with others, and the share [n] that stays of their own
Mix = Callable[[Tensor, Tensor, Tensor, Any], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class NoSettings:
    """An augmentation without settings."""


def nothing(settings: Any, count: int, stream: torch.Generator) -> Tensor:
    """No random numbers: [count, 0]."""
    return torch.empty(count, 0)


@dataclass(frozen=True)
class Augmentation:
    """A registered augmentation of images, float32 [n, C, H, W] in [0, 1], which must not be written into.

    `draw`: the random numbers of a batch. `change`: images by their numbers, [n, k]. `mix`, in its place: images mixed
    with others of their batch; the loss is then the mean of those for either's target, by their shares, of which the
    first image's counts, so that a batch has one. `tasks`: those whose losses can be averaged like that.
    """

    name: str
    settings: type
    draw: Draw = nothing
    change: Change | None = None
    mix: Mix | None = None
    tasks: frozenset[str] = EVERY
    about: str = ""  # for those who read conf/


def uniform(columns: int) -> Draw:
    """That many numbers for each image, uniform in [0, 1)."""
    return lambda settings, count, stream: torch.rand(count, columns, generator=stream)


def between(numbers: Tensor, low: float, high: float) -> Tensor:
    """Numbers in [0, 1) spread over [low, high)."""
    return low + (high - low) * numbers


def by_image(values: Tensor) -> Tensor:
    """One value for each image, [n], in the shape that images are multiplied by."""
    return values.view(-1, 1, 1, 1)
