"""FedOSD: steepest descent on a bounded unlearning loss, orthogonal to everybody's gradient on the retain data.

Pan et al., "Federated Unlearning with Gradient Descent and Conflict Mitigation", AAAI 2025, arXiv 2412.20200. In the
first rounds, holders of forget data minimise the unlearning cross-entropy −log(1 − p_y / 2), which unlike −CE has a
minimum, and the server moves along the part g_u of their mean update that is orthogonal to the gradients of all
clients on the retain data. In the rounds that follow, clients train on the retain data, and the server takes out of
each update its component along the way from w_o, so that training does not lead back there.

There a client either leaves or stays. Here every client may hold both kinds of data, and then takes part on both
sides (our reading, which at client level is theirs). What g_u is made of comes from a round's local training, as in
their code, weighted by samples, as everywhere in this program. The gradients that it is kept orthogonal to are
full-batch ones here, where their code takes local updates for these, too. Singular values are cut at 1e-6 of the
largest instead of at 1e-6.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from fedunlearn.federation import wire
from fedunlearn.federation.federation import ClientData
from fedunlearn.federation.method import Method
from fedunlearn.federation.objective import Assignment, Objective, RoundContext, forget_only, retain_only, task_loss
from fedunlearn.federation.sgd import EVALUATION_BATCH
from fedunlearn.federation.spec import StageSpec
from fedunlearn.federation.strategy import Clients, Tensors, UnlearningStrategy
from fedunlearn.methods.phases import check_fit, phase
from fedunlearn.models.base import Network, trained
from fedunlearn.settings.config import TrainConfig
from fedunlearn.settings.schema import Count, Positive
from fedunlearn.tasks.base import EVERY, Batch, Task, weighted_mean

UNLEARN_SHARE = 0.5  # of all rounds, where unlearn_rounds is null
CUT = 1e-6  # singular values below this share of the largest count as zero
UNLEARNING = "unlearning"  # shared, as a one, in the first phase


@dataclass(frozen=True)
class FedOSD:
    """Hyper-parameters."""

    # rounds of unlearning; null: half of unlearn.rounds, at least one; the rest is post-training
    unlearn_rounds: Count | None = None
    unlearn_lr: Positive = 0.1  # learning rate of the unlearning, without momentum or weight decay
    unlearn_epochs: Count = 1  # its local epochs
    post_lr: Positive | None = None  # learning rate of the post-training; null: unlearn.lr


@dataclass
class Mean:
    """A running weighted mean of vectors."""

    weight: float = 0.0
    total: Tensor = field(default_factory=lambda: torch.zeros(()))

    def add(self, value: Tensor, weight: float) -> None:
        """Take one more vector into account."""
        self.weight, self.total = self.weight + weight, self.total.to(value) + weight * value

    def value(self) -> Tensor:
        """The mean so far."""
        return self.total / self.weight


class FedOSDServer(UnlearningStrategy):
    """Two phases, each with its own projection."""

    settings: FedOSD

    def __init__(self, settings: FedOSD, spec: StageSpec, pack: wire.Pack, device: torch.device) -> None:
        super().__init__(settings, spec, pack, device)
        self.limit = phase(settings.unlearn_rounds, UNLEARN_SHARE, spec.training.rounds)
        self._sent: Tensors = {}
        self._retain = torch.zeros(0)  # in the first phase: the clients' gradients, [clients, parameters]
        self._steps = Mean()  # in the second: of the updates that the server hears

    def prepare(self, model: Tensors, clients: Clients) -> Tensors:
        """Remember where the way begins."""
        self.memory = {name: model[name] for name in trained(self.new_model(0))}
        return model

    def before_round(self, number: int, model: Tensors) -> Tensors:
        """Ask for the gradients to stay clear of, or forget about the last round's updates."""
        self._sent = model
        self.shared = {UNLEARNING: torch.ones(1, device=self.device)} if number <= self.limit else {}
        if self.shared:
            self._retain = torch.stack(list(self.retain_gradients(model)))
        else:
            self._steps = Mean()
        return model

    def retain_gradients(self, model: Tensors) -> Iterator[Tensor]:
        """Every client's gradient [parameters]; the passes that they take are part of the cost."""
        for answer in self.clients.each("gradient", model):
            self.cost.samples += int(answer["samples"])
            yield answer["gradient"]

    def training(self, number: int) -> TrainConfig:
        """Unlearning is plain gradient descent."""
        if number > self.limit:
            return replace(self.spec.training, lr=self.settings.post_lr or self.spec.training.lr)
        lr, epochs = self.settings.unlearn_lr, self.settings.unlearn_epochs
        return replace(self.spec.training, lr=lr, local_epochs=epochs, momentum=0.0, weight_decay=0.0)

    def on_client_model(self, client: int, model: Tensors, weight: float) -> None:
        """In post-training, g_i without its component along g_a = w − w_o."""
        if not self.shared:
            way = vector(self._sent, self.memory) - vector(self.memory, self.memory)
            update = vector(self._sent, self.memory) - vector(model, self.memory)
            self._steps.add(orthogonal(update, way[None]), weight)

    def after_round(self, number: int, model: Tensors) -> Tensors:
        """w ← w − d. Buffers stay as they are while the clients see forget data only."""
        here = vector(self._sent, self.memory)
        if self.shared:
            step = orthogonal(here - vector(model, self.memory), self._retain)
            return {**self._sent, **tensors(here - step, self.memory)}
        return {**model, **tensors(here - self._steps.value(), self.memory)}


