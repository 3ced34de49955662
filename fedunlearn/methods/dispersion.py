"""Dispersion: push the embeddings of a forgotten individual's images apart, and keep training on all others.

After "Face Identity Unlearning for Retrieval via Embedding Dispersion", arXiv 2512.13317, whose abstract alone was
available to us: what makes an individual retrievable is that its embeddings lie together, so they are to lie apart. Our
reading: in the task's own loss on pairs, every forget image is an individual of its own, which is to be farther than
the margin from all others, those of the same individual among them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fedunlearn.errors import RequestError
from fedunlearn.federation.method import Method
from fedunlearn.federation.objective import Objective, RoundContext, everything, task_loss
from fedunlearn.federation.spec import StageSpec
from fedunlearn.settings.config import RunConfig
from fedunlearn.settings.schema import Positive
from fedunlearn.tasks.base import Batch


@dataclass(frozen=True)
class Dispersion:
    """Hyper-parameters."""

    strength: Positive = 1.0  # weight of a forget image beside that of another


def objective(settings: Dispersion, spec: StageSpec) -> Objective:
    """The task's loss, in which forget images have no partner."""
    forgotten = torch.tensor(spec.forget_classes)

    def loss(outputs: Any, batch: Batch, context: RoundContext) -> Tensor:
        forget = torch.isin(batch.targets, forgotten.to(batch.targets.device))
        alone = spec.classes + torch.arange(len(forget), device=forget.device)
        weights = batch.weights * torch.where(forget, settings.strength, 1.0)
        apart = replace(batch, targets=torch.where(forget, alone, batch.targets), weights=weights, plain=False)
        return task_loss(outputs, apart, context)

    return Objective(everything, loss)


def check(settings: Dispersion, config: RunConfig) -> None:
    """Raises RequestError where the loss is not one on pairs of images."""
    embedding = getattr(config.dataset.settings, "embedding", None)
    if embedding is not None and embedding.loss == "cross_entropy":
        raise RequestError(
            "method dispersion pushes pairs of images apart, which dataset.embedding.loss=cross_entropy does not have: "
            "choose contrastive or triplet"
        )


METHODS = {
    "dispersion": Method(
        name="dispersion",
        settings=Dispersion,
        objective=objective,
        levels=frozenset({"class"}),
        tasks=frozenset({"identity"}),
        check=check,
        about="the images of a forgotten individual are pushed apart",
    )
}
