"""All retain samples are replayed, as methods are published: clients need not select anything."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fedunlearn.select.base import Selector


@dataclass(frozen=True)
class Everything:
    """There is nothing to set."""


SELECTORS = {
    "all": Selector(
        "all",
        Everything,
        choose=lambda points, count, settings, stream: torch.arange(count),
        allot=lambda sizes, settings: list(sizes),
        looks=False,
        about="clients replay all of their retain samples",
    )
}
