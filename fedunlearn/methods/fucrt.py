"""FUCRT: federated unlearning via class-aware representation transformation.

Guo et al., arXiv 2410.06848 (v1, October 2024; the ICCV 2025 version reworks parts that are not public). Clients
vote on transformation classes (`fedunlearn.methods.transformation`); then all clients, with or without forget data,
train with cross-entropy on the transformed labels, a contrastive loss inside the batch, and a contrastive loss to
class prototypes that the server averages by class counts and sends back with the model. The paper's words are public,
its equations were not available to us: the losses below are our reading (supervised contrastive and InfoNCE), and
each choice it leaves open is a field of `FUCRT`. The features are the penultimate representation, normalised to unit
length; a projection head, which the sources do not mention, is not offered. Where individuals are told apart, the
features are the embeddings, and the task's loss on pairs takes the place of cross-entropy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from fedunlearn.federation.federation import ClientData
from fedunlearn.federation.method import Method
from fedunlearn.federation.objective import Keep, Objective, Passes, RoundContext, task_loss
from fedunlearn.federation.sgd import observed
from fedunlearn.federation.spec import StageSpec
from fedunlearn.federation.strategy import Clients, Tensors
from fedunlearn.methods.contrastive import prototype_contrastive, prototype_distance, supervised_contrastive, unit
from fedunlearn.methods.relabel import TransformationServer, cast_vote, transformed
from fedunlearn.methods.transformation import ANCHORS, Selection, embedding_sums, transformed_labels
from fedunlearn.models.base import Network, linear_head
from fedunlearn.settings.schema import NonNegative, Positive
from fedunlearn.tasks.base import LABELLED, Batch, Outputs


@dataclass(frozen=True)
class FUCRT:
    """Hyper-parameters (symbols: our notation, docs/notation.md)."""

    selection: Selection = field(default_factory=Selection)
    local_weight: NonNegative = 0.1  # λ1: contrastive loss inside the batch
    global_weight: NonNegative = 0.1  # λ2: contrastive loss to the global prototypes
    local_temperature: Positive = 0.5  # T_l
    global_temperature: Positive = 0.5  # T_g
    global_loss: Literal["infonce", "distance"] = "infonce"  # other classes as negatives, or attraction only
    prototypes_of: Literal["retain", "all"] = "retain"  # class means of retain samples, or transformed ones as well
    # features that the last epoch's passes made anyway, or by the trained model, in one more pass over the data
    prototypes_by: Literal["passes", "trained"] = "passes"
    # of the original model, or none until the first round is over
    first_prototypes: Literal["original", "none"] = "original"


class FUCRTServer(TransformationServer):
    """The vote, and the global prototypes."""

    settings: FUCRT

    def prepare(self, model: Tensors, clients: Clients) -> Tensors:
        """The vote, then the original model's prototypes."""
        super().prepare(model, clients)
        self.shared["prototypes"] = torch.zeros(self.spec.classes, self.width(model), device=self.device)
        self.shared["known"] = torch.zeros(self.spec.classes, dtype=torch.uint8, device=self.device)
        if self.settings.first_prototypes == "original" and self.settings.global_weight > 0:
            self.on_totals(clients.total("prototypes", model))
        return model

    def width(self, model: Tensors) -> int:
        """How many numbers make up a sample's features."""
        anchors = self.shared.get(ANCHORS)
        return (model[linear_head(self.new_model(0)).weight] if anchors is None else anchors).shape[1]

    def on_totals(self, totals: Tensors) -> None:
        """g_c = Σ_k n_k^c μ_k^c / Σ_k n_k^c; a class that nobody held this round keeps its prototype."""
        if "counts" not in totals:
            return
        seen = totals["counts"] > 0
        means = (totals["sums"] / totals["counts"].clamp_min(1)[:, None]).float()
        self.shared["prototypes"] = torch.where(seen[:, None], means, self.shared["prototypes"])
        self.shared["known"] = self.shared["known"] | seen.to(torch.uint8)


