"""A trained step as the store keeps it, and back: its tensors by name in one file, the rest as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from fedunlearn.engines.base import Progress
from fedunlearn.store import Artifact, Stored

TENSORS = ("model", "shared", "memory")  # of a step's progress
COSTS = ("rounds", "seconds", "bytes_up", "bytes_down", "samples", "failures")
History = list[dict[str, Any]]


@dataclass(frozen=True)
class StepModel:
    """What a step that trained comes to. `history`: test accuracy of every class and training loss, by round.

    `memory` and `notes`: what the method's server remembers.
    """

    key: str
    cached: bool
    tensors: dict[str, Any]
    memory: dict[str, Any]
    history: History
    cost: dict[str, float]
    notes: dict[str, Any]


def on(device: torch.device, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors on `device`."""
    return {name: value.to(device) for name, value in tensors.items()}


def artifact_of(progress: Progress) -> Artifact:
    """What the store takes."""
    tensors = {f"{part}/{name}": value for part in TENSORS for name, value in getattr(progress, part).items()}
    return Artifact(tensors, {"history": progress.history, "notes": progress.notes, "cost": progress.cost})


def progress_of(saved: Artifact, device: torch.device) -> Progress:
    """The inverse of `artifact_of`, with its tensors on `device`."""
    parts: dict[str, dict[str, Any]] = {part: {} for part in TENSORS}
    for name, value in on(device, saved.tensors).items():
        part, _, rest = name.partition("/")
        parts[part][rest] = value
    return Progress(**parts, notes=saved.data["notes"], history=saved.data["history"], cost=saved.data["cost"])


def model_of(stored: Stored) -> StepModel:
    """What the rest of a run needs of a finished step, on the CPU."""
    progress = progress_of(stored, torch.device("cpu"))
    kept = progress.model, progress.memory, progress.history, progress.cost, progress.notes
    return StepModel(stored.key, stored.cached, *kept)


def given_model(key: str, tensors: Mapping[str, torch.Tensor]) -> StepModel:
    """A model that was made elsewhere, at a cost that nobody knows."""
    return StepModel(key, False, dict(tensors), {}, [], dict.fromkeys(COSTS, math.nan), {})
