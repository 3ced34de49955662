"""FUSED: forget by overwriting a few entries of a few layers, everything else frozen.

Zhong et al., "Unlearning through Knowledge Overwriting: Reversible Federated Unlearning via Selective Sparse Adapter",
CVPR 2025, arXiv 2502.20709. Round 1 finds the critical layers: clients train the whole model, the server measures how
far each layer moved, Diff_l = Σ_k |D_k| / |D| ‖p_l^k − p_l‖₁, keeps the K layers that moved most, and drops the
training. Each of them gets a sparse adapter: a random share of its entries, the only ones that the following rounds
train and exchange. Undoing the adapters brings the original model back.

The paper trains on the remaining data; its published code gives forgotten classes random other labels instead, and
uses low-rank adapters on fixed layers. Both choices of labels are here, and the adapters of the text. For classes, what
the published results come from is the default; for clients and samples, the text. The size of K and of the mask is not
given there for every network: the defaults are ours. A layer is a module with parameters, bias included; momentum and
weight decay act on the sum of frozen weight and adapter (our readings).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from flwr.app import RecordDict
from torch import Tensor

from fedunlearn.errors import RequestError
from fedunlearn.federation import wire
from fedunlearn.federation.method import Method
from fedunlearn.federation.objective import Objective, RoundContext, retain_only
from fedunlearn.federation.spec import StageSpec
from fedunlearn.federation.strategy import Tensors, UnlearningStrategy
from fedunlearn.methods.random_relabel import confused
from fedunlearn.models.base import trained
from fedunlearn.randomness import torch_stream
from fedunlearn.settings.config import RunConfig
from fedunlearn.settings.schema import Count, Share

MASK = "mask/"  # prefix of the adapters' masks among the shared tensors


@dataclass(frozen=True)
class Fused:
    """Hyper-parameters."""

    layers: Count = 3  # K: critical layers, which get an adapter
    density: Share = 0.2  # share of the entries of a critical layer that are trained
    # leave_out: the paper's text; random: its published code; null: random at class level, leave_out below
    forget_labels: Literal["leave_out", "random"] | None = None


class SparseServer(UnlearningStrategy):
    """Finds the critical layers in the first round, then averages adapters."""

    settings: Fused

    def __init__(self, settings: Fused, spec: StageSpec, pack: wire.Pack, device: torch.device) -> None:
        super().__init__(settings, spec, pack, device)
        self._sent: Tensors = {}
        self._moved: dict[str, float] = defaultdict(float)

    def before_round(self, number: int, model: Tensors) -> Tensors:
        """Remember what the clients start from."""
        self._sent = model
        return model

    def on_client_model(self, client: int, model: Tensors, weight: float) -> None:
        """While there are no adapters: add up how far the client moved each layer, times its samples."""
        if not self.shared:
            for layer, distance in movement(model, self._sent, self.parameters()).items():
                self._moved[layer] += weight * distance

    def after_round(self, number: int, model: Tensors) -> Tensors:
        """The model with new adapters; after the first round, the model as it was."""
        if not self.shared:
            self.place_adapters()
            return self._sent
        return {name: model[name] if MASK + name in self.shared else value for name, value in self._sent.items()}

    def place_adapters(self) -> None:
        """Draw the masks of the layers that moved most (ties: the first ones)."""
        critical = sorted(self._moved, key=lambda layer: -self._moved[layer])[: self.settings.layers]
        for name in self.parameters():
            if layer_of(name) in critical:
                drawn = random_mask(self._sent[name].shape, self.settings.density, self.spec, name)
                self.shared[MASK + name] = drawn.to(self.device)
        self.notes["critical_layers"] = critical
        self.notes["adapter_entries"] = sum(int(mask.sum()) for mask in self.shared.values())

    def parameters(self) -> list[str]:
        """Names of the parameters that train, without statistics of normalisation layers."""
        return list(trained(self.new_model(0)))

    def payload(self, content: RecordDict) -> int:
        """Whole models in the first round, then adapters; clients can draw the masks themselves."""
        return 4 * self.notes["adapter_entries"] if self.shared else super().payload(content)


def layer_of(name: str) -> str:
    """The module that a parameter belongs to."""
    return name.rpartition(".")[0]


def movement(model: Tensors, start: Tensors, names: list[str]) -> dict[str, float]:
    """‖p_l − p_l'‖₁ of every layer l."""
    distances: dict[str, float] = defaultdict(float)
    for name in names:
        distances[layer_of(name)] += float((model[name] - start[name]).abs().sum())
    return distances


def random_mask(shape: torch.Size, density: float, spec: StageSpec, name: str) -> Tensor:
    """Uint8, one for an entry that is trained: about `density` of them, at random."""
    return (torch.rand(shape, generator=torch_stream(spec.seed, spec.stage, "mask", name)) < density).to(torch.uint8)


def only_adapters(values: Tensors, context: RoundContext) -> Tensors:
    """Masked entries keep what they learnt, all others what was received; without masks everything moves."""
    if not context.shared:
        return values
    received = context.received
    masks = {name: context.shared.get(MASK + name) for name in values}
    return {
        name: received[name] if mask is None else torch.where(mask.bool(), values[name], received[name])
        for name, mask in masks.items()
    }


def objective(settings: Fused, spec: StageSpec) -> Objective:
    """Cross-entropy on the retain data, or on all of it with random labels for the forget samples."""
    labels = settings.forget_labels or ("random" if spec.level == "class" else "leave_out")
    assign = retain_only if labels == "leave_out" else partial(confused, spec)
    return Objective(assign, constrain=only_adapters)


def check(settings: Fused, config: RunConfig) -> None:
    """Raises RequestError where no round is left for the adapters."""
    if config.unlearn.rounds < 2:
        raise RequestError(
            f"method fused needs unlearn.rounds=2 or more, the first of them to find the critical layers, "
            f"not {config.unlearn.rounds}"
        )


METHODS = {
    "fused": Method(
        name="fused",
        title="FUSED",
        settings=Fused,
        objective=objective,
        strategy=SparseServer,
        check=check,
        grid={"method.layers": (3, 5), "method.density": (0.2, 0.5, 1.0)},
    )
}
