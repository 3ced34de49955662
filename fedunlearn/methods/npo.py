"""Negative preference optimisation: a forget sample is to be less likely than the original model finds it.

Zhang et al., "Negative Preference Optimization: From Catastrophic Collapse to Effective Unlearning", COLM 2024, arXiv
2404.05868, equation 3: L = −(2/β) E log σ(−β log(p/p_original)), with p the probability of the whole answer. The slope
vanishes as an answer becomes unlikely, where that of gradient ascent does not. A second term holds on to retain samples
(NPO+RT and NPO+KL there). Each client works out the original model's log-probabilities of its forget samples once.
Federated, a step is over a batch of whatever a client holds; both terms are means over their own samples in it (our
reading).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fedunlearn.federation.federation import ClientData
from fedunlearn.federation.method import Method
from fedunlearn.federation.objective import Assignment, Objective, RoundContext
from fedunlearn.federation.spec import StageSpec
from fedunlearn.methods.retaining import TASKS, OriginalServer, Retain, original, retained, signs, surprise
from fedunlearn.models.base import Network
from fedunlearn.settings.schema import NonNegative, Positive
from fedunlearn.tasks.base import Batch, weighted_mean

REFERENCE = "reference"  # among what is known beside a batch, and in a client's memory


@dataclass(frozen=True)
class NPO:
    """Hyper-parameters."""

    beta: Positive = 0.1  # β: the smaller, the more like gradient ascent
    retain: Retain = "ce"  # on retain samples: nothing, the task's loss, or KL from the original model
    retain_weight: NonNegative = 1.0  # α, of that term
    forget_weight: NonNegative = 1.0  # γ, of the other
    clip: Positive = 1.0  # largest norm of a batch's gradient


def assign(settings: NPO, spec: StageSpec, model: Network, client: ClientData, context: RoundContext) -> Assignment:
    """Forget samples with −log p by the original model, and retain samples if they take part."""
    held = client.forget.nonzero()[:, 0]
    if REFERENCE not in client.memory:
        client.memory[REFERENCE] = surprise(original(context.shared), client, held, context)
    known = torch.zeros(len(client), device=held.device).index_copy(0, held, client.memory[REFERENCE])
    return Assignment(signs(client, settings.retain), beside={REFERENCE: known})


def objective(settings: NPO, spec: StageSpec) -> Objective:
    """γ L_forget + α L_retain."""

    def loss(outputs: Any, batch: Batch, context: RoundContext) -> Tensor:
        now = context.task.losses(outputs, batch) * context.task.length(batch)
        each = preference(now - batch.beside[REFERENCE], settings.beta)
        forget = weighted_mean(each, (batch.weights < 0).to(now.dtype))
        kept = retained(settings.retain, outputs, batch, context)
        return settings.forget_weight * forget + settings.retain_weight * kept

    return Objective(partial(assign, settings, spec), loss, clip=settings.clip)


def preference(risen: Tensor, beta: float) -> Tensor:
    """−(2/β) log σ(β Δ), [b], where −log p of a sample has `risen` by Δ since the original model."""
    return -2 / beta * F.logsigmoid(beta * risen)


METHODS = {
    "npo": Method(
        name="npo",
        title="NPO",
        settings=NPO,
        grid={"method.beta": (0.1, 0.5, 1.0), "unlearn.lr": (None, 0.01)},
        objective=objective,
        strategy=OriginalServer,
        tasks=TASKS,
        about="forget samples are to be less likely than the original model finds them",
    )
}
