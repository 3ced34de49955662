"""What the rest of the program knows of data: samples, a dataset, and which samples are to be forgotten."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

# By name, one row for each sample: what a model eats, or what it is made of (`Prepare`).
Inputs = Mapping[str, Tensor]
# From what a split holds (such as bytes) to what a model eats, on the same device. Its repr is part of store keys.
Prepare = Callable[[Inputs], Inputs]


@dataclass(frozen=True)
class Split:
    """Samples, held once.

    `inputs`: by name, one row for each of the N samples, such as `images`, uint8 [N, C, H, W]. `targets`: what a model
    is held against, int64 [N] for classes, float [N] for values, or whatever the dataset's task says. `groups`: int64
    [N] in 0..groups-1, what a request can name and what partitions skew; for classes, the targets themselves.
    """

    inputs: Inputs
    targets: Tensor
    groups: Tensor

    def __len__(self) -> int:
        return len(self.groups)

    def to(self, device: torch.device) -> Split:
        """The same samples on `device`."""
        inputs = {name: rows.to(device) for name, rows in self.inputs.items()}
        return Split(inputs, self.targets.to(device), self.groups.to(device))

    def at(self, rows: Tensor) -> Split:
        """The samples with the numbers `rows`."""
        inputs = {name: values[rows] for name, values in self.inputs.items()}
        return Split(inputs, self.targets[rows], self.groups[rows])


def labelled_images(images: Tensor, labels: Tensor) -> Split:
    """Images, uint8 [N, C, H, W], with their classes, int64 [N]: a class is target and group in one."""
    return Split({"images": images}, labels, labels)


@dataclass(frozen=True)
class Sample:
    """What a model has to know of the samples that it is for.

    `shape`: of the first input, such as channels, height and width of an image; `vocabulary`: how many tokens there
    are, 0 for what is no text.
    """

    shape: tuple[int, ...]
    vocabulary: int = 0


@dataclass(frozen=True)
class Dataset:
    """Training and test samples of one task.

    `class_names`: the names of the groups. `prepare`: from a split's inputs to a model's. `fingerprint`: a hash of all
    that matters (inputs, targets, groups, names, preparation), part of every store key. `task`: what is learnt.
    `remarks`: sentences that its user should know. `options`: what it has to choose about its task, a frozen dataclass
    (None: nothing). `unseen`: samples of further groups, numbered on, that no client ever holds: a control for audits.
    """

    name: str
    train: Split
    test: Split
    class_names: tuple[str, ...]
    prepare: Prepare
    fingerprint: str
    task: str = "classification"
    remarks: tuple[str, ...] = ()
    options: Any = None
    unseen: Split | None = None

    @property
    def classes(self) -> int:
        """How many groups there are."""
        return len(self.class_names)

    @property
    def sample(self) -> Sample:
        """What its samples are like."""
        first = next(iter(self.train.inputs.values()))
        return Sample(tuple(first.shape[1:]), getattr(self.prepare, "vocabulary", 0))


@dataclass(frozen=True)
class Normaliser:
    """Prepares images: uint8 to float32 of about zero mean and unit variance, in channels-last memory.

    `mean` and `std` are per channel, of pixel values scaled to [0, 1].
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, inputs: Inputs) -> Inputs:
        """Normalised copies of `images` [n, C, H, W]."""
        return {"images": self.images(inputs["images"])}

    def images(self, pixels: Tensor) -> Tensor:
        """Normalised copies of `pixels`, uint8 [n, C, H, W]."""
        mean, std = _per_channel(self.mean, pixels.device), _per_channel(self.std, pixels.device)
        return pixels.float().div_(255).sub_(mean).div_(std).contiguous(memory_format=torch.channels_last)


@lru_cache(maxsize=64)
def _per_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Made once: on a GPU, a tensor made from numbers makes the program wait for the device."""
    return torch.tensor(values, device=device).view(1, -1, 1, 1)


@dataclass(frozen=True)
class Request:
    """What is to be forgotten, resolved against a dataset and a partition.

    `forget`: bool [N_train], true for the samples of D_f. `classes`: the groups forgotten whole (class level only,
    else empty), sorted. The three levels are one concept: a set of training samples.
    """

    level: Literal["class", "client", "sample"]
    forget: np.ndarray
    classes: tuple[int, ...]
