"""LRA-NPP: find the neurons that a class relies on by relevance, and perturb its path through them. No training.

Chang et al., "Zero-shot Class Unlearning via Layer-wise Relevance Analysis and Neuronal Path Perturbation",
arXiv 2410.23693, which is about one machine. In their code, which for residual networks looks at the last layer
alone, an image's relevances are those of the ε-rule at the input of the head, R_k = h_k w_jk |z_j| / (|z_j| + ε),
started from the logit z_j of the predicted class j. The factor after h_k w_jk is one positive number per image and
does not change the order of the neurons, so ε is no setting here.

Federated, our reading: every client counts, over its images of the class, how often a neuron is among the most
relevant; the server adds up the histograms of whole numbers (which secure aggregation could do without seeing any
of them), takes the most frequent neurons and edits the head once. The authors use images of the class that the model
was not trained on ("zero-shot"); clients here have no others than their training images. Everything below the head
is left as it was, which audits of the features show.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fedunlearn.federation.federation import ClientData
from fedunlearn.federation.method import Method
from fedunlearn.federation.objective import Objective, retain_only
from fedunlearn.federation.sgd import observed
from fedunlearn.federation.spec import StageSpec
from fedunlearn.federation.strategy import Clients, Tensors, UnlearningStrategy
from fedunlearn.models.base import Network, linear_head
from fedunlearn.randomness import torch_stream
from fedunlearn.settings.schema import Count, Positive, Share


@dataclass(frozen=True)
class LraNpp:
    """Hyper-parameters. The shares are of the feature width d."""

    images: Count = 36  # m: images of a class that a client analyses, at most
    analysed: Share = 0.1  # share of the d features counted as relevant for each image
    # share of the d features perturbed: the most frequent; those never counted are left alone
    perturbed: Share = 0.2
    edit: Literal["head_row", "head_cols"] = "head_row"  # their weights to the forgotten class, or to every class
    value: Literal["zero", "gaussian"] = "zero"  # set those weights to zero, or add noise to them (the control)
    noise: Positive = 1.0  # standard deviation of the noise


class LraNppServer(UnlearningStrategy):
    """Asks for the histograms and edits the head; there are no rounds."""

    settings: LraNpp

    def prepare(self, model: Tensors, clients: Clients) -> Tensors:
        """Perturb the path of every forgotten class."""
        counts = clients.total("relevance", model)["counts"]
        path = most_frequent(counts, self.settings.perturbed).to(self.device)
        chosen = edited(path, self.spec, self.settings.edit)
        name = linear_head(self.new_model(0)).weight
        weight = model[name]
        noise = torch.randn(weight.shape, generator=torch_stream(self.spec.seed, self.spec.stage, "noise"))
        changed = weight + self.settings.noise * noise.to(weight) if self.settings.value == "gaussian" else 0.0
        self.notes["perturbed_neurons"] = {
            str(label): path[row].nonzero()[:, 0].tolist() for row, label in enumerate(self.spec.forget_classes)
        }
        return {**model, name: torch.where(chosen, changed, weight)}


def count_relevant(model: Network, client: ClientData, settings: LraNpp, spec: StageSpec) -> Tensors:
    """The client's answer to the query `relevance`: `counts`, int32 [forgotten classes, d]; zeros without images."""
    weight = model.get_parameter(linear_head(model).weight)
    width = weight.shape[1]
    counts = torch.zeros(len(spec.forget_classes), width, dtype=torch.int32)
    for row, label in enumerate(spec.forget_classes):
        held = (client.targets == label).nonzero()[:, 0][: settings.images]
        said = observed(model, client, held)
        relevance = said["features"] * weight[said["logits"].argmax(1)]
        top = relevance.topk(share_of(settings.analysed, width), dim=1).indices
        counts[row] = torch.bincount(top.flatten(), minlength=width).int().cpu()
    return {"counts": counts}


def share_of(share: float, width: int) -> int:
    """That share of `width`, at least 1."""
    return max(1, round(share * width))


def most_frequent(counts: Tensor, share: float) -> Tensor:
    """Bool [forgotten classes, d]: the neurons with the highest counts (ties: the lower number), none with zero."""
    order = counts.sort(dim=1, descending=True, stable=True).indices[:, : share_of(share, counts.shape[1])]
    return torch.zeros_like(counts, dtype=torch.bool).scatter(1, order, True) & (counts > 0)


def edited(path: Tensor, spec: StageSpec, edit: str) -> Tensor:
    """Bool [classes, d]: the entries of the head's weight that are perturbed."""
    if edit == "head_cols":
        return path.any(0).expand(spec.classes, -1)
    chosen = torch.zeros(spec.classes, path.shape[1], dtype=torch.bool, device=path.device)
    chosen[list(spec.forget_classes)] = path
    return chosen


METHODS = {
    "lra_npp": Method(
        name="lra_npp",
        title="LRA-NPP",
        settings=LraNpp,
        objective=lambda settings, spec: Objective(retain_only),
        strategy=LraNppServer,
        queries={"relevance": count_relevant},
        levels=frozenset({"class"}),
        rounds=lambda config: 0,
    )
}
