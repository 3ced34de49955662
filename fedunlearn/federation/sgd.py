"""One client's local SGD: the reference that every faster path must agree with."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.optim.sgd import sgd

from fedunlearn.federation.federation import ClientData
from fedunlearn.federation.objective import Objective, Tensors, present
from fedunlearn.models.base import Classifier
from fedunlearn.settings.config import TrainConfig

FETCH_AT_ONCE = 64 * 2**20  # bytes of a client's normalised images, up to which they are held in memory while it trains
FLOAT = 4  # bytes
EVALUATION_BATCH = 512  # fixed, so that no result depends on how much memory a machine has


class Interrupted(Exception):  # noqa: N818 (an order, not an error)
    """The run is being stopped; the client gives up in the middle of its work."""


@dataclass(frozen=True)
class Trained:
    """`trained`: samples with a target; `processed`: samples that went through a step; `loss`: mean over steps.

    `data_seconds`: spent on fetching and normalising images.
    """

    trained: int
    processed: int
    loss: float
    data_seconds: float = 0.0


def never() -> None:
    """Nothing ends the client's work early."""


def train(
    model: Classifier,
    client: ClientData,
    objective: Objective,
    shared: Tensors,
    training: TrainConfig,
    order: torch.Generator,
    check: Callable[[], None] = never,
) -> Trained:
    """Train `model` in place on the client's data.

    `order` shuffles; `check` is called before every step, and what it raises ends the training.
    """
    model.eval()
    targets = objective.targets(model, client, shared)
    rows = present(targets).nonzero()[:, 0]
    model.train()
    fetch = Fetcher(client)
    optimiser = Sgd(model, training)
    received = {name: value.detach().clone() for name, value in model.named_parameters()} if objective.constrain else {}
    processed, steps, total = 0, 0, torch.zeros((), device=rows.device)
    for _ in range(training.local_epochs):
        for batch in batches(rows, training.batch_size, order):
            check()
            features = model.features(fetch(batch))
            loss = objective.loss(features, model.head(features), targets[batch], shared)
            torch.autograd.backward(loss)
            if objective.clip is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), objective.clip)
            optimiser.step()
            if objective.constrain:
                _put(model, objective.constrain(dict(model.named_parameters()), received, shared))
            total += loss.detach()
            processed, steps = processed + len(batch), steps + 1
    return Trained(len(rows) if steps else 0, processed, float(total) / max(steps, 1), fetch.seconds)


class Fetcher:
    """A client's normalised images, all fetched at once where they are few, and batch by batch where they are many."""

    def __init__(self, client: ClientData) -> None:
        started = time.perf_counter()
        self._client = client
        few = len(client) * client.pixels.shape[1:].numel() * FLOAT <= FETCH_AT_ONCE
        self._table = client.images(torch.arange(len(client), device=client.labels.device)) if few else None
        self.seconds = time.perf_counter() - started

    def __call__(self, batch: Tensor) -> Tensor:
        """Images [b, C, H, W] at the positions `batch`."""
        started = time.perf_counter()
        images = self._client.images(batch) if self._table is None else self._table[batch]
        self.seconds += time.perf_counter() - started
        return images


class Sgd:
    """torch.optim.SGD's fused step without its bookkeeping, which costs a small model as much as the step itself."""

    def __init__(self, model: Classifier, training: TrainConfig) -> None:
        self._parameters = list(model.parameters())
        for parameter in self._parameters:
            parameter.grad = None  # a former borrower of the model may have been interrupted
        self._momenta: list[Tensor | None] = [None] * len(self._parameters)
        self._training = training

    @torch.no_grad()
    def step(self) -> None:
        """One step along the gradients, which are gone afterwards; parameters without one stay."""
        moved = [i for i, parameter in enumerate(self._parameters) if parameter.grad is not None]
        momenta = [self._momenta[i] for i in moved]
        sgd(
            [self._parameters[i] for i in moved],
            [cast(Tensor, self._parameters[i].grad) for i in moved],
            momenta,
            fused=True,
            lr=self._training.lr,
            momentum=self._training.momentum,
            weight_decay=self._training.weight_decay,
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )
        for i, momentum in zip(moved, momenta, strict=True):
            self._momenta[i], self._parameters[i].grad = momentum, None


@torch.no_grad()
def _put(model: Classifier, values: Tensors) -> None:
    for name, parameter in model.named_parameters():
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
def observe(model: Classifier, client: ClientData, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Features [m, d] and logits [m, classes] of the samples at `positions`, in evaluation mode."""
    model.eval()
    features = [model.features(client.images(part)) for part in torch.split(positions, EVALUATION_BATCH)]
    gathered = torch.cat(features) if features else model.head.weight.new_zeros(0, model.head.in_features)
    return gathered, model.head(gathered)
