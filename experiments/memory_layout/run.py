"""What the memory layout is worth: seconds of one core for a training step, channels-last and channel after channel.

`python experiments/memory_layout/run.py` prints the table that docs/scaling.md quotes. Both layouts take turns, and the
median counts, so that other work on the machine disturbs both alike.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from fedunlearn.data.types import Sample
from fedunlearn.models.base import Network, build
from fedunlearn.settings import registry

CLASSES = 10
MODELS: list[tuple[str, dict[str, Any], tuple[int, int, int], int]] = [  # family, settings, image, batch
    ("cnn", {}, (1, 28, 28), 20),
    ("cnn", {}, (3, 32, 32), 10),
    ("lenet", {}, (1, 28, 28), 20),
    ("resnet18", {"norm": "group"}, (3, 32, 32), 20),
    ("resnet18", {"norm": "batch"}, (3, 32, 32), 20),
    ("resnet50", {"norm": "group"}, (3, 32, 32), 4),
]


def main() -> None:
    """Prints a Markdown table."""
    torch.set_num_threads(1)
    print("| model | images | batch | channels-last, ms | channel after channel, ms |\n|---|---|--:|--:|--:|")
    for family, settings, shape, batch in MODELS:
        last, first = compared(family, settings, shape, batch, 200 if family in ("cnn", "lenet") else 7)
        name, size = " ".join([family, *settings.values()]), "x".join(map(str, shape))
        print(f"| {name} | {size} | {batch} | {1000 * last:.3g} | {1000 * first:.3g} |", flush=True)


def compared(family: str, settings: dict[str, Any], shape: tuple[int, int, int], batch: int, times: int) -> list[float]:
    """Median seconds of a step in the two layouts."""
    images = torch.randn(batch, *shape).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(batch) % CLASSES
    seconds: list[list[float]] = [[], []]
    models = [laid_out(family, settings, shape, channels_last) for channels_last in (True, False)]
    for _ in range(times + 1):
        for model, taken in zip(models, seconds, strict=True):
            started = time.thread_time()
            F.cross_entropy(model({"images": images}), labels).backward()
            taken.append(time.thread_time() - started)
    return [statistics.median(taken[1:]) for taken in seconds]  # the first step only warms up


def laid_out(family: str, settings: dict[str, Any], shape: tuple[int, int, int], channels_last: bool) -> Network:
    """A fresh model of that layout."""
    chosen = registry.find("model", family).settings(**settings)
    model = build(family, chosen, Sample(shape), lambda width: nn.Linear(width, CLASSES), 0)
    model.channels_last = channels_last
    return model.laid_out(torch.device("cpu"))


if __name__ == "__main__":
    main()
