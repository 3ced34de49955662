"""Projected gradient ascent on the forget data, then repair on the retain data.

Halimi et al., "Federated Unlearning: How to Efficiently Erase a Client in FL?", arXiv 2207.05521. There the leaving
client alone ascends, inside a ball around the average of the other clients' last models. Here whoever holds forget
data ascends, for whole rounds of FedAvg, inside a ball around the original model w_o, since at class level there are
no others to average (our reading at every level). As in the paper, the ball's squared radius δ is a third of the mean
squared distance from its centre to randomly initialised models, gradients are clipped, the ascent stops early, and
ordinary rounds without forget data follow. The paper stops the ascent at a distance found for its network; by default
we stop it sample by sample, at a loss, which needs no rescaling and keeps a long ascent from ruining the model. And it
counts epochs of a client that holds thousands of samples; here clients may hold a handful of a class, whose epoch is a
step or two, so that the ascent is given in steps, and the server makes epochs of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fedunlearn.federation import wire
from fedunlearn.federation.federation import ClientData
from fedunlearn.federation.method import Method
from fedunlearn.federation.objective import Assignment, Objective, RoundContext, forget_only, retain_only, task_loss
from fedunlearn.federation.spec import StageSpec
from fedunlearn.federation.strategy import Clients, Tensors, UnlearningStrategy
from fedunlearn.methods.phases import check_fit, phase
from fedunlearn.models.base import Network, trained
from fedunlearn.randomness import derive
from fedunlearn.settings.config import TrainConfig
from fedunlearn.settings.schema import Count, Positive
from fedunlearn.tasks.base import EVERY, Batch, weighted_mean

REFERENCE = "reference/"  # prefix of w_o's parameters among the shared tensors; they are there while the ascent lasts
ASCENT_SHARE = 0.2  # of all rounds, where ascent_rounds is null
STOP_LOSS = {"class": 4.0, "client": 1.0, "sample": 1.0}  # where stop_loss is null; a class is to be lost altogether
RANDOM_MODELS = 10  # that the radius is derived from, as in the paper


@dataclass(frozen=True)
class GradientAscent:
    """Hyper-parameters."""

    # rounds of ascent; null: one in five, at least one; the rest of unlearn.rounds repairs
    ascent_rounds: Count | None = None
    ascent_lr: Positive = 0.01  # learning rate of the ascent
    ascent_steps: Count = 120  # of a client in a round of ascent, on average; whole epochs, at least one
    clip: Positive = 5.0  # largest norm of a batch's gradient, in the repair as well
    # δ: largest squared distance from the original model; null: a third of that of random models
    radius: Positive | None = None
    # a sample with a higher loss is pushed no further; null: 4, or 1 below class level
    stop_loss: Positive | None = None
    # the ascent ends at this squared distance from the original model; null: after its rounds
    stop_distance: Positive | None = None


class AscentServer(UnlearningStrategy):
    """FedAvg in two phases: what is shared with the clients says which."""

    settings: GradientAscent

    def __init__(self, settings: GradientAscent, spec: StageSpec, pack: wire.Pack, device: torch.device) -> None:
        super().__init__(settings, spec, pack, device)
        self.limit = phase(settings.ascent_rounds, ASCENT_SHARE, spec.training.rounds)

    def prepare(self, model: Tensors, clients: Clients) -> Tensors:
        """Draw the ball that the ascent stays in."""
        reference = {name: model[name] for name in trained(self.new_model(0))}
        radius = self.settings.radius or self.usual_radius(reference)
        self.notes["ascent_epochs"] = epochs_for(self.settings.ascent_steps, clients.total("batches", model))
        self.shared = {REFERENCE + name: value for name, value in reference.items()}
        self.shared["radius"] = torch.tensor(radius, device=self.device)
        self.notes["radius"] = radius
        return model

    def usual_radius(self, reference: Tensors) -> float:
        """δ = mean over random models of ‖w_o − w‖² / 3."""
        seeds = (derive(self.spec.seed, self.spec.stage, "random", number) for number in range(RANDOM_MODELS))
        distances = [squared_distance(self.new_model(seed).state_dict(), reference) for seed in seeds]
        return float(torch.stack(distances).mean()) / 3

    def before_round(self, number: int, model: Tensors) -> Tensors:
        """Go over to the repair when the ascent has had its rounds or has gone far enough."""
        if self.shared and (number > self.limit or self.far_enough(model)):
            self.shared = {}
        if self.shared:
            self.notes["ascent_rounds"] = number
        return model

    def far_enough(self, model: Tensors) -> bool:
        """Has the ascent reached the distance at which it is to stop?"""
        stop = self.settings.stop_distance
        return stop is not None and bool(squared_distance(model, ball(self.shared)[0]) >= stop)

    def training(self, number: int) -> TrainConfig:
        """The ascent has a pace of its own, and no weight decay: it maximises the loss and nothing else."""
        if not self.shared:
            return self.spec.training
        lr, epochs = self.settings.ascent_lr, self.notes["ascent_epochs"]
        return replace(self.spec.training, lr=lr, local_epochs=epochs, weight_decay=0.0)


def count_batches(model: Network, client: ClientData, settings: GradientAscent, spec: StageSpec) -> Tensors:
    """The answer to the query `batches`: the client's forget `samples`, and these times the `steps` of an epoch."""
    rows, size = client.forget.nonzero()[:, 0], spec.training.batch_size
    steps = len(client.task.batches(rows, client.targets, size, torch.Generator()))
    return {"samples": torch.tensor(float(len(rows))), "steps": torch.tensor(float(len(rows) * steps))}


