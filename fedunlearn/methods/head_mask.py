"""Head masking, the control that every method must beat on something other than accuracy.

The server lowers the bias of the forgotten classes' logits by a large constant and changes nothing else: no round,
no traffic, forget accuracy 0, and every bit of knowledge still in place. The constant is finite so that audits can
find that knowledge (see `fedunlearn.audits.ausuc`).
"""

from __future__ import annotations

from dataclasses import dataclass

from fedunlearn.federation.method import Method
from fedunlearn.federation.objective import Objective, retain_only
from fedunlearn.federation.strategy import Clients, Tensors, UnlearningStrategy
from fedunlearn.models.base import linear_head
from fedunlearn.settings.schema import Positive


@dataclass(frozen=True)
class HeadMask:
    """Hyper-parameters."""

    constant: Positive = 1000.0  # taken from the forgotten logits; far beyond any real logit, small enough for float32


class MaskingServer(UnlearningStrategy):
    """Edits the head once; there are no rounds."""

    settings: HeadMask

    def prepare(self, model: Tensors, clients: Clients) -> Tensors:
        """Lower the forgotten biases."""
        name = linear_head(self.new_model(0)).bias
        bias = model[name].clone()
        bias[list(self.spec.forget_classes)] -= self.settings.constant
        return {**model, name: bias}


METHODS = {
    "head_mask": Method(
        name="head_mask",
        title="masking the head",
        settings=HeadMask,
        objective=lambda settings, spec: Objective(retain_only),
        strategy=MaskingServer,
        levels=frozenset({"class"}),
        rounds=lambda config: 0,
    )
}
