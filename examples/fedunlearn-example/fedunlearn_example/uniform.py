"""Uniform relabelling: forget samples are taught that they could be anything else.

Every client trains on all its samples. Retain samples keep their label; the label of a forget sample is taken away
from its class and spread evenly over the other classes. It works at every request level, because clients are told
which of their samples are to be forgotten, not why.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F

from fedunlearn.federation.federation import ClientData
from fedunlearn.federation.method import Method
from fedunlearn.federation.objective import Assignment, Objective, RoundContext
from fedunlearn.federation.spec import StageSpec
from fedunlearn.models.base import Network
from fedunlearn.settings.schema import Share


@dataclass(frozen=True)
class Uniform:
    """Hyper-parameters: on the command line, method.amount=0.9."""

    amount: Share = 1.0  # share of a forget sample's label that goes to the other classes, above 0 and at most 1


def assign(settings: Uniform, spec: StageSpec, model: Network, client: ClientData, context: RoundContext) -> Assignment:
    """Every sample counts, with labels of its own, float [n, classes]. Asked once per round."""
    own = F.one_hot(client.targets, spec.classes).float()
    others = (1 - own) / (spec.classes - 1)
    relabelled = (1 - settings.amount) * own + settings.amount * others
    return Assignment(torch.ones(len(own)).to(own), relabelled.where(client.forget[:, None], own))


def objective(settings: Uniform, spec: StageSpec) -> Objective:
    """What clients do: these labels, and the cross-entropy with them."""
    return Objective(partial(assign, settings, spec))


METHOD = Method(name="uniform", settings=Uniform, objective=objective)
