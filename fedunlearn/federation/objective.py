"""The client side of a method: what counts and as what, what to minimise, what to report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from fedunlearn.federation.federation import ClientData
from fedunlearn.models.base import Around, Network
from fedunlearn.tasks.base import Batch, Task, weighted_mean

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Passes:
    """What the forward passes of the last epoch said of the samples that a client trained on.

    `positions`: int64 [m], each sample once, in the order of the batches; `said`: what the objective keeps, by name,
    with a row for each. In training mode, without a gradient; the model moves from batch to batch.
    """

    positions: Tensor
    said: Tensors

    @staticmethod
    def joined(batches: list[Tensor], said: list[Tensors]) -> Passes | None:
        """Those of an epoch, from its batches' positions and what was kept of each; None for no batch."""
        if not said:
            return None
        return Passes(torch.cat(batches), {name: torch.cat([each[name] for each in said]) for name in said[0]})


@dataclass(frozen=True)
class RoundContext:
    """What a client knows in a round, besides its data.

    `round`: 1, 2, …; `shared`: what the server sent along with the model; `received`: that model's parameters and
    buffers by name, as they came; `model`: an instance of the architecture, whose weights are whatever they are now.
    `passes`: for uploads, what training kept; None if the objective keeps nothing, or no step was taken.
    """

    task: Task
    round: int
    shared: Tensors
    received: Tensors
    model: Network
    passes: Passes | None = None

    def said(self, batch: Batch) -> Any:
        """What the received model says of a batch, in evaluation mode and without a gradient; for distillation."""
        return self.said_by(self.received, batch)

    @torch.no_grad()
    def said_by(self, tensors: Tensors, batch: Batch) -> Any:
        """The same of another model, such as one that the server sent along, with these parameters and buffers."""
        training = self.model.training
        self.model.eval()
        try:
            weights = {f"model.{name}": value for name, value in tensors.items()}
            return functional_call(Around(self.model, self.task.outputs), weights, (self.model, batch.inputs))
        finally:
            self.model.train(training)


@dataclass(frozen=True)
class Assignment:
    """What a method decides about each of a client's n samples, once per round.

    `weights`: float [n], of the sample in the loss: 0 leaves it out, and below 0 its loss is to rise. `labels`: what
    it is held against instead of its own target, where the method changes that: a target of the task each, or for
    classes also soft labels, float [n, classes]. `beside`: what else the loss has to know of each sample, by name,
    [n, …], such as how likely another model finds it: worked out once, and not in every batch. `plain`: it is known
    that all weights are 1.
    """

    weights: Tensor
    labels: Tensor | None = None
    beside: Tensors = field(default_factory=dict)
    plain: bool = False

    @staticmethod
    def alike(client: ClientData, labels: Tensor | None = None) -> Assignment:
        """Every sample counts as much as any other."""
        return Assignment(torch.ones(len(client), device=client.forget.device), labels, plain=True)


# Given the received model and the client's data, the assignment of the round.
Assign = Callable[[Network, ClientData, RoundContext], Assignment]
# Loss of a batch from what the model says of it, scalar. Must be pure, and rows whose weight is 0 must not influence
# it: that is how ragged batches are filled up.
Loss = Callable[[Any, Batch, RoundContext], Tensor]
# What the model says of a batch while it trains, where that is not the task's own outputs, such as those with rounded
# weights. Pure, and rows whose weight is 0 must not influence the others.
Says = Callable[[Network, Batch, RoundContext], Any]
# What is kept of what the model says of a batch: tensors by name, one row for each sample. Pure.
Keep = Callable[[Any], Tensors]
# Tensors that the server adds up over the clients of the round, computed on the trained model.
Uploads = Callable[[Network, ClientData, RoundContext], Tensors]
# What a client trains on instead of its own data, such as distilled images; `client.memory` may hold it between rounds.
Substitute = Callable[[Network, ClientData], ClientData]
# New values of the parameters (by name) after a step: a projection, or entries that must not move. Pure.
Constrain = Callable[[Tensors, RoundContext], Tensors]


def task_loss(outputs: Any, batch: Batch, context: RoundContext) -> Tensor:
    """The task's own loss, averaged over the samples that are not left out, each times its weight."""
    losses = context.task.losses(outputs, batch)
    return losses.mean() if batch.plain else weighted_mean(losses, batch.weights)


def task_outputs(model: Network, batch: Batch, context: RoundContext) -> Any:
    """The task's own outputs."""
    return context.task.outputs(model, batch.inputs)


def no_uploads(model: Network, client: ClientData, context: RoundContext) -> Tensors:
    """Nothing but the model travels to the server."""
    return {}


@dataclass(frozen=True)
class Objective:
    """Pure functions, so that one definition runs in the reference loop, stacked, and on another machine.

    `clip`: largest norm of a batch's gradient (all parameters together), or None. `substitute`: the data that
    assignment and batches are made of, or None for the client's own; uploads always see its own. `keep`: what
    uploads find in `context.passes`, whose positions are those of the data trained on; None keeps nothing. `says`:
    what the loss is given.
    """

    assign: Assign
    loss: Loss = task_loss
    uploads: Uploads = no_uploads
    constrain: Constrain | None = None
    clip: float | None = None
    substitute: Substitute | None = None
    keep: Keep | None = None
    says: Says = task_outputs


def everything(model: Network, client: ClientData, context: RoundContext) -> Assignment:
    """Every sample counts, with its own target."""
    return Assignment.alike(client)


def retain_only(model: Network, client: ClientData, context: RoundContext) -> Assignment:
    """Retain samples count, forget samples are left out."""
    return Assignment((~client.forget).float())


def forget_only(model: Network, client: ClientData, context: RoundContext) -> Assignment:
    """Forget samples count, retain samples are left out."""
    return Assignment(client.forget.float())
