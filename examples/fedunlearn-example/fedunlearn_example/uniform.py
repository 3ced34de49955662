"""Uniform relabelling: forget samples are taught that they could be anything else.

Every client trains on all its samples. Retain samples keep their label; the label of a forget sample is taken away
from its class and spread evenly over the other classes. It works at every request level, because clients are told
which of their samples are to be forgotten, not why.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch.nn.functional as F
from torch import Tensor

from fedunlearn.federation.federation import ClientData
from fedunlearn.federation.method import Method
from fedunlearn.federation.objective import Objective, Tensors, soft_cross_entropy
from fedunlearn.federation.spec import StageSpec
from fedunlearn.models.base import Network
from fedunlearn.settings.schema import Share


@dataclass(frozen=True)
class Uniform:
    """Hyper-parameters: on the command line, method.amount=0.9."""

    amount: Share = 1.0  # share of a forget sample's label that goes to the other classes, above 0 and at most 1


def targets(settings: Uniform, spec: StageSpec, model: Network, client: ClientData, shared: Tensors) -> Tensor:
    """Float [n, classes]: what each of the client's samples is trained on. Asked once per round."""
    own = F.one_hot(client.targets, spec.classes).float()
    others = (1 - own) / (spec.classes - 1)
    relabelled = (1 - settings.amount) * own + settings.amount * others
    return relabelled.where(client.forget[:, None], own)


def objective(settings: Uniform, spec: StageSpec) -> Objective:
    """What clients do: these labels, and cross-entropy with soft labels."""
    return Objective(partial(targets, settings, spec), soft_cross_entropy)


METHOD = Method(name="uniform", settings=Uniform, objective=objective)