def class_sums(
    settings: FUCRT,
    spec: StageSpec,
    model: Network,
    client: ClientData,
    shared: Tensors,
    passes: Passes | None = None,
) -> Tensors:
    """Sums [classes, d] and counts [classes] of unit-length features, which add up to global prototypes.

    Features as `model` has them now; or as `passes` had them: the model moved meanwhile, and was in training mode
    (batch statistics, dropout), which is our reading of prototypes that cost no pass of their own.
    """
    wanted = torch.ones_like(client.forget) if settings.prototypes_of == "all" else ~client.forget
    labels = transformed_labels(spec, model, client, shared) if settings.prototypes_of == "all" else client.targets
    if passes is None:
        rows = wanted.nonzero()[:, 0]
        z = unit(observed(model, client, rows)["features"])
    else:
        among = wanted[passes.positions]
        rows, z = passes.positions[among], unit(passes.said["features"][among])
    sums = torch.zeros(spec.classes, z.shape[1], device=z.device).index_add(0, labels[rows], z)
    return {"sums": sums, "counts": torch.bincount(labels[rows], minlength=spec.classes).float()}


def objective(settings: FUCRT, spec: StageSpec) -> Objective:
    """L = L_ce + λ1 L_local + λ2 L_global on transformed labels."""

    def loss(outputs: Outputs, batch: Batch, context: RoundContext) -> Tensor:
        total, z = task_loss(outputs, batch, context), unit(outputs.features)
        whole = batch.plain
        labels = batch.targets if whole else batch.targets.masked_fill(batch.weights == 0, -1)
        if settings.local_weight > 0:
            local = supervised_contrastive(z, labels, settings.local_temperature, whole)
            total = total + settings.local_weight * local
        if settings.global_weight > 0:
            total = total + settings.global_weight * global_term(settings, z, labels, context.shared, whole)
        return total

    def uploads(model: Network, client: ClientData, context: RoundContext) -> Tensors:
        return prototype_uploads(settings, spec, model, client, context)

    return Objective(partial(transformed, spec), loss, uploads, keep=kept_features(settings))


def prototype_uploads(
    settings: FUCRT, spec: StageSpec, model: Network, client: ClientData, context: RoundContext
) -> Tensors:
    """What the next prototypes are made of; nothing where no loss looks at them."""
    if settings.global_weight == 0:
        return {}
    return class_sums(settings, spec, model, client, context.shared, context.passes)


def kept_features(settings: FUCRT) -> Keep | None:
    """What training has to keep for the prototypes."""
    return features if settings.prototypes_by == "passes" and settings.global_weight > 0 else None


def features(outputs: Outputs) -> Tensors:
    """`features` [b, d]."""
    return {"features": outputs.features}


def global_term(settings: FUCRT, z: Tensor, labels: Tensor, shared: Tensors, whole: bool) -> Tensor:
    """Contrast with (or attraction to) the prototypes that came with the model."""
    prototypes, known = shared["prototypes"], shared["known"].bool()
    if settings.global_loss == "distance":
        return prototype_distance(z, labels, prototypes, known, whole)
    return prototype_contrastive(z, labels, prototypes, known, settings.global_temperature, whole)


def first_prototypes(model: Network, client: ClientData, settings: FUCRT, spec: StageSpec) -> Tensors:
    """The client's answer to the query `prototypes`: class sums of its retain samples under the original model."""
    clean = FUCRT(prototypes_of="retain")
    return class_sums(clean, spec, model, client, {})


METHODS = {
    "fucrt": Method(
        name="fucrt",
        title="FUCRT",
        settings=FUCRT,
        grid={"method.local_weight": (0.1, 1.0), "unlearn.lr": (None, 0.01, 0.1)},
        objective=objective,
        strategy=FUCRTServer,
        queries={"vote": cast_vote, "anchors": embedding_sums, "prototypes": first_prototypes},
        levels=frozenset({"class"}),
        tasks=LABELLED,
    )
}
