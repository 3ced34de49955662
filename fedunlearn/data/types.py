"""What the rest of the program knows of data: images, a dataset, and which samples are to be forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class ImageSet:
    """Images held once, as bytes. `images`: uint8 [N, C, H, W]; `labels`: int64 [N] in 0..classes-1."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> ImageSet:
        """The same images on `device`."""
        return ImageSet(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Dataset:
    """A classification task. `mean` and `std` are per channel, of pixel values scaled to [0, 1].

    `fingerprint` is a hash of all bytes that matter (images, labels, class names), part of every store key.
    """

    name: str
    train: ImageSet
    test: ImageSet
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width


@dataclass(frozen=True)
class Normaliser:
    """Turns uint8 images [n, C, H, W] into float32 of about zero mean and unit variance, on the images' device."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: Tensor) -> Tensor:
        """Normalised copies of `images`."""
        mean, std = _per_channel(self.mean, images.device), _per_channel(self.std, images.device)
        return images.float().div_(255).sub_(mean).div_(std)


@lru_cache(maxsize=64)
def _per_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Made once: on a GPU, a tensor made from numbers makes the program wait for the device."""
    return torch.tensor(values, device=device).view(1, -1, 1, 1)


@dataclass(frozen=True)
class Request:
    """What is to be forgotten, resolved against a dataset and a partition.

    `forget`: bool [N_train], true for the samples of D_f. `classes`: the classes forgotten whole (class level only,
    else empty), sorted. The three levels are one concept: a set of training samples.
    """

    level: Literal["class", "client", "sample"]
    forget: np.ndarray
    classes: tuple[int, ...]
