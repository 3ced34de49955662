"""Classification: one of several classes for each sample. A class is target and group in one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedunlearn.data.types import Dataset, Inputs
from fedunlearn.models.base import Network
from fedunlearn.tasks.base import Batch, Task


@dataclass(frozen=True)
class ClassOutputs:
    """`features`: float [b, d]; `logits`: float [b, classes]."""

    features: Tensor
    logits: Tensor


def outputs(model: Network, inputs: Inputs) -> ClassOutputs:
    """Features and logits."""
    features = model.features(inputs)
    return ClassOutputs(features, model.head(features))


def losses(outputs: ClassOutputs, batch: Batch) -> Tensor:
    """Cross-entropy of every sample [b], for hard targets (int64 [b]) or soft ones (float [b, classes])."""
    if batch.targets.dim() == 1:
        return F.cross_entropy(outputs.logits, batch.targets, reduction="none")
    return -(batch.targets * outputs.logits.log_softmax(1)).sum(1)


def likelihood(outputs: ClassOutputs, batch: Batch) -> Tensor:
    """p_y [b], the probability of the target (hard targets only)."""
    return outputs.logits.softmax(1).gather(1, batch.targets[:, None])[:, 0]


def score(outputs: ClassOutputs, batch: Batch) -> Tensor:
    """1 where the largest logit, among all classes, is that of the target (hard targets only), else 0; [b]."""
    return (outputs.logits.argmax(1) == batch.targets).to(torch.float32)


def head(width: int, dataset: Dataset) -> nn.Module:
    """A linear layer from features to logits."""
    return nn.Linear(width, dataset.classes)


TASKS = {
    "classification": Task(
        name="classification",
        head=head,
        outputs=outputs,
        losses=losses,
        likelihood=likelihood,
        score=score,
        kept=lambda outputs, batch: {"logits": outputs.logits},
        chance=lambda dataset: 1 / dataset.classes,
        unseen_at_chance=True,
    )
}
