"""One client's local SGD: the reference that every faster path must agree with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fedunlearn.config import TrainConfig
from fedunlearn.federation.objective import Objective, Tensors, present
from fedunlearn.federation.world import ClientData
from fedunlearn.models.base import Classifier

EVALUATION_BATCH = 512  # fixed, so that no result depends on how much memory a machine has


class Interrupted(Exception):
    """The run is being stopped; the client gives up in the middle of its work."""


@dataclass(frozen=True)
class Trained:
    """`trained`: samples with a target; `processed`: samples that went through a step; `loss`: mean over steps."""

    trained: int
    processed: int
    loss: float


def train(
    model: Classifier,
    client: ClientData,
    objective: Objective,
    shared: Tensors,
    training: TrainConfig,
    order: torch.Generator,
    stopped: Callable[[], bool] = lambda: False,
) -> Trained:
    """Train `model` in place on the client's data; `order` shuffles. Raises Interrupted when `stopped()`."""
    model.eval()
    targets = objective.targets(model, client, shared)
    rows = present(targets).nonzero()[:, 0]
    model.train()
    optimiser = torch.optim.SGD(
        model.parameters(),
        lr=training.lr,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
        fused=True,
    )
    received = {name: value.detach().clone() for name, value in model.named_parameters()} if objective.constrain else {}
    processed, steps, total = 0, 0, torch.zeros((), device=rows.device)
    for _ in range(training.local_epochs):
        for batch in batches(rows, training.batch_size, order):
            if stopped():
                raise Interrupted
            features = model.features(client.images(batch))
            loss = objective.loss(features, model.head(features), targets[batch], shared)
            optimiser.zero_grad()
            loss.backward()
            if objective.clip is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), objective.clip)
            optimiser.step()
            if objective.constrain:
                _put(model, objective.constrain(dict(model.named_parameters()), received, shared))
            total += loss.detach()
            processed, steps = processed + len(batch), steps + 1
    return Trained(len(rows) if steps else 0, processed, float(total) / max(steps, 1))


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
    pieces = list(shuffled.split(size))
    if len(pieces) > 1 and len(pieces[-1]) == 1:
        pieces[-2:] = [torch.cat(pieces[-2:])]
    return (piece for piece in pieces if len(piece) > 1)


@torch.no_grad()
def observe(model: Classifier, client: ClientData, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Features [m, d] and logits [m, classes] of the samples at `positions`, in evaluation mode."""
    model.eval()
    features = [model.features(client.images(part)) for part in positions.split(EVALUATION_BATCH)]
    gathered = torch.cat(features) if features else model.head.weight.new_zeros(0, model.head.in_features)
    return gathered, model.head(gathered)
