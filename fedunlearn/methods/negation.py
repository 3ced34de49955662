"""NoT: negate the weights of a layer, then train on the retain data.

Khalil et al., "NoT: Federated Unlearning via Weight Negation", CVPR 2025, arXiv 2503.05657. Multiplying a layer by −1
breaks what the layers after it rely on, and leaves a model from which training recovers sooner than from a random
one. Negated is the weight of a convolution or of a dense layer; biases and normalisation stay, and so
do frozen layers, from which no training could recover (our readings). The method needs neither the forget data nor
anything kept from training, and is the same at every request level.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

from fedunlearn.federation.method import Method
from fedunlearn.federation.objective import Objective, retain_only
from fedunlearn.federation.strategy import Clients, Tensors, UnlearningStrategy
from fedunlearn.models.base import Network, trained
from fedunlearn.tasks.base import EVERY


@dataclass(frozen=True)
class Negation:
    """Hyper-parameters."""

    # L_neg: convolutions and dense layers whose weights are negated; last: the head
    layers: Literal["first", "last", "all"] = "first"


class NegatingServer(UnlearningStrategy):
    """Negates once; the rounds are ordinary ones."""

    settings: Negation

    def prepare(self, model: Tensors, clients: Clients) -> Tensors:
        """θ_l ← −θ_l for the layers l in L_neg."""
        names = weight_names(self.new_model(0))
        chosen = {"first": names[:1], "last": names[-1:], "all": names}[self.settings.layers]
        self.notes["negated"] = chosen
        return {**model, **{name: -model[name] for name in chosen}}


def weight_names(model: Network) -> list[str]:
    """The weights of all convolutions and dense layers that train, from the input to the head."""
    kinds, moving = (nn.modules.conv._ConvNd, nn.Linear), trained(model)
    names = [f"{name}.weight" for name, module in model.named_modules() if isinstance(module, kinds)]
    return [name for name in names if name in moving]


METHODS = {
    "not": Method(
        name="not",
        title="negation (NoT)",
        settings=Negation,
        grid={"method.layers": ("first", "last", "all"), "unlearn.lr": (None, 0.1)},
        objective=lambda settings, spec: Objective(retain_only),
        strategy=NegatingServer,
        tasks=EVERY,
    )
}
