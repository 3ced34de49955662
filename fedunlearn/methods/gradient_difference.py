"""Gradient difference: the loss of forget samples rises while that of retain samples falls, in the same steps.

Liu et al., "Continual Learning and Private Unlearning", CoLLAs 2022, arXiv 2203.12817; for language models in TOFU
(Maini et al., arXiv 2401.06121) and MUSE (Shi et al., arXiv 2407.06460) under the names GA+GDR and GA+KLR. An ascent
has no end of its own: `stop_loss` gives it one, and without it the method is the published one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fedunlearn.federation.method import Method
from fedunlearn.federation.objective import Assignment, Objective, RoundContext
from fedunlearn.federation.spec import StageSpec
from fedunlearn.methods.retaining import TASKS, OriginalServer, Retain, retained, signs
from fedunlearn.settings.schema import NonNegative, Positive
from fedunlearn.tasks.base import Batch, weighted_mean


@dataclass(frozen=True)
class GradientDifference:
    """Hyper-parameters."""

    retain: Retain = (
        "ce"  # on retain samples: nothing (then it is plain ascent), the task's loss, or KL from the original
    )
    retain_weight: NonNegative = 1.0  # α, of that term
    forget_weight: NonNegative = 1.0  # γ, of the other
    stop_loss: Positive | None = None  # a forget sample with a higher loss is pushed no further; null: none is spared
    clip: Positive = 1.0  # largest norm of a batch's gradient


def objective(settings: GradientDifference, spec: StageSpec) -> Objective:
    """−γ L_forget + α L_retain."""

    def loss(outputs: Any, batch: Batch, context: RoundContext) -> Tensor:
        each = context.task.losses(outputs, batch)
        each = each if settings.stop_loss is None else each.clamp_max(settings.stop_loss)
        forget = weighted_mean(each, (batch.weights < 0).to(each.dtype))
        kept = retained(settings.retain, outputs, batch, context)
        return settings.retain_weight * kept - settings.forget_weight * forget

    return Objective(
        lambda model, client, context: Assignment(signs(client, settings.retain)), loss, clip=settings.clip
    )


METHODS = {
    "gradient_difference": Method(
        name="gradient_difference",
        settings=GradientDifference,
        grid={"method.forget_weight": (1.0, 0.3, 0.1), "unlearn.lr": (None, 0.01)},
        objective=objective,
        strategy=OriginalServer,
        tasks=TASKS,
        about="the loss of forget samples rises while that of retain samples falls",
    )
}
