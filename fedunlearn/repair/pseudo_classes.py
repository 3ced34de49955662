"""Pseudo classes (PCV): find the gamma of classes that a client lacks on classes that it only pretends to lack.

Mai et al., "Fine-tuning is fine, if calibrated", NeurIPS 2024, arXiv 2409.16223, which see `average_logit_gap` for:
the classes that there are, S, are split into halves; the model is fine-tuned on one of them and loses the other, whose
samples, unlike those of U, are at hand. Of the gammas for the other half, the best is the one of highest accuracy over
both, among those that leave the other half as accurate as it was before. Several splits are averaged.

Federated, our reading: in each round every client that lacks a class splits its own classes anew, trains the model on
its retain samples of one half, and looks for the best gamma on all its retain samples. Models stay with the clients;
the server takes gammas alone, averages them as those of `average_logit_gap`, over the splits so far as well, and adds
them to the bias of the model that it had. What is measured is how much one client's training suppresses what that
client lacks. That may be more than is left of it in an average over clients, which this repair cannot know.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from flwr.app import RecordDict
from torch import Tensor

from fedunlearn.federation import wire
from fedunlearn.federation.federation import ClientData
from fedunlearn.federation.objective import Assignment, Objective, RoundContext
from fedunlearn.federation.repair import Repair, own_pace
from fedunlearn.federation.sgd import EVALUATION_BATCH, observed
from fedunlearn.federation.spec import StageSpec
from fedunlearn.federation.strategy import Clients, Tensors, UnlearningStrategy
from fedunlearn.models.base import Network, linear_head
from fedunlearn.randomness import torch_stream
from fedunlearn.repair.calibration import absent, averaged, counted, offered, shifted, told
from fedunlearn.settings.config import TrainConfig
from fedunlearn.settings.schema import Count, Positive
from fedunlearn.tasks.base import Batch


@dataclass(frozen=True)
class PseudoClasses:
    """Hyper-parameters; what is null is as in `train`."""

    splits: Count = 3  # of each client's classes into halves, one in each round
    centred: bool = False  # true: take the mean over the retained classes out of gamma
    local_epochs: Count | None = None  # on one half of the classes
    batch_size: Count | None = None
    lr: Positive | None = None


class PseudoServer(UnlearningStrategy):
    """Keeps its own model, whose bias gets the mean gamma of the splits so far."""

    settings: PseudoClasses
    _sent: Tensors

    def prepare(self, model: Tensors, clients: Clients) -> Tensors:
        """The bias is set aside: every round begins with it."""
        self.memory = {"bias": model[self._bias].clone()}
        return model

    def before_round(self, number: int, model: Tensors) -> Tensors:
        """The model as it was before the repair, for every split."""
        self._sent = {**model, self._bias: self.memory["bias"]}
        return self._sent

    def on_totals(self, totals: Tensors) -> None:
        """Add this split to those before."""
        for name, value in totals.items():
            self.memory[name] = self.memory.get(name, torch.zeros_like(value)) + value

    def after_round(self, number: int, model: Tensors) -> Tensors:
        """That model with the mean gamma in its bias; what clients trained is gone."""
        gamma = averaged(self.memory, self.spec, self.settings.centred)
        self.notes = told(gamma)
        return {**self._sent, self._bias: shifted(self.memory["bias"], gamma)}

    def payload(self, content: RecordDict) -> int:
        """Clients keep the models that they train."""
        return wire.payload(content["uploads"]) if "uploads" in content else self._bytes(content)  # type: ignore[arg-type]

    @property
    def _bias(self) -> str:
        return linear_head(self.new_model(0)).bias


def pretended(client: ClientData, spec: StageSpec, split: int) -> Tensor:
    """The classes that a client pretends to lack in a split, bool [classes]: half of those it has, the smaller half."""
    there = (counted(client, spec) > 0).nonzero()[:, 0].cpu()
    order = torch.randperm(len(there), generator=torch_stream(client.seed, "pseudo classes", split))
    chosen = torch.zeros(spec.classes, dtype=torch.bool, device=client.targets.device)
    chosen[there[order[: len(there) // 2]]] = True
    return chosen


def takes_part(client: ClientData, spec: StageSpec) -> bool:
    """Does a client lack a class, and have two to split?"""
    return bool(absent(client, spec).any() and (counted(client, spec) > 0).sum() >= 2)


def seen_half(spec: StageSpec, model: Network, client: ClientData, context: RoundContext) -> Assignment:
    """The samples of the classes that a client does not pretend to lack; none if it does not take part."""
    if not takes_part(client, spec):
        return Assignment(torch.zeros(len(client), device=client.targets.device))
    return Assignment((~pretended(client, spec, context.round)[client.targets]).float())


def offer(spec: StageSpec, model: Network, client: ClientData, context: RoundContext) -> Tensors:
    """What a client offers after a split, as in `average_logit_gap`; zeros if it does not take part."""
    lacking = absent(client, spec)
    if not takes_part(client, spec):
        return offered(torch.zeros((), device=lacking.device), client, torch.zeros_like(lacking))
    hidden = pretended(client, spec, context.round)
    logits = observed(model, client, _all(client))["logits"]
    before = received_logits(client, context).argmax(1) == client.targets
    least = int(before[hidden[client.targets]].sum())
    return offered(best_gamma(logits, client.targets, hidden, least), client, lacking)


def received_logits(client: ClientData, context: RoundContext) -> Tensor:
    """What the model said before it was trained, float [n, classes]."""
    said = []
    for positions in torch.split(_all(client), EVALUATION_BATCH):
        weights = torch.ones(len(positions), device=positions.device)
        batch = Batch(client.inputs(positions), client.targets[positions], weights)
        said.append(context.said(batch).logits)
    return torch.cat(said)


def best_gamma(logits: Tensor, targets: Tensor, hidden: Tensor, least: int) -> Tensor:
    """The number to add to the logits of the `hidden` classes (bool [classes]), float64.

    That of highest accuracy on all samples among those at which at least `least` samples of hidden classes are right,
    or as many as can be. Accuracy changes only where gamma passes a sample's threshold, its best other
    logit minus its best hidden one; between two thresholds the middle is taken, or 0 where that lies between them.
    Of several that are as good, the one nearest to 0.
    """
    wide = logits.double()
    others, own = (wide.masked_fill(out, -torch.inf).max(1) for out in (hidden, ~hidden))
    thresholds = (others.values - own.values).round(decimals=9)  # no gamma lies between 0.9 and 0.9 + a rounding error
    values, step = torch.unique(thresholds, return_inverse=True)
    of_hidden = hidden[targets]
    lost = torch.bincount(step[(others.indices == targets) & ~of_hidden], minlength=len(values))
    won = torch.bincount(step[(own.indices == targets) & of_hidden], minlength=len(values))
    zero = won.new_zeros(1)
    found = torch.cat([zero, won.cumsum(0)])
    right = found + lost.sum() - torch.cat([zero, lost.cumsum(0)])
    enough = found >= found.max().clamp_max(least)
    best = enough & (right == right[enough].max())
    gammas = _between(values)[best]
    return gammas[gammas.abs().argmin()]


def _between(values: Tensor) -> Tensor:
    """A number below all of these (sorted, [k]), one between each two neighbours, and one above all, [k + 1]."""
    low, high = F.pad(values, (1, 0), value=-torch.inf), F.pad(values, (0, 1), value=torch.inf)
    middle = (low.clamp_min(values[0] - 2) + high.clamp_max(values[-1] + 2)) / 2
    return torch.where((low < 0) & (high > 0), 0.0, middle)


def _all(client: ClientData) -> Tensor:
    return torch.arange(len(client), device=client.targets.device)


def pace(settings: PseudoClasses, training: TrainConfig) -> TrainConfig:
    """Every client takes part in every split."""
    return replace(own_pace(settings, training), participation=1.0)


REPAIRS = {
    "pseudo_classes": Repair(
        name="pseudo_classes",
        settings=PseudoClasses,
        rounds=lambda settings: settings.splits,
        pace=pace,
        objective=lambda settings, spec: Objective(partial(seen_half, spec), uploads=partial(offer, spec)),
        strategy=PseudoServer,
        edits_head=True,
        about="raise the logits of classes that clients lack, by what training on half of their classes costs the rest",
    )
}
