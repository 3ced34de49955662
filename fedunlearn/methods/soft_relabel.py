"""Soft relabelling: forget samples learn what the original model says of them once the forgotten classes are masked.

Masking the forgotten classes in the original prediction and dividing the rest by its sum is the target distribution
of the OU@eps audit and of the Spotter loss of Ha et al. (arXiv 2506.01318); Ebrahimpour-Boroojeny et al. (arXiv
2506.20893) start from the same distribution and tilt it towards similar classes, which is left out here. Putting it
into federated training with true labels for the retain samples is our reading. Next to FUCRT, which gives every
forget sample a single class, it tells what the rest of the distribution is worth.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fedunlearn.federation.federation import ClientData
from fedunlearn.federation.method import Method
from fedunlearn.federation.objective import Assignment, Objective, RoundContext
from fedunlearn.federation.spec import StageSpec
from fedunlearn.federation.strategy import Clients, Tensors, UnlearningStrategy
from fedunlearn.methods.transformation import ORIGINAL, labelling_logits
from fedunlearn.models.base import Network
from fedunlearn.settings.schema import Positive


@dataclass(frozen=True)
class SoftRelabel:
    """Hyper-parameters."""

    temperature: Positive = 1.0  # T: logits are divided by it before the softmax; above 1 the targets are flatter
    relabel: Literal["once", "round"] = "once"  # predictions of the original model, or of the one received each round


class SoftRelabelServer(UnlearningStrategy):
    """FedAvg; sends the original model along where it decides about the targets."""

    settings: SoftRelabel

    def prepare(self, model: Tensors, clients: Clients) -> Tensors:
        """Clients keep nothing between rounds, so that the original model travels in every one of them."""
        if self.settings.relabel == "once":
            self.shared.update({ORIGINAL + name: value for name, value in model.items()})
        return model


def masked_prediction(logits: Tensor, forget_classes: tuple[int, ...], temperature: float) -> Tensor:
    """softmax(logits / T) [n, classes] with the forgotten classes at zero and the rest summing to one."""
    masked = logits.index_fill(1, torch.tensor(forget_classes, device=logits.device), -torch.inf)
    return (masked / temperature).softmax(1)


def softened(
    settings: SoftRelabel, spec: StageSpec, model: Network, client: ClientData, context: RoundContext
) -> Assignment:
    """Every sample counts: retain samples with their own label, forget samples with the masked prediction."""
    labels = F.one_hot(client.targets, spec.classes).float()
    held = client.forget.nonzero()[:, 0]
    logits = labelling_logits(model, client, held, context.shared)
    labels[held] = masked_prediction(logits, spec.forget_classes, settings.temperature)
    return Assignment.alike(client, labels)


METHODS = {
    "soft_relabel": Method(
        name="soft_relabel",
        title="soft relabelling",
        settings=SoftRelabel,
        grid={"method.temperature": (1.0, 0.5, 0.25), "unlearn.lr": (None, 0.1)},
        objective=lambda settings, spec: Objective(partial(softened, settings, spec)),
        strategy=SoftRelabelServer,
        levels=frozenset({"class"}),
    )
}
