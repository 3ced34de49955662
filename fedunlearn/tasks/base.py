"""What a task is: how samples become batches, what a model puts out for them, and how that is held against targets.

Nothing above this room knows whether it trains on classes or on anything else. A sample belongs to a *group*, which is
what a request can name and a partition skews; what it is held against is its *target*.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from fedunlearn.data.types import Dataset, Inputs
from fedunlearn.models.base import Network
from fedunlearn.settings import registry


@dataclass(frozen=True)
class Batch:
    """What a model eats, and what it is held against.

    `inputs`: prepared, on the device, one row for each of b samples; `targets`: [b] or whatever the task says;
    `weights`: float [b], 0 leaves a sample out of the loss (that is how ragged batches are filled up). `plain`: it is
    known that all of them are 1, so that a weighted mean is a mean. `mixed`: where inputs are mixtures of two samples,
    `targets` and `weights` of the second ones, and the `share` of the first ones, scalar (`federation.augmenting`).
    `beside`: what a method knows of each sample, by name (`Assignment.beside`).
    """

    inputs: Inputs
    targets: Tensor
    weights: Tensor
    plain: bool = False
    mixed: Mapping[str, Tensor] = field(default_factory=dict)
    beside: Mapping[str, Tensor] = field(default_factory=dict)


class Outputs(Protocol):
    """What a model says of b samples; a task adds what it needs, such as logits."""

    @property
    def features(self) -> Tensor:
        """One vector for each sample, float [b, d]."""


# (positions of the samples that count, targets of all of a client's samples, batch size, order) -> batches.
Dealt = Callable[[Tensor, Tensor, int, torch.Generator], list[Tensor]]


def shuffled(rows: Tensor, targets: Tensor, size: int, order: torch.Generator) -> list[Tensor]:
    """`rows` in random order, `size` at a time; as they are, if they fit into one batch.

    A last batch of one sample joins the batch before it, and a client with a single sample trains on nothing:
    batch statistics and contrastive terms are undefined for one sample.
    """
    count = len(rows)
    if count <= size:
        return [rows] if count > 1 else []
    mixed = rows[torch.randperm(count, generator=order).to(rows.device)]
    lengths = [size] * (count // size) + [count % size] * (count % size > 0)
    if lengths[-1] == 1:
        lengths[-2:] = [lengths[-2] + 1]
    return [piece for piece in mixed.split_with_sizes(lengths) if piece.shape[0] > 1]


@dataclass(frozen=True)
class Task:
    """A registered task. All functions are pure, and may be vectorised: no step may depend on the values in a tensor.

    `head(d, dataset)`: a fresh head on d features. `outputs(model, inputs)`: what the model says. `losses(outputs,
    batch)`: the loss of every sample, float [b], at least 0. `likelihood(outputs, batch)`: how likely the model finds
    every target, float [b] in [0, 1], with a gradient. `score(outputs, batch)`: how right it is, float [b] in [0, 1];
    means over groups are the curves of a round and the *accuracies* of audits. `kept(outputs, batch)`: what audits see
    beside the features, one row for each sample. `chance(dataset)`: the score of one who has seen nothing.

    `unseen_at_chance`: does a model score no better than chance on a group that it never saw? Classes: yes, there is
    no row for them in the head. Values or individuals: no; there forgetting means falling to the level of a
    retrained model.

    `length(batch)`: how many parts of each target `losses` is the mean over, float [b], such as the tokens of an
    answer. `learnt`: the share of the way from chance to a perfect score from which a model knows what it was taught.
    `at_once`: samples that are evaluated together; fixed, so that no result depends on how much memory a machine has.
    `libraries`: the distributions that its models and audits need beyond fedunlearn's own; their versions are part of
    store keys.

    `among(features, targets)`: the score of all n samples of a split, float [n], in place of `score`, where it depends
    on who else is there. `batches`: how a client's samples are dealt into the batches of an epoch.
    `configured(options)`: the task as its datasets want it, for a task that has something to choose
    (`Dataset.options`).
    """

    name: str
    head: Callable[[int, Dataset], nn.Module]
    outputs: Callable[[Network, Inputs], Any]
    losses: Callable[[Any, Batch], Tensor]
    likelihood: Callable[[Any, Batch], Tensor]
    score: Callable[[Any, Batch], Tensor]
    kept: Callable[[Any, Batch], dict[str, Tensor]]
    chance: Callable[[Dataset], float]
    unseen_at_chance: bool
    length: Callable[[Batch], Tensor] = lambda batch: torch.ones_like(batch.weights)
    learnt: float = 0.3
    at_once: int = 512
    libraries: tuple[str, ...] = ()
    among: Callable[[Tensor, Tensor], Tensor] | None = None
    batches: Dealt = shuffled
    configured: Callable[[Any], Task] | None = None


def of(dataset: Dataset) -> Task:
    """What is learnt from a dataset, in the way that it asks for."""
    task: Task = registry.find("task", dataset.task)
    return task.configured(dataset.options) if task.configured and dataset.options is not None else task


EVERY = frozenset({"every task"})  # what methods and audits are for that only need what every task offers
CLASSIFICATION = frozenset({"classification"})
LABELLED = frozenset({"classification", "identity"})  # every sample has one of several names


def defined(tasks: frozenset[str], task: str) -> bool:
    """Is something that is for `tasks` defined for the task of that name?"""
    return tasks == EVERY or task in tasks


def weighted_mean(losses: Tensor, weights: Tensor) -> Tensor:
    """Σ w l / #{w ≠ 0}, scalar: the mean over the samples that are not left out, each times its weight; 0 for none.

    `losses` [b] must be finite also where the weight is 0.
    """
    return torch.dot(losses, weights) / (weights != 0).sum().clamp_min(1)
