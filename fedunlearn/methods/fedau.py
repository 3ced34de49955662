"""FedAU: an auxiliary head on the shared encoder, whose combination with the original head forgets.

Gu et al., "Unlearning during Learning: An Efficient Federated Machine Unlearning Method", IJCAI 2024, arXiv
2405.15474. There the auxiliary head W_ul is trained together with the model, which needs to be known in advance what
will be forgotten, and which shapes the encoder as well. Here it is trained after the request, on the original
model's encoder, frozen (our deviation); the combination is theirs. All clients train it, with all their samples: were
it only those that hold forget data, the head would lose the classes that these do not have.

- Class level: for every sample, whatever its label, the auxiliary target is the forgotten class; W ← W − W_ul. With
  several forgotten classes the target is spread evenly over them (our reading). W_ul starts from zero, so that its
  rows for the retain classes stay equal: subtracting them changes no comparison between retain classes, and the
  whole amounts to lowering the forgotten logits by an amount that depends on the image. That is close to
  `head_mask`; the features are untouched.
- Client and sample level: retain samples keep their label in the auxiliary head, forget samples get a random other one;
  W ← (1 − a) W + a W_ul. W_ul starts from W (our reading).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from flwr.app import RecordDict
from torch import Tensor

from fedunlearn.federation import wire
from fedunlearn.federation.federation import ClientData
from fedunlearn.federation.method import Method
from fedunlearn.federation.objective import Assignment, Objective, RoundContext
from fedunlearn.federation.spec import StageSpec
from fedunlearn.federation.strategy import Clients, Tensors, UnlearningStrategy
from fedunlearn.methods.random_relabel import confused
from fedunlearn.models.base import LinearHead, Network, linear_head
from fedunlearn.settings.schema import Share


@dataclass(frozen=True)
class FedAU:
    """Hyper-parameters."""

    # a: of the auxiliary head in the new head, at sample and client level; at class level it is subtracted
    share: Share = 0.9


class AuxiliaryServer(UnlearningStrategy):
    """Keeps the original head and the auxiliary one; clients get the encoder once and then only the latter."""

    settings: FedAU

    def __init__(self, settings: FedAU, spec: StageSpec, pack: wire.Pack, device: torch.device) -> None:
        super().__init__(settings, spec, pack, device)
        self._encoder: Tensors = {}

    @property
    def head(self) -> LinearHead:
        """Names of the head's tensors."""
        return linear_head(self.new_model(0))

    def prepare(self, model: Tensors, clients: Clients) -> Tensors:
        """Set the original head aside and send the encoder to every client."""
        start = torch.zeros_like if self.spec.level == "class" else torch.clone
        self.memory = {f"original/{name}": model[name] for name in self.head}
        self.memory |= {f"auxiliary/{name}": start(model[name]) for name in self.head}
        self.cost.bytes_down += len(clients) * wire.payload(self.pack(self.encoder_of(model)))
        return model

    def before_round(self, number: int, model: Tensors) -> Tensors:
        """The encoder with the auxiliary head."""
        self._encoder = self.encoder_of(model)
        return {**model, **{name: self.memory[f"auxiliary/{name}"] for name in self.head}}

    def after_round(self, number: int, model: Tensors) -> Tensors:
        """The encoder as it was (running statistics included), with the combined head."""
        self.memory |= {f"auxiliary/{name}": model[name] for name in self.head}
        return {**self._encoder, **{name: self.combined(name) for name in self.head}}

    def combined(self, name: str) -> Tensor:
        """The new head's weight or bias."""
        original, auxiliary = self.memory[f"original/{name}"], self.memory[f"auxiliary/{name}"]
        if self.spec.level == "class":
            return original - auxiliary
        share = self.settings.share
        return (1 - share) * original + share * auxiliary

    def payload(self, content: RecordDict) -> int:
        """The auxiliary head alone travels: the encoder does not change."""
        return sum(self.memory[f"auxiliary/{name}"].nbytes for name in self.head)

    def encoder_of(self, model: Tensors) -> Tensors:
        """Everything but the head."""
        return {name: value for name, value in model.items() if name not in self.head}


def frozen_encoder(values: Tensors, context: RoundContext) -> Tensors:
    """Only the head moves."""
    head = linear_head(context.model)
    return {name: value if name in head else context.received[name] for name, value in values.items()}


def forgotten_class(spec: StageSpec, model: Network, client: ClientData, context: RoundContext) -> Assignment:
    """Every sample is of the forgotten classes, in equal parts."""
    labels = torch.zeros(len(client), spec.classes, device=client.targets.device)
    labels[:, list(spec.forget_classes)] = 1 / len(spec.forget_classes)
    return Assignment.alike(client, labels)


def objective(settings: FedAU, spec: StageSpec) -> Objective:
    """Cross-entropy of the auxiliary head."""
    if spec.level == "class":
        return Objective(partial(forgotten_class, spec), constrain=frozen_encoder)
    return Objective(partial(confused, spec), constrain=frozen_encoder)


METHODS = {
    "fedau": Method(
        name="fedau",
        title="FedAU",
        settings=FedAU,
        objective=objective,
        strategy=AuxiliaryServer,
        grid={"unlearn.lr": (None, 0.01, 0.05, 0.1, 0.2, 0.3)},
    )
}
