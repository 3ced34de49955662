"""One client's local SGD: the reference that every faster path must agree with."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedunlearn.data.types import Inputs
from fedunlearn.federation.augmenting import Augmenter, mixed_with
from fedunlearn.federation.federation import ClientData
from fedunlearn.federation.objective import Assignment, Objective, Passes, RoundContext, Tensors
from fedunlearn.federation.optimiser import Optimiser
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
    optimiser: Optimiser | None = None,
    augmenter: Augmenter | None = None,
) -> Trained:
    """Train `model`, which holds what was received, in place on the client's data.

    `order` shuffles; `check` is called before every step, and what it raises ends the training. `optimiser`: the
    model's, if there is one from an earlier round. `augmenter`: what is done to the images of every batch.
    """
    model.eval()
    samples = assigned(objective.assign(model, client, context), client)
    model.train()
    feed = Feed(client, samples, training, augmenter)
    optimiser = optimiser or Optimiser(dict(model.named_parameters()))
    optimiser.begin()
    processed, losses = 0, list[Tensor]()
    seen, kept = list[Tensor](), list[Tensors]()
    for epoch in range(training.local_epochs):
        for chosen, batch in feed.epoch(order):
            check()
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
            losses.append(loss.detach())
            processed += len(chosen)
    mean = math.fsum(map(float, losses)) / max(len(losses), 1)  # not one by one: a GPU would be waited for
    return Trained(feed.count if losses else 0, processed, mean, feed.seconds, Passes.joined(seen, kept))


@dataclass(frozen=True)
class Assigned:
    """What a client's samples are held against in a round, how much each counts, and what else is known of them."""

    targets: Tensor
    weights: Tensor
    beside: Tensors
    plain: bool  # it is known that all weights are 1


def assigned(decided: Assignment, client: ClientData) -> Assigned:
    """An assignment with the client's own targets where the method left them alone."""
    targets = client.targets if decided.labels is None else decided.labels
    return Assigned(targets, decided.weights, decided.beside, decided.plain)


class Feed:
    """A client's batches. Its inputs are fetched an epoch at a time where they are few, and else batch by batch.

    Augmented ones are made batch by batch.
    """

    def __init__(
        self, client: ClientData, samples: Assigned, training: TrainConfig, augmenter: Augmenter | None = None
    ) -> None:
        self._client, self._samples, self._size = client, samples, training.batch_size
        self._augmenter = augmenter
        width = sum(math.prod(values.shape[1:]) for values in client.raw.values())
        self._few = augmenter is None and FLOAT * len(client) * width <= FETCH_AT_ONCE
        weights = samples.weights
        self._plain = samples.plain or bool((weights == 1).all())
        self._rows = torch.arange(len(weights), device=weights.device) if self._plain else weights.nonzero()[:, 0]
        self.count = len(self._rows)  # samples that count
        self.seconds = 0.0

    def epoch(self, order: torch.Generator) -> Iterator[tuple[Tensor, Batch]]:
        """Every batch with the positions of its samples, in an order of its own."""
        pieces = self._client.task.batches(self._rows, self._samples.targets, self._size, order)
        if not pieces:
            return
        rows, lengths, samples = self._joined(pieces), [piece.shape[0] for piece in pieces], self._samples

        def cut(values: Tensor) -> Sequence[Tensor]:
            return (values if rows is None else values[rows]).split_with_sizes(lengths)

        targets, weights = cut(samples.targets), cut(samples.weights)
        beside = {name: cut(values) for name, values in samples.beside.items()}
        table = self._fetch(rows) if self._few else {}
        parts = {name: values.split_with_sizes(lengths) for name, values in table.items()}
        for i, chosen in enumerate(pieces):
            known = {name: values[i] for name, values in beside.items()}
            if self._augmenter:
                yield chosen, self._augmented(self._augmenter, chosen, targets[i], weights[i], known)
                continue
            inputs = {name: values[i] for name, values in parts.items()} if parts else self._fetch(chosen)
            yield chosen, Batch(inputs, targets[i], weights[i], self._plain, beside=known)

    def _joined(self, pieces: list[Tensor]) -> Tensor | None:
        """Positions of all samples of an epoch; None for all of the client's, as they are."""
        if len(pieces) > 1:
            return torch.cat(pieces)
        return None if self._plain and pieces[0] is self._rows else pieces[0]

    def _fetch(self, positions: Tensor | None) -> Inputs:
        started = time.perf_counter()
        inputs = self._client.inputs(positions)
        self.seconds += time.perf_counter() - started
        return inputs

    def _augmented(
        self, augmenter: Augmenter, chosen: Tensor, targets: Tensor, weights: Tensor, beside: Tensors
    ) -> Batch:
        started = time.perf_counter()
        drawn, client = augmenter.drawn(len(chosen)), self._client
        raw, share = augmenter(client.taken(client.rows[chosen]), drawn)
        mixed = mixed_with(drawn, share, targets, weights, beside)
        batch = Batch(client.prepare(raw), targets, weights, self._plain, mixed, beside)
        self.seconds += time.perf_counter() - started
        return batch


@torch.no_grad()
def _put(parameters: Mapping[str, Tensor], values: Tensors) -> None:
    for name, parameter in parameters.items():
        parameter.copy_(values[name])


@torch.no_grad()
def observed(model: Network, client: ClientData, positions: Tensor) -> dict[str, Tensor]:
    """`features` [m, d] of the samples at `positions`, and what the task keeps, such as `logits` [m, classes].

    In evaluation mode, a bounded number of samples at a time.
    """
    model.eval()
    task, parts = client.task, torch.split(positions, client.task.at_once)  # an empty one, if there are no positions

    def said_of(part: Tensor) -> dict[str, Tensor]:
        batch = client.batch(part)
        said = task.outputs(model, batch.inputs)
        return {"features": said.features, **task.kept(said, batch)}

    kept = [said_of(part) for part in parts]
    return {name: torch.cat([each[name] for each in kept]) for name in kept[0]}