def epochs_for(steps: int, held: Tensors) -> int:
    """The number of epochs, at least 1, that come nearest to `steps` in the average that FedAvg makes of clients."""
    in_an_epoch = float(held["steps"] / held["samples"].clamp_min(1))
    return max(1, round(steps / max(1.0, in_an_epoch)))


def ball(shared: Tensors) -> tuple[Tensors, Tensor]:
    """Centre and squared radius of the ball that was shared."""
    centre = {name.removeprefix(REFERENCE): value for name, value in shared.items() if name.startswith(REFERENCE)}
    return centre, shared["radius"]


def squared_distance(model: Tensors, centre: Tensors) -> Tensor:
    """‖w − w_ref‖² over all tensors of `centre`, scalar."""
    return torch.stack([(model[name] - value).square().sum() for name, value in centre.items()]).sum()


def projected(parameters: Tensors, context: RoundContext) -> Tensors:
    """w, or w_ref + √δ (w − w_ref) / ‖w − w_ref‖ where that is nearer; in the repair, always w."""
    if not context.shared:
        return parameters
    centre, radius = ball(context.shared)
    scale = (radius / squared_distance(parameters, centre).clamp_min(1e-12)).sqrt().clamp_max(1.0)
    return {**parameters, **{name: value + scale * (parameters[name] - value) for name, value in centre.items()}}


def assign(model: Network, client: ClientData, context: RoundContext) -> Assignment:
    """The loss of the forget samples is to rise while the ascent lasts; then that of the retain samples is to fall."""
    if not context.shared:
        return retain_only(model, client, context)
    return Assignment(-forget_only(model, client, context).weights)


def objective(settings: GradientAscent, spec: StageSpec) -> Objective:
    """Ascent while the ball is shared, in which a sample counts for the stop loss at most; then the task's own loss."""
    stop = settings.stop_loss or STOP_LOSS[spec.level]

    def loss(outputs: Any, batch: Batch, context: RoundContext) -> Tensor:
        if not context.shared:
            return task_loss(outputs, batch, context)
        bounded = context.task.losses(outputs, batch).clamp_max(stop)  # above it, a sample has no gradient
        return weighted_mean(bounded, batch.weights)

    return Objective(assign, loss, constrain=projected, clip=settings.clip)


METHODS = {
    "gradient_ascent": Method(
        name="gradient_ascent",
        title="gradient ascent",
        settings=GradientAscent,
        grid={"method.ascent_steps": (120, 30), "method.ascent_lr": (0.01, 0.02, 0.05)},
        objective=objective,
        strategy=AscentServer,
        queries={"batches": count_batches},
        tasks=EVERY,
        check=lambda settings, config: check_fit(config, ascent_rounds=settings.ascent_rounds),
    )
}
