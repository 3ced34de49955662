"""FUCRT without its contrastive terms: transformation classes by vote, then cross-entropy on the changed labels.

The ablation that tells what dual contrastive alignment adds (arXiv 2410.06848 calls this the basic transformation).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from fedunlearn.federation.federation import ClientData
from fedunlearn.federation.method import Method
from fedunlearn.federation.objective import Assignment, Objective, RoundContext
from fedunlearn.federation.spec import StageSpec
from fedunlearn.federation.strategy import Clients, Tensors, UnlearningStrategy
from fedunlearn.methods.transformation import (
    ORIGINAL,
    Selection,
    anchors_of,
    elect,
    embedding_sums,
    transformed_labels,
    vote,
)
from fedunlearn.models.base import Network, has_logits
from fedunlearn.tasks.base import LABELLED


@dataclass(frozen=True)
class Relabel:
    """Hyper-parameters."""

    selection: Selection = field(default_factory=Selection)


class TransformationServer(UnlearningStrategy):
    """Holds the vote before the first round and sends the result along with the model."""

    settings: Any  # of the method, with a field `selection`

    def prepare(self, model: Tensors, clients: Clients) -> Tensors:
        """Ask for ballots and elect the global transformation sets; before that, for anchors if there are no logits."""
        if not has_logits(self.new_model(0)):
            self.shared |= anchors_of(clients.total("anchors", model), self.device)
        ballots = clients.total("vote", model)
        allowed = elect(ballots, self.settings.selection, self.spec)
        self.shared["allowed"] = allowed.to(torch.uint8).to(self.device)
        if self.settings.selection.relabel == "once":
            self.shared.update({ORIGINAL + name: value for name, value in model.items()})
        self.notes["transformation_classes"] = {
            str(label): allowed[row].nonzero()[:, 0].tolist() for row, label in enumerate(self.spec.forget_classes)
        }
        self.notes["votes"] = ballots["votes"].int().tolist()
        self.notes["voters"] = ballots["sizes"].sum(1).int().tolist()
        return model


def transformed(spec: StageSpec, model: Network, client: ClientData, context: RoundContext) -> Assignment:
    """Every sample counts, forget samples with their transformation class."""
    labels = transformed_labels(spec, model, client, context.shared)
    return Assignment.alike(client, labels)


def cast_vote(model: Network, client: ClientData, settings: Relabel, spec: StageSpec) -> Tensors:
    """The client's answer to the query `vote`."""
    return vote(model, client, settings.selection, spec)


METHODS = {
    "relabel": Method(
        name="relabel",
        title="relabelling",
        settings=Relabel,
        grid={"method.selection.vote": ("clients", "sample"), "unlearn.lr": (None, 0.01, 0.1)},
        objective=lambda settings, spec: Objective(partial(transformed, spec)),
        strategy=TransformationServer,
        queries={"vote": cast_vote, "anchors": embedding_sums},
        levels=frozenset({"class"}),
        tasks=LABELLED,
    )
}
