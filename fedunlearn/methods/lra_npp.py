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
is left as it was, which audits of the features show, unless the weights that lead into the neurons are edited as well
(`edit=fc_rows`), which is what the authors do in networks of two convolutions and two dense layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from fedunlearn.errors import RequestError
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
    # their weights to the forgotten class, to every class, or to the forgotten one and all that lead into them
    edit: Literal["head_row", "head_cols", "fc_rows"] = "head_row"
    value: Literal["zero", "gaussian"] = "zero"  # set those weights to zero, or add noise to them (the control)
    noise: Positive = 1.0  # standard deviation of the noise


class LraNppServer(UnlearningStrategy):
    """Asks for the histograms and edits the head; there are no rounds."""

    settings: LraNpp

    def prepare(self, model: Tensors, clients: Clients) -> Tensors:
        """Perturb the path of every forgotten class."""
        counts = clients.total("relevance", model)["counts"]
        path = most_frequent(counts, self.settings.perturbed).to(self.device)
        network = self.new_model(0)
        chosen = {linear_head(network).weight: edited(path, self.spec, self.settings.edit)}
        if self.settings.edit == "fc_rows":
            into = hidden_weight(network)
            chosen[into] = path.any(0).unsqueeze(1).expand_as(model[into])
        self.notes["perturbed_neurons"] = {
            str(label): path[row].nonzero()[:, 0].tolist() for row, label in enumerate(self.spec.forget_classes)
        }
        return {**model, **{name: self.perturbed(name, model[name], where) for name, where in chosen.items()}}

    def perturbed(self, name: str, weight: Tensor, where: Tensor) -> Tensor:
        """A weight with its entries `where`, bool of its shape, at zero or with noise added."""
        stream = torch_stream(self.spec.seed, self.spec.stage, "noise", name)
        noise = self.settings.noise * torch.randn(weight.shape, generator=stream).to(weight)
        return torch.where(where, weight + noise if self.settings.value == "gaussian" else 0.0, weight)


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


def hidden_weight(model: Network) -> str:
    """The name of the weight [d, inputs] of the dense layer whose units are the features. Raises RequestError."""
    width = model.get_parameter(linear_head(model).weight).shape[1]
    dense = [name for name, layer in model.encoder.named_modules() if isinstance(layer, nn.Linear)]
    if not dense or len(model.get_parameter(f"encoder.{dense[-1]}.weight")) != width:
        raise RequestError(
            "method.edit=fc_rows edits the dense layer before the head, which this model has none of: "
            "choose head_row or head_cols"
        )
    return f"encoder.{dense[-1]}.weight"


def fits(settings: LraNpp, model: Network) -> None:
    """Raises RequestError if there is no layer to edit."""
    if settings.edit == "fc_rows":
        hidden_weight(model)


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
        grid={"method.perturbed": (0.2, 0.4, 0.6), "method.edit": ("head_row", "head_cols")},
        objective=lambda settings, spec: Objective(retain_only),
        strategy=LraNppServer,
        queries={"relevance": count_relevant},
        levels=frozenset({"class"}),
        rounds=lambda config: 0,
        fits=fits,
    )
}