def vector(model: Tensors, like: Tensors) -> Tensor:
    """The tensors of `model` that `like` names, as one vector."""
    return torch.cat([model[name].flatten() for name in like])


def tensors(values: Tensor, like: Tensors) -> Tensors:
    """The inverse of `vector`."""
    parts = torch.split(values, [value.numel() for value in like.values()])
    return {name: part.view_as(value) for part, (name, value) in zip(parts, like.items(), strict=True)}


def orthogonal(direction: Tensor, rows: Tensor) -> Tensor:
    """d = g − Aᵀ (A Aᵀ)⁺ A g for `direction` g [n] and `rows` A [m, n], as long as g; zero if the rows span g."""
    g, a = direction.double(), rows.double()
    d = g - a.T @ (torch.linalg.pinv(a @ a.T, rtol=CUT, hermitian=True) @ (a @ g))
    left = float(d.norm() / g.norm().clamp_min(torch.finfo(g.dtype).tiny))
    return (d / left).to(direction.dtype) if left > CUT else torch.zeros_like(direction)


def assign(model: Network, client: ClientData, context: RoundContext) -> Assignment:
    """The forget samples while the clients unlearn, then the retain samples."""
    return forget_only(model, client, context) if context.shared else retain_only(model, client, context)


def loss(outputs: Any, batch: Batch, context: RoundContext) -> Tensor:
    """Unlearning cross-entropy in the first phase, the task's own loss in the second."""
    return unlearning_loss(outputs, batch, context.task) if context.shared else task_loss(outputs, batch, context)


def unlearning_loss(outputs: Any, batch: Batch, task: Task) -> Tensor:
    """Mean of −log(1 − p / 2), p how likely the model finds each target; between 0 and log 2."""
    own = task.likelihood(outputs, batch)
    return weighted_mean(-(1 - own / 2).log(), batch.weights)


def retain_gradient(model: Network, client: ClientData, settings: FedOSD, spec: StageSpec) -> Tensors:
    """Gradient [parameters] of the mean loss on the client's retain samples, and how many `samples` those are.

    In evaluation mode, so that buffers stay as they are.
    """
    model.eval()
    held = (~client.forget).nonzero()[:, 0]
    parameters = list(trained(model).values())
    total = [torch.zeros_like(parameter) for parameter in parameters]
    for part in torch.split(held, EVALUATION_BATCH) if len(held) else ():
        batch = client.batch(part)
        with torch.enable_grad():
            said = client.task.outputs(model, batch.inputs)
            value = client.task.losses(said, batch).sum() / len(held)
            gradients = torch.autograd.grad(value, parameters)
        total = [before + more for before, more in zip(total, gradients, strict=True)]
    return {"gradient": torch.cat([value.flatten() for value in total]), "samples": torch.tensor(len(held))}


METHODS = {
    "fedosd": Method(
        name="fedosd",
        title="FedOSD",
        settings=FedOSD,
        grid={"method.unlearn_lr": (0.1, 0.03, 0.3), "method.post_lr": (None, 0.01)},
        objective=lambda settings, spec: Objective(assign, loss),
        strategy=FedOSDServer,
        tasks=EVERY,
        queries={"gradient": retain_gradient},
        check=lambda settings, config: check_fit(config, unlearn_rounds=settings.unlearn_rounds),
    )
}
