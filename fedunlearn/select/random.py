"""Retain samples at random, the same share of every class: what any better selector has to beat."""

from __future__ import annotations

import torch
from torch import Tensor

from fedunlearn.select.base import Budget, Selector, sampled


def choose(points: Tensor, count: int, settings: Budget, stream: torch.Generator) -> Tensor:
    """A simple random sample."""
    return sampled(count, len(points), stream)


SELECTORS = {"random": Selector("random", Budget, choose, looks=False, about="a random share of every class")}
