"""Regression: one value for each sample, in units of the training set's standard deviation.

A model that never saw a group still predicts its values, more or less: that is what regression is for. So forgetting a
group means falling to the level of a model that was retrained without it, and not to chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fedunlearn.data.types import Dataset, Inputs
from fedunlearn.models.base import Network
from fedunlearn.tasks.base import Batch, Task

NEAR = 1.0  # a prediction counts as right within one standard deviation of the target


@dataclass(frozen=True)
class ValueOutputs:
    """What a model says of b samples. `features`: float [b, d]; `value`: float [b]."""

    features: Tensor
    value: Tensor


def outputs(model: Network, inputs: Inputs) -> ValueOutputs:
    """Features, and the head's only number."""
    features = model.features(inputs)
    return ValueOutputs(features, model.head(features)[:, 0])


def losses(outputs: ValueOutputs, batch: Batch) -> Tensor:
    """Half the squared error of each sample, [b]."""
    return (outputs.value - batch.targets).square() / 2


def likelihood(outputs: ValueOutputs, batch: Batch) -> Tensor:
    """exp(−loss), [b]: the density of a Gaussian around the prediction, 1 at its peak."""
    return (-losses(outputs, batch)).exp()


def score(outputs: ValueOutputs, batch: Batch) -> Tensor:
    """1 where the prediction is near enough, else 0, [b]. fedunlearn calls its mean an accuracy."""
    return ((outputs.value - batch.targets).abs() <= NEAR).to(torch.float32)


def chance(dataset: Dataset) -> float:
    """The score of one who always says the training set's mean."""
    mean = dataset.train.targets.mean()
    return float(((dataset.test.targets - mean).abs() <= NEAR).double().mean())


TASK = Task(
    name="regression",
    head=lambda width, dataset: nn.Linear(width, 1),
    outputs=outputs,
    losses=losses,
    likelihood=likelihood,
    score=score,
    kept=lambda outputs, batch: {"value": outputs.value},
    chance=chance,
    unseen_at_chance=False,
)
