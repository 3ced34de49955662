"""What is measured: how many clients, how much data, which model, how many rounds."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fedunlearn.data.types import Dataset, Normaliser, Request, Sample, Split, labelled_images
from fedunlearn.federation.federation import Federation
from fedunlearn.models.base import Network, build
from fedunlearn.models.cnn import CnnSettings
from fedunlearn.models.resnet import ResNetSettings
from fedunlearn.settings.config import TrainConfig

CLASSES = 10


@dataclass(frozen=True)
class Workload:
    """`asked` clients of `clients` train in each of `rounds` rounds, each on about `samples` images of its own."""

    name: str
    title: str
    clients: int
    asked: int
    samples: int
    batch: int
    shape: tuple[int, int, int] = (1, 28, 28)
    model: str = "cnn"
    width: int = 12
    rounds: int = 5
    epochs: int = 1
    lr: float = 0.03
    momentum: float = 0.9
    decay: float = 5e-4
    test: int = 1000

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def training(self) -> TrainConfig:
        share = self.asked / self.clients
        pace = {"lr": self.lr, "momentum": self.momentum, "weight_decay": self.decay, "participation": share}
        return TrainConfig(self.rounds, self.epochs, self.batch, **pace)

    def fresh_model(self, seed: int) -> Network:
        """The model that everybody trains; its weights depend on `seed` alone."""
        settings: Any = ResNetSettings(norm="group")
        if self.model == "cnn":
            settings = CnnSettings(width=self.width, feature_dim=4 * self.width)
        return build(self.model, settings, Sample(self.shape), lambda width: nn.Linear(width, CLASSES), seed)

    def plain_model(self, seed: int) -> nn.Sequential:
        """The same model from images to logits, as a module that knows nothing of federations."""
        network = self.fresh_model(seed)
        return nn.Sequential(network.encoder, network.head)


COLOUR = (3, 32, 32)
MAIN = (
    Workload("cnn_100", "small CNN, 100 clients, all in every round", 100, 100, 60, 20),
    Workload(
        "cnn_1000", "small CNN, 1,000 clients, 50 a round, batch 10", 1000, 50, 50, 10, COLOUR, lr=0.1, momentum=0
    ),
    Workload(
        "resnet18_10",
        "ResNet-18, 10 clients, all in every round",
        10,
        10,
        40,
        20,
        COLOUR,
        "resnet18",
        rounds=3,
        test=200,
    ),
)
CLIENTS = tuple(
    Workload(f"clients_{n}", f"6,000 images on {n} clients, all in every round", n, n, 6000 // n, 10, rounds=3)
    for n in (10, 100, 1000)
)
MANY = (
    Workload("many_10", "60,000 images on 10 clients, all in every round", 10, 10, 6000, 10, rounds=2),
    Workload("many_10000", "60,000 images on 10,000 clients, all in every round", 10_000, 10_000, 6, 10, rounds=2),
    Workload("many_10000_few", "60,000 images on 10,000 clients, 100 a round", 10_000, 100, 6, 10, rounds=5),
)
SIZES = tuple(
    Workload(f"width_{width}", f"CNN of width {width}, 20 clients", 20, 20, 60, 20, COLOUR, width=width, rounds=3)
    for width in (6, 12, 24, 48)
)
GPU = (
    Workload("gpu_cnn_50", "small CNN, 50 clients a round on a GPU", 500, 50, 200, 20, COLOUR, rounds=5),
    Workload(
        "gpu_cnn_1000", "small CNN on a GPU, 1,000 clients, 50 a round", 1000, 50, 50, 10, COLOUR, lr=0.1, momentum=0
    ),
    Workload(
        "gpu_resnet18",
        "ResNet-18, an epoch over all of 10 clients' images",
        10,
        10,
        5000,
        128,
        COLOUR,
        "resnet18",
        rounds=2,
    ),
)
ALL = {workload.name: workload for workload in (*MAIN, *CLIENTS, *MANY, *SIZES, *GPU)}


def quick(workload: Workload) -> Workload:
    """The same in a few seconds: for trying out the command, not for measuring."""
    clients = min(workload.clients, 6)
    small = {
        "clients": clients,
        "asked": min(workload.asked, clients),
        "samples": 10,
        "batch": 5,
        "rounds": 2,
        "test": 50,
    }
    shape = (workload.shape[0], 16, 16) if workload.model != "cnn" else workload.shape
    return replace(workload, **small, width=min(workload.width, 6), shape=shape)


def images(workload: Workload, data: Path | None) -> tuple[Dataset, str]:
    """Training and test images of the workload's shape, and where they come from.

    CIFAR-10 where colour images are asked for and `data` holds it; else pixels that a model can learn: every class
    is a pattern of its own under noise.
    """
    count = workload.clients * workload.samples
    if data is not None and workload.shape == COLOUR:
        from torchvision.datasets import CIFAR10

        train, test = (_of(CIFAR10(str(data), train=part)) for part in (True, False))
        enough = _first(train, count) if count <= len(train) else None
        if enough is not None:
            return _dataset(enough, _first(test, workload.test)), "CIFAR-10"
    stream = np.random.default_rng(0)
    patterns = stream.integers(0, 256, (CLASSES, workload.shape[0], 4, 4))
    sets = [_patterns(patterns, n, workload.shape, stream) for n in (count, workload.test)]
    return _dataset(*sets), "synthetic pixels"


def federation(workload: Workload, dataset: Dataset, device: str = "cpu") -> Federation:
    """The clients, each with an equal share of the images; class 9 is the one to forget."""
    parts = [
        np.sort(part)
        for part in np.array_split(np.random.default_rng(1).permutation(len(dataset.train)), workload.clients)
    ]
    wanted = Request("class", (dataset.train.groups == CLASSES - 1).numpy(), (CLASSES - 1,))
    return Federation(dataset, parts, wanted, workload.fresh_model, torch.device(device), 0)


def _patterns(patterns: np.ndarray, count: int, shape: tuple[int, int, int], stream: np.random.Generator) -> Split:
    labels = stream.integers(0, CLASSES, count)
    repeat = -(-shape[1] // 4)
    wide = patterns.repeat(repeat, axis=2).repeat(repeat, axis=3)[:, :, : shape[1], : shape[2]]
    noisy = 0.5 * wide[labels] + stream.normal(64, 80, (count, *shape))
    return labelled_images(torch.from_numpy(noisy.clip(0, 255).astype(np.uint8)), torch.from_numpy(labels))


def _dataset(train: Split, test: Split) -> Dataset:
    names = tuple(str(label) for label in range(CLASSES))
    channels = pixels(train).shape[1]
    normalise = Normaliser((0.45,) * channels, (0.25,) * channels)
    return Dataset("benchmark", train, test, names, normalise, "benchmark")


def _of(split: Any) -> Split:
    images = torch.from_numpy(split.data).permute(0, 3, 1, 2).contiguous()
    return labelled_images(images, torch.tensor(split.targets))


def _first(split: Split, count: int) -> Split:
    return labelled_images(pixels(split)[:count], split.targets[:count])


def pixels(split: Split) -> Tensor:
    """The images of a split as they are kept, uint8 [N, C, H, W]."""
    return split.inputs["images"]


def normalised(dataset: Dataset, split: Split) -> Tensor:
    """Float images as every competitor sees them."""
    return dataset.prepare(split.inputs)["images"]
