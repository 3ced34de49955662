"""Random relabelling, the control for FUCRT's informed choice of labels.

Every forget sample gets another label, drawn uniformly at random once; then FedAvg on everything. This is also what
the published code of FUSED (Zhong et al., CVPR 2025) does with forgotten classes.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from fedunlearn.federation.federation import ClientData
from fedunlearn.federation.method import Method, NoSettings
from fedunlearn.federation.objective import Assignment, Objective, RoundContext
from fedunlearn.federation.spec import StageSpec
from fedunlearn.models.base import Network
from fedunlearn.randomness import torch_stream
from fedunlearn.tasks.base import LABELLED


def other_labels(labels: Tensor, spec: StageSpec, stream: torch.Generator) -> Tensor:
    """A random label for each of `labels` (int64 [n], CPU): a retain class, or any other class below class level."""
    if spec.forget_classes:
        return torch.tensor(spec.retain_classes)[
            torch.randint(len(spec.retain_classes), labels.shape, generator=stream)
        ]
    return (labels + torch.randint(1, spec.classes, labels.shape, generator=stream)) % spec.classes


def confused(spec: StageSpec, model: Network, client: ClientData, context: RoundContext) -> Assignment:
    """Retain samples with their own label; forget samples with another one, the same in every round."""
    drawn = other_labels(client.targets.cpu(), spec, torch_stream(client.seed, spec.stage, "labels"))
    labels = torch.where(client.forget, drawn.to(client.targets.device), client.targets)
    return Assignment.alike(client, labels)


def objective(settings: NoSettings, spec: StageSpec) -> Objective:
    """Cross-entropy on the confused labels."""
    return Objective(partial(confused, spec))


METHODS = {
    "random_relabel": Method(
        name="random_relabel",
        title="random relabelling",
        settings=NoSettings,
        objective=objective,
        tasks=LABELLED,
        grid={"unlearn.lr": (None, 0.01, 0.05, 0.1, 0.2, 0.3)},
    )
}
