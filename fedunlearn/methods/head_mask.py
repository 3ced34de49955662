"""Head masking, the control that every method must beat on something other than accuracy.

The server lowers the bias of the forgotten classes' logits by a large constant and changes nothing else: no round,
no traffic, forget accuracy 0, and every bit of knowledge still in place. The constant is finite so that audits can
find that knowledge (see `fedunlearn.audits.ausuc`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fedunlearn.federation import wire
from fedunlearn.federation.method import Method
from fedunlearn.federation.objective import Objective, cross_entropy, retain_labels
from fedunlearn.federation.spec import StageSpec
from fedunlearn.federation.strategy import Clients, Tensors, UnlearningStrategy
from fedunlearn.settings.schema import Positive


@dataclass(frozen=True)
class HeadMask:
    """Hyper-parameters."""

    constant: Positive = 1000.0  # taken from the forgotten logits; far beyond any real logit, small enough for float32


class MaskingServer(UnlearningStrategy):
    """Edits the head once; there are no rounds."""

    def __init__(self, spec: StageSpec, settings: HeadMask, pack: wire.Pack, device: torch.device) -> None:
        super().__init__(spec, pack, device)
        self.constant = settings.constant

    def prepare(self, model: Tensors, clients: Clients) -> Tensors:
        """Lower the forgotten biases."""
        bias = model["head.bias"].clone()
        bias[list(self.spec.forget_classes)] -= self.constant
        return {**model, "head.bias": bias}


METHODS = {
    "head_mask": Method(
        name="head_mask",
        settings=HeadMask,
        objective=lambda settings, spec: Objective(retain_labels, cross_entropy),
        server=MaskingServer,
        levels=frozenset({"class"}),
        rounds=lambda train, unlearn: 0,
    )
}
