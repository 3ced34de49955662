"""Class-discriminative pruning (FUDP): remove the filters that speak of the forgotten class, then fine-tune.

Wang et al., "Federated Unlearning via Class-Discriminative Pruning", WWW 2022, arXiv 2110.11794. Classes are documents
and filters are words: clients report how strongly each filter of each convolution answers to each class, the server
averages, scores the filters for the forgotten class by TF-IDF and prunes those that score *highest*, in all
convolutions at once; several classes are pruned one after the other, each on the model pruned before it. Then comes
ordinary training on the retain data, in which pruned filters stay zero.

Our reading: a filter's output is taken after its normalisation, where one follows, since that is what the next layer
sees; pruning a filter zeroes its normalisation as well, so that nothing of it is left. A filter that scores 0 is not
pruned, whatever the share. Two sentences of the source can be read in two ways: which mean a filter's answer has to
reach so that it counts for a class (`mean_over`), and whether the share is of each convolution's filters or of all
filters of the model (`share_of`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from fedunlearn.errors import RunError
from fedunlearn.federation.federation import ClientData
from fedunlearn.federation.method import Method
from fedunlearn.federation.objective import Objective, retain_only
from fedunlearn.federation.sgd import observed
from fedunlearn.federation.spec import StageSpec
from fedunlearn.federation.strategy import Clients, Tensors, UnlearningStrategy
from fedunlearn.models.base import Network
from fedunlearn.settings.schema import Above, Below

KEPT = "kept/"  # prefix of the masks among the shared tensors: uint8 [filters] for every tensor that filters have
NORMS = (nn.BatchNorm2d, nn.GroupNorm)


@dataclass(frozen=True)
class Pruning:
    """Hyper-parameters."""

    # R: share of the filters of each convolution pruned for a forgotten class, at least one; see docs/methods.md
    share: Annotated[float, Above(0), Below(1)] = 0.7
    # what share is of: the filters of each convolution, or all filters of the model, their scores in one row
    share_of: Literal["layer", "model"] = "layer"
    # IDF counts classes that a filter answers at least as much as: the mean over the class's filters, or over classes
    mean_over: Literal["filters", "classes"] = "filters"


class PruningServer(UnlearningStrategy):
    """Prunes before the first round; the rounds are ordinary ones under a mask."""

    settings: Pruning

    def prepare(self, model: Tensors, clients: Clients) -> Tensors:
        """Score and prune, one forgotten class at a time."""
        layers = convolutions(self.new_model(0))
        if not layers:
            raise RunError("method pruning prunes the filters of convolutions that train, and this model has none")
        kept = {
            name: torch.ones(len(model[f"{name}.weight"]), dtype=torch.uint8, device=self.device) for name in layers
        }
        for label in self.spec.forget_classes:
            answers = clients.total("answers", model)
            scores = {name: self.scored(answers[name], answers["holders"], label) for name in layers}
            for name, chosen in CHOICES[self.settings.share_of](scores, self.settings.share).items():
                kept[name][chosen] = 0
            self.shared = {KEPT + entry: kept[name] for name, layer in layers.items() for entry in layer.tensors(model)}
            model = {**model, **masked(model, self.shared)}
        self.notes["pruned"] = {name: (mask == 0).nonzero()[:, 0].tolist() for name, mask in kept.items()}
        return model

    def scored(self, totals: Tensor, holders: Tensor, label: int) -> Tensor:
        """TF-IDF [filters] of a layer for a class, from the sums over clients of its answers, [classes, filters]."""
        strength = totals / holders.clamp_min(1)[:, None]
        held = strength[holders > 0]
        return tf_idf(held, held.mean(MEAN_OVER[self.settings.mean_over], keepdim=True), strength[label])


@dataclass(frozen=True)
class Layer:
    """A convolution and the normalisation right after it, if there is one, by their names in the model."""

    convolution: str
    norm: str | None

    def tensors(self, model: Tensors) -> list[str]:
        """The parameters of `model` with one entry (or row) for each filter."""
        modules = [self.convolution, self.norm] if self.norm else [self.convolution]
        return [f"{name}.{kind}" for name in modules for kind in ("weight", "bias") if f"{name}.{kind}" in model]


def convolutions(model: nn.Module) -> dict[str, Layer]:
    """All convolutions that train, in the order in which the model holds them."""
    leaves = [(name, module) for name, module in model.named_modules() if not list(module.children())]
    layers = {}
    for (name, module), (after, norm) in zip(leaves, [*leaves[1:], ("", None)], strict=True):
        if isinstance(module, nn.Conv2d) and module.weight.requires_grad:
            layers[name] = Layer(name, after if isinstance(norm, NORMS) else None)
    return layers


def tf_idf(strength: Tensor, mean: Tensor, target: Tensor) -> Tensor:
    """Scores [filters] of a layer's filters for one class, from how they answer to each class, [classes, filters].

    TF^j = A^j / Σ_j A^j of the `target` class's row A; IDF^j = log((1 + |U|) / (1 + |{u: A_u^j ≥ mean}|)) with `mean`
    [classes, 1] (of each row) or [1, filters] (of each column).
    """
    common = (strength >= mean).sum(0)
    rarity = ((1 + len(strength)) / (1 + common)).log()
    return target / target.sum().clamp_min(1e-12) * rarity


def most_telling(scores: Tensor, share: float) -> Tensor:
    """Bool [filters]: the highest scores above 0, that share of all, at least one (ties: the lower number)."""
    count = max(1, round(share * len(scores)))
    order = scores.sort(descending=True, stable=True).indices[:count]
    return torch.zeros_like(scores, dtype=torch.bool).scatter(0, order, True) & (scores > 0)


def of_each_layer(scores: Tensors, share: float) -> Tensors:
    """The most telling filters of every layer, by its name."""
    return {name: most_telling(own, share) for name, own in scores.items()}


def of_the_model(scores: Tensors, share: float) -> Tensors:
    """The most telling filters of all layers together, by layer: one threshold for all scores."""
    chosen = most_telling(torch.cat([*scores.values()]), share)
    return dict(zip(scores, torch.split(chosen, [len(own) for own in scores.values()]), strict=True))


CHOICES = {"layer": of_each_layer, "model": of_the_model}
MEAN_OVER = {"filters": 1, "classes": 0}  # the dimension of [classes, filters]


def masked(parameters: Tensors, shared: Tensors) -> Tensors:
    """The parameters with those of pruned filters at zero, as the masks among the shared tensors say."""
    result = dict(parameters)
    for entry, kept in shared.items():
        name = entry.removeprefix(KEPT)
        result[name] = parameters[name] * kept.view(-1, *[1] * (parameters[name].dim() - 1))
    return result


def report_answers(model: Network, client: ClientData, settings: Pruning, spec: StageSpec) -> Tensors:
    """A_l = AvgPool(ReLU(O_l)) averaged over the client's images of each class, [classes, filters] for every layer l.

    `holders` [classes] says which classes the client holds; the rows of the others are zero.
    """
    held = torch.bincount(client.targets, minlength=spec.classes).float()
    with recorded(model) as outputs:
        observed(model, client, torch.arange(len(client), device=client.targets.device))
    answers = {}
    for name, pooled in outputs.items():
        values = torch.cat(pooled)
        sums = torch.zeros(spec.classes, values.shape[1], device=values.device).index_add(0, client.targets, values)
        answers[name] = sums / held.clamp_min(1)[:, None]
    return {**answers, "holders": (held > 0).float()}


@contextmanager
def recorded(model: Network) -> Iterator[dict[str, list[Tensor]]]:
    """While this lasts, what each convolution says to a batch, [b, filters], is appended to its list."""
    outputs: dict[str, list[Tensor]] = {}
    hooks = []
    for name, layer in convolutions(model).items():
        outputs[name] = []
        module = model.get_submodule(layer.norm or layer.convolution)
        hooks.append(
            module.register_forward_hook(lambda _, __, output, kept=outputs[name]: kept.append(pooled(output)))
        )
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def pooled(output: Tensor) -> Tensor:
    """Mean over the map of the positive part, [b, filters]."""
    return output.relu().mean((2, 3))


METHODS = {
    "pruning": Method(
        name="pruning",
        title="pruning",
        settings=Pruning,
        grid={"method.share": (0.7, 0.5, 0.3), "method.mean_over": ("filters", "classes")},
        objective=lambda settings, spec: Objective(
            retain_only, constrain=lambda values, context: masked(values, context.shared)
        ),
        strategy=PruningServer,
        queries={"answers": report_answers},
        levels=frozenset({"class"}),
    )
}
