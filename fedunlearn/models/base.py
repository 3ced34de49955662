"""What a model is here: `features(x)`, then `head(z)`; and how one is registered and built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fedunlearn.randomness import derive
from fedunlearn.settings import registry


class Classifier(nn.Module):
    """A feature extractor [n, C, H, W] → [n, d] (`encoder`) and a linear head [n, d] → [n, classes] (`head`)."""

    def __init__(self, encoder: nn.Module, feature_dim: int, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(feature_dim, classes)

    def features(self, x: Tensor) -> Tensor:
        """Penultimate representation z, float [n, d]."""
        features: Tensor = self.encoder(x)
        return features

    def forward(self, x: Tensor) -> Tensor:
        """Logits, float [n, classes]."""
        logits: Tensor = self.head(self.features(x))
        return logits


@dataclass(frozen=True)
class ModelFamily:
    """A registered architecture. `encoder(settings, shape)` returns the feature extractor and its output width d.

    Raises RequestError from `encoder` where the image shape (C, H, W) does not fit the architecture.
    """

    name: str
    settings: type
    encoder: Callable[[Any, tuple[int, int, int]], tuple[nn.Module, int]]


def build(name: str, settings: Any, shape: tuple[int, int, int], classes: int, seed: int) -> Classifier:
    """A freshly initialised model; its weights depend on `seed` alone."""
    family = registry.find("model", name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "init"))
        encoder, width = family.encoder(settings, shape)
        return Classifier(encoder, width, classes)
