"""One client's local SGD: the reference that every faster path must agree with."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fedunlearn.data.types import Inputs
from fedunlearn.federation.federation import ClientData
from fedunlearn.federation.objective import Assignment, Objective, Passes, RoundContext, Tensors
from fedunlearn.federation.optimiser import Sgd
from fedunlearn.models.base import Network
from fedunlearn.settings.config import TrainConfig
from fedunlearn.tasks.base import Batch

FETCH_AT_ONCE = 64 * 2**20  # bytes of a client's prepared inputs, up to which they are held in memory while it trains
FLOAT = 4  # bytes
EVALUATION_BATCH = 512  # fixed, so that no result depends on how much memory a machine has


class Interrupted(Exception):  # noqa: N818 (an order, not an error)
    """The run is being stopped; the client gives up in the middle of its work."""


@dataclass(frozen=True)
class Trained:
    """`trained`: samples that count; `processed`: samples that went through a step; `loss`: mean over steps.

    `data_seconds`: spent on fetching and preparing inputs; `passes`: what the objective keeps of the last epoch.
    """

    trained: int
    processed: int
    loss: float
    data_seconds: float = 0.0
    passes: Passes | None = None


def never() -> None:
    """Nothing ends the client's work early."""


def train(
    model: Network,
    client: ClientData,
    objective: Objective,
    context: RoundContext,
    training: TrainConfig,
    order: torch.Generator,
    check: Callable[[], None] = never,
    optimiser: Sgd | None = None,
) -> Trained:
    """Train `model`, which holds what was received, in place on the client's data.

    `order` shuffles; `check` is called before every step, and what it raises ends the training. `optimiser`: the
    model's, if there is one from an earlier round.
    """
    model.eval()
    samples = assigned(objective.assign(model, client, context), client)
    rows = samples.weights.nonzero()[:, 0]
    model.train()
    fetch = Fetcher(client)
    optimiser = optimiser or Sgd(dict(model.named_parameters()))
    optimiser.begin()
    processed, steps, total = 0, 0, torch.zeros((), device=rows.device)
    seen, kept = list[Tensor](), list[Tensors]()
    for epoch in range(training.local_epochs):
        for chosen in batches(rows, training.batch_size, order):
            check()
            batch = Batch(fetch(chosen), samples.targets[chosen], samples.weights[chosen])
            said = objective.says(model, batch, context)
            loss = objective.loss(said, batch, context)
            if objective.keep and epoch == training.local_epochs - 1:
                seen.append(chosen)
                kept.append({name: rows.detach() for name, rows in objective.keep(said).items()})
            torch.autograd.backward(loss)
            if objective.clip is not None:
                torch.nn.utils.clip_grad_norm_(optimiser.parameters, objective.clip)
            optimiser.step(training)
            if objective.constrain:
                _put(optimiser.named, objective.constrain(dict(optimiser.named), context))
            total += loss.detach()
            processed, steps = processed + len(chosen), steps + 1
    mean = float(total) / max(steps, 1)
    return Trained(len(rows) if steps else 0, processed, mean, fetch.seconds, Passes.joined(seen, kept))


@dataclass(frozen=True)
class Assigned:
    """What a client's samples are held against in a round, and how much each counts: [n, …] and float [n]."""

    targets: Tensor
    weights: Tensor


def assigned(decided: Assignment, client: ClientData) -> Assigned:
    """An assignment with the client's own targets where the method left them alone."""
    return Assigned(client.targets if decided.labels is None else decided.labels, decided.weights)


class Fetcher:
    """A client's inputs, all fetched at once where they are few, and batch by batch where they are many."""

    def __init__(self, client: ClientData) -> None:
        started = time.perf_counter()
        self._client = client
        size = FLOAT * len(client) * sum(math.prod(rows.shape[1:]) for rows in client.raw.values())
        self._table = client.inputs() if size <= FETCH_AT_ONCE else None
        self.seconds = time.perf_counter() - started

    def __call__(self, batch: Tensor) -> Inputs:
        """The inputs of the samples at the positions `batch`."""
        started = time.perf_counter()
        if self._table is None:
            inputs = self._client.inputs(batch)
        else:
            inputs = {name: rows[batch] for name, rows in self._table.items()}
        self.seconds += time.perf_counter() - started
        return inputs


@torch.no_grad()
def _put(parameters: Mapping[str, Tensor], values: Tensors) -> None:
    for name, parameter in parameters.items():
        parameter.copy_(values[name])


def batches(rows: Tensor, size: int, order: torch.Generator) -> Iterator[Tensor]:
    """`rows` in random order, `size` at a time.

    A last batch of one sample joins the batch before it, and a client with a single sample trains on nothing:
    batch statistics and contrastive terms are undefined for one sample.
    """
    shuffled = rows[torch.randperm(len(rows), generator=order).to(rows.device)]
    pieces = list(torch.split(shuffled, size))
    if len(pieces) > 1 and len(pieces[-1]) == 1:
        pieces[-2:] = [torch.cat(pieces[-2:])]
    return (piece for piece in pieces if len(piece) > 1)


@torch.no_grad()
def observed(model: Network, client: ClientData, positions: Tensor) -> dict[str, Tensor]:
    """`features` [m, d] of the samples at `positions`, and what the task keeps, such as `logits` [m, classes].

    In evaluation mode, a bounded number of samples at a time.
    """
    model.eval()
    parts = torch.split(positions, EVALUATION_BATCH)  # one that is empty, if there are no positions
    said = [client.task.outputs(model, client.inputs(part)) for part in parts]
    kept = [{"features": each.features, **client.task.kept(each)} for each in said]
    return {name: torch.cat([each[name] for each in kept]) for name in kept[0]}
