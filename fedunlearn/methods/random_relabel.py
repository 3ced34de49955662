"""Random relabelling, the control for FUCRT's informed choice of labels.

Every forget sample gets another label, drawn uniformly at random once; then FedAvg on everything. This is also what
the published code of FUSED (Zhong et al., CVPR 2025) does with forgotten classes.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from fedunlearn.federation.objective import Objective, Tensors, cross_entropy
from fedunlearn.federation.plan import Plan
from fedunlearn.federation.world import ClientData
from fedunlearn.methods.base import Method, NoSettings
from fedunlearn.models.base import Classifier
from fedunlearn.randomness import torch_stream


def other_labels(labels: Tensor, plan: Plan, stream: torch.Generator) -> Tensor:
    """A random label for each of `labels` (int64 [n], CPU): a retain class, or any other class below class level."""
    if plan.forget_classes:
        return torch.tensor(plan.retain_classes)[
            torch.randint(len(plan.retain_classes), labels.shape, generator=stream)
        ]
    return (labels + torch.randint(1, plan.classes, labels.shape, generator=stream)) % plan.classes


def confused_labels(plan: Plan, model: Classifier, client: ClientData, shared: Tensors) -> Tensor:
    """Retain samples with their own label; forget samples with another one, the same in every round."""
    drawn = other_labels(client.labels.cpu(), plan, torch_stream(client.seed, plan.stage, "labels"))
    return torch.where(client.forget, drawn.to(client.labels.device), client.labels)


def objective(settings: NoSettings, plan: Plan) -> Objective:
    """Cross-entropy on the confused labels."""
    return Objective(partial(confused_labels, plan), cross_entropy)


METHODS = {"random_relabel": Method(name="random_relabel", settings=NoSettings, objective=objective)}
