"""What can be augmented: images, and mixed ones only where nothing asks for what a model says of a single sample."""

from __future__ import annotations

import torch

from fedunlearn.augment.base import Augmentation
from fedunlearn.data.types import Dataset
from fedunlearn.errors import RequestError, listed
from fedunlearn.federation.augmenting import IMAGES
from fedunlearn.federation.objective import Objective, task_outputs
from fedunlearn.tasks.base import defined


def check(augmentation: Augmentation, dataset: Dataset) -> None:
    """Can these data be augmented so? Raises RequestError."""
    asked, images = f"augment={augmentation.name}", dataset.train.inputs.get(IMAGES)
    if augmentation.change is None and augmentation.mix is None:
        return
    if images is None or images.dtype != torch.uint8 or images.dim() != 4:
        kinds = (f"{name} ({str(rows.dtype).removeprefix('torch.')})" for name, rows in dataset.train.inputs.items())
        raise RequestError(
            f"{asked} changes images (uint8), and dataset={dataset.name} has none: its inputs are {', '.join(kinds)}"
        )
    if not defined(augmentation.tasks, dataset.task):
        given = f"dataset={dataset.name} is for {dataset.task}"
        raise RequestError(f"{asked} is for {listed(sorted(augmentation.tasks))}, but {given}")


def check_mixing(augmentation: Augmentation, name: str, objective: Objective) -> None:
    """Can the objective of what is called so be minimised on mixed images, if they are mixed? Raises RequestError."""
    why = _hindrance(objective) if augmentation.mix else ""
    if why:
        raise RequestError(
            f"augment={augmentation.name} mixes pairs of images and does not go with {name}, which {why}"
        )


def _hindrance(objective: Objective) -> str:
    if objective.keep is not None:
        return "keeps what the model says of every sample in training (docs/augment.md: the settings that do not)"
    if objective.says is not task_outputs:
        return "changes what the model says of a sample by the sample's own target"
    return ""
