"""ClimbQ: training for the format in which the model will ship, with an eye on classes that have few samples.

Chen, Yang & Chen, "ClimbQ: Class imbalanced quantization enabling robustness on efficient inferences", NeurIPS 2022.
Weights are rounded in every forward pass, and gradients pass through as if they were not (straight-through estimator).
Two things are made for imbalanced classes: distribution scaling, by which what the model computes for a sample is
divided by s = 2 - p, with p the share of its class in the batch, and s = 2 at inference; and HomoVar weights of the
classes in the loss (`homovar`).

As the code: s and where p comes from. `scale_mode=paper_code` divides the shares by their sum over the batch once
more, as the published code does, which leaves s at nearly 2 for every class; `class_share` is p as in the text.

Ours: the published quantisers map weights and activations through a normal distribution to levels that are part of
the network wherever it runs. Formats here round weights alone, to the nearest level, so that this very rounding (that
of `deploy.formats=[intB]`) takes the place of theirs; activations are not rounded, and the scale is that of the
features, by which the head is reached, relative to inference: 2 / (2 - p). The loss is the task's own, weighted by
class, where the code takes the binary cross-entropy of probabilities. What the repair leaves behind is in float32.

Federated: FedAvg on retain data. The server adds up sums per class and sends every client the weights of the classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import torch
from torch import Tensor
from torch.func import functional_call

from fedunlearn.deploy.base import Format, rounded, weights_of
from fedunlearn.deploy.nearest import nearest
from fedunlearn.federation.federation import ClientData
from fedunlearn.federation.objective import Assignment, Objective, RoundContext
from fedunlearn.federation.repair import Repair
from fedunlearn.federation.sgd import observed
from fedunlearn.federation.spec import StageSpec
from fedunlearn.federation.strategy import Clients, Tensors, UnlearningStrategy
from fedunlearn.models.base import Around, Network
from fedunlearn.repair import homovar
from fedunlearn.settings.schema import Above, AtLeast, AtMost, Below, Count, Positive
from fedunlearn.tasks.base import Batch
from fedunlearn.tasks.classification import ClassOutputs

WEIGHTS, MEANS = "class_weights", "means"  # what is shared with clients


@dataclass(frozen=True)
class ClimbQ:
    """Hyper-parameters; what is null is as in `train`."""

    rounds: Count = 2  # of FedAvg on rounded weights
    bits: Annotated[int, AtLeast(2), AtMost(8)] = 4  # of the weights, as in deploy.formats=[int4]
    group_size: Count | None = None  # weights of an output channel that share a scale, as deploy.group_size
    weighting: Literal["none", "class_balanced", "homovar"] = "homovar"  # of the classes in the loss
    # p: its share of the batch (class_share), once more divided by the sum over the batch (paper_code), or 0 (none)
    scale_mode: Literal["none", "paper_code", "class_share"] = "paper_code"
    beta: Annotated[float, AtLeast(0), Below(1)] = 0.999  # of the class weights; near 1, rare classes count most
    alpha: Annotated[float, Above(0), Below(1)] = 0.05  # level of Levene's test
    local_epochs: Count | None = None
    batch_size: Count | None = None
    lr: Positive | None = None


class ClimbQServer(UnlearningStrategy):
    """Asks for sums per class and shares the weights of the classes; then plain averaging."""

    settings: ClimbQ

    def prepare(self, model: Tensors, clients: Clients) -> Tensors:
        """The model as it is; the weights of the classes are known."""
        if self.settings.weighting != "none":
            first = clients.total("counts_and_features", model)
            betas = torch.full_like(first["counts"], self.settings.beta)
            if self.settings.weighting == "homovar":
                betas = self._homovar(model, clients, first)
            weights = homovar.class_weights(first["counts"], betas)
            self.shared = {WEIGHTS: weights.float()}
            self.notes["class_weights"] = weights.tolist()
        return model

    def _homovar(self, model: Tensors, clients: Clients, first: Mapping[str, Tensor]) -> Tensor:
        """The betas of the classes, after the second pass."""
        self.shared = {MEANS: homovar.means(first)}
        second = clients.total("spreads", model)
        limits = homovar.bounds(first["counts"], second["spread"], second["squares"], self.settings.alpha)
        self.notes["outside"] = _outside(first["counts"], limits)
        return homovar.homovar_betas(first["counts"], limits, self.settings.beta)


def _outside(counts: Tensor, limits: homovar.Bounds) -> list[int]:
    """The classes whose size is outside of its bounds."""
    return ((counts < limits.lower) | (counts > limits.upper)).nonzero()[:, 0].tolist()


def counts_and_features(model: Network, client: ClientData, settings: ClimbQ, spec: StageSpec) -> Tensors:
    """The client's answer to the first query."""
    return homovar.first_sums(_features(model, client), client.targets, spec.classes)


def spreads(model: Network, client: ClientData, settings: ClimbQ, spec: StageSpec) -> Tensors:
    """The client's answer to the second query, given the means of all clients together."""
    return homovar.second_sums(_features(model, client), client.targets, client.shared[MEANS])


def _features(model: Network, client: ClientData) -> Tensor:
    positions = torch.arange(len(client), device=client.targets.device)
    return observed(model, client, positions)["features"]


def by_class(model: Network, client: ClientData, context: RoundContext) -> Assignment:
    """Every sample counts as much as its class."""
    if WEIGHTS in context.shared:
        return Assignment(context.shared[WEIGHTS][client.targets])
    return Assignment.alike(client)


def rounded_outputs(settings: ClimbQ, model: Network, batch: Batch, context: RoundContext) -> Any:
    """What the model says of a batch with rounded weights and scaled features; gradients reach the float weights."""
    own = dict(model.named_parameters())
    weights = {f"model.{name}": straight_through(own[name], settings) for name in weights_of(model)}
    scaled = Around(model, partial(scaled_outputs, settings.scale_mode))
    return functional_call(scaled, weights, (model, batch))


def straight_through(weight: Tensor, settings: ClimbQ) -> Tensor:
    """The weight as the format holds it, with the gradient of the weight itself."""
    format = Format(f"int{settings.bits}", settings.bits, partial(nearest, bits=settings.bits))
    return weight + (rounded(weight, format, settings.group_size).values - weight).detach()


def scaled_outputs(mode: str, model: Network, batch: Batch) -> ClassOutputs:
    """The task's outputs, with features times 2 / (2 - p)."""
    features = model.features(batch.inputs) * (2 / (2 - shares(batch, mode)))[:, None]
    return ClassOutputs(features, model.head(features))


def shares(batch: Batch, mode: str) -> Tensor:
    """p of every sample, float [b], from the samples that are not left out."""
    there = (batch.weights != 0).to(batch.weights.dtype)
    if mode == "none":
        return torch.zeros_like(there)
    alike = (batch.targets[:, None] == batch.targets).to(there.dtype)
    share = alike @ there / there.sum().clamp_min(1)
    return share if mode == "class_share" else share / (share * there).sum().clamp_min(torch.finfo(share.dtype).tiny)


REPAIRS = {
    "climbq": Repair(
        name="climbq",
        title="ClimbQ",
        settings=ClimbQ,
        rounds=lambda settings: settings.rounds,
        objective=lambda settings, spec: Objective(by_class, says=partial(rounded_outputs, settings)),
        strategy=ClimbQServer,
        queries={"counts_and_features": counts_and_features, "spreads": spreads},
        about="training on rounded weights, with classes weighted and scaled by how many samples they have",
    )
}
