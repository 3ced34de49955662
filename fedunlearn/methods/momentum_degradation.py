"""Momentum degradation (MoDe, also called FUMD): move the model towards one that never knew, then guide it back.

Zhao et al., "Federated Unlearning With Momentum Degradation", IEEE Internet of Things Journal 2023, doi
10.1109/JIOT.2023.3321594. A degradation model W_de starts from random weights and is trained on the retain data
alone. Knowledge erasure mixes it in, W ← λ W + (1 − λ) W_de; memory guidance trains W on the retain samples with
their labels and on the forget samples with what W_de takes them for. The text was not available to us; the schedule
(some rounds for W_de, then rounds of erasure with guidance, then guidance alone) and hard pseudo-labels follow public
accounts. Where individuals are told apart, W_de takes a forget sample for the individual whose mean embedding is
nearest. How long each phase lasts in a given budget, and soft pseudo-labels as a variant, are our reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F

from fedunlearn.errors import RequestError
from fedunlearn.federation import wire
from fedunlearn.federation.federation import ClientData
from fedunlearn.federation.method import Method
from fedunlearn.federation.objective import Assignment, Objective, RoundContext
from fedunlearn.federation.spec import StageSpec
from fedunlearn.federation.strategy import Clients, Tensors, UnlearningStrategy
from fedunlearn.methods.phases import check_fit, phase
from fedunlearn.methods.transformation import ANCHORS, anchors_of, logits_of, nearness, sums_of
from fedunlearn.models.base import Network, has_logits
from fedunlearn.randomness import derive
from fedunlearn.settings.config import RunConfig
from fedunlearn.settings.schema import Fraction, Whole
from fedunlearn.tasks.base import LABELLED

DEGRADED = "degraded/"  # prefix of W_de's tensors: in the server's memory, and shared during guidance
WARMUP_SHARE, GUIDE_SHARE = 0.3, 0.2  # of all rounds, where the settings are null


@dataclass(frozen=True)
class MomentumDegradation:
    """Hyper-parameters."""

    momentum: Fraction = 0.95  # λ: what is left of the model in a step of erasure
    # rounds that train the degradation model W_de; null: three in ten of unlearn.rounds
    warmup_rounds: Whole | None = None
    # last rounds, of guidance alone; null: two in ten. The rounds between erase and guide
    guide_rounds: Whole | None = None
    # of forget samples: the degradation model's most probable class, or all it says
    pseudo_labels: Literal["hard", "soft"] = "hard"


class DegradationServer(UnlearningStrategy):
    """FedAvg of W_de, and then of W; both models are on the server all the time."""

    settings: MomentumDegradation

    def __init__(self, settings: MomentumDegradation, spec: StageSpec, pack: wire.Pack, device: torch.device) -> None:
        super().__init__(settings, spec, pack, device)
        rounds = spec.training.rounds
        self.warmup = phase(settings.warmup_rounds, WARMUP_SHARE, rounds, least=0)
        self.guidance = rounds - phase(settings.guide_rounds, GUIDE_SHARE, rounds, least=0)  # after this round
        self._waiting: Tensors = {}  # W, while the clients train W_de

    def prepare(self, model: Tensors, clients: Clients) -> Tensors:
        """Make W_de."""
        seed = derive(self.spec.seed, self.spec.stage, "degraded")
        fresh = self.new_model(seed)
        frozen = {name: model[name] for name, value in fresh.named_parameters() if not value.requires_grad}
        self.memory = prefixed({**fresh.state_dict(), **frozen})
        self.notes["warmup_rounds"] = self.warmup
        return model

    def before_round(self, number: int, model: Tensors) -> Tensors:
        """W_de in the rounds that train it; then W, with W_de mixed in while knowledge is being erased."""
        degraded = {name: self.memory[DEGRADED + name] for name in model}
        if number <= self.warmup:
            self._waiting = model
            return degraded
        if ANCHORS not in self.memory and not has_logits(self.new_model(0)):
            self.memory |= anchors_of(self.clients.total("anchors", degraded), self.device)
        self.shared = self.memory
        return mixed(model, degraded, self.settings.momentum) if number <= self.guidance else model

    def after_round(self, number: int, model: Tensors) -> Tensors:
        """What comes back is W_de first, and W later."""
        if number > self.warmup:
            return model
        self.memory = prefixed(model)
        return self._waiting


def prefixed(degraded: Tensors) -> Tensors:
    """W_de's tensors under the names that they have in memory."""
    return {DEGRADED + name: value for name, value in degraded.items()}


def mixed(model: Tensors, degraded: Tensors, momentum: float) -> Tensors:
    """λ W + (1 − λ) W_de for parameters and buffers; counters of batches stay those of W, and what is equal stays."""
    return {
        name: momentum * value + (1 - momentum) * degraded[name]
        if value.is_floating_point() and not torch.equal(value, degraded[name])
        else value
        for name, value in model.items()
    }


def retained_sums(model: Network, client: ClientData, settings: MomentumDegradation, spec: StageSpec) -> Tensors:
    """The client's answer to the query `anchors`: sums of its retain samples' embeddings by W_de, and counts."""
    return sums_of(model, client, (~client.forget).nonzero()[:, 0], spec)


def assign(
    settings: MomentumDegradation, spec: StageSpec, model: Network, client: ClientData, context: RoundContext
) -> Assignment:
    """True labels of retain samples; of forget samples W_de's, who are left out while W_de is trained."""
    labels = F.one_hot(client.targets, spec.classes).float()
    held = client.forget.nonzero()[:, 0]
    if not context.shared:
        return Assignment((~client.forget).float(), labels)
    if len(held):
        said = logits_of(DEGRADED, context.shared, model, client, held)
        said = nearness(said, context.shared) if ANCHORS in context.shared else said
        hard = F.one_hot(said.argmax(1), spec.classes).float()
        labels[held] = hard if settings.pseudo_labels == "hard" else said.softmax(1)
    return Assignment.alike(client, labels)


def objective(settings: MomentumDegradation, spec: StageSpec) -> Objective:
    """Cross-entropy with the labels above, in every phase."""
    return Objective(partial(assign, settings, spec))


def check(settings: MomentumDegradation, config: RunConfig) -> None:
    """Raises RequestError if the phases do not fit the budget, or leave no round in which W could change."""
    check_fit(config, warmup_rounds=settings.warmup_rounds, guide_rounds=settings.guide_rounds)
    if settings.warmup_rounds and settings.warmup_rounds == config.unlearn.rounds:
        raise RequestError(
            f"method.warmup_rounds={settings.warmup_rounds} takes all of unlearn.rounds: nothing is unlearned"
        )


METHODS = {
    "momentum_degradation": Method(
        name="momentum_degradation",
        title="momentum degradation",
        settings=MomentumDegradation,
        grid={"method.momentum": (0.95, 0.9, 0.8), "method.pseudo_labels": ("hard", "soft")},
        objective=objective,
        strategy=DegradationServer,
        queries={"anchors": retained_sums},
        tasks=LABELLED,
        check=check,
    )
}
