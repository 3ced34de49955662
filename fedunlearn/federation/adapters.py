"""Unlearning by low-rank adapters: clients train factors of updates, and these are all that they send.

A method sees none of it. Its server gets the clients' models and their average as always: the frozen weights with the
updates merged in. Its objective sees a model with the very weights of the moment.

In a round, clients get frozen weights and factors; the model that they start from is the two merged. What the server
makes of the factors that come back (weighted means by numbers of samples, mean below):

- `product`: frozen weights + (α/r) mean(B A), and new factors in every round. Exact; the updates of all rounds together
  may have any rank.
- `fedex`: the same model, but factors go on from mean(A) and mean(B), and the difference is folded into the frozen
  weights. After Singhal et al., "FedEx-LoRA", arXiv 2410.09432.
- `ffa`: A is drawn once and frozen, so that the mean of B is exact. After Sun et al., "Improving LoRA in
  Privacy-preserving Federated Learning", ICLR 2024, arXiv 2403.12313.
- `naive`: frozen weights + (α/r) mean(B) mean(A), which is not the average of the clients' models. A control, since
  published code does it.

Layers without adapters, biases and parameters of normalisation do not move. Layers with running statistics use those
of the model that came, also in training, and leave them as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from flwr.app import ArrayRecord, RecordDict
from torch import Tensor, nn
from torch.func import functional_call

from fedunlearn.federation import wire
from fedunlearn.federation.exchange import Exchange
from fedunlearn.federation.objective import Objective, RoundContext
from fedunlearn.federation.optimiser import Optimiser
from fedunlearn.federation.replies import Sent
from fedunlearn.federation.spec import StageSpec
from fedunlearn.federation.totals import Total
from fedunlearn.models.base import Around, Network
from fedunlearn.models.flat import Layout
from fedunlearn.models.lora import A, B, Lora, fresh, matrices, merged, product
from fedunlearn.randomness import torch_stream
from fedunlearn.tasks.base import Batch

Tensors = dict[str, Tensor]
RECORD = "adapter"  # of a message, with the factors
BASE, NEXT, PRODUCT = "base/", "next/", "BA/"


# Clients ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """What the objective is given of a batch, and its loss, by the merged weights."""

    outputs: Any
    loss: Tensor


class LowRank:
    """A client's round: trains factors in place of the weights of `model`, which holds what was received.

    `base`: the frozen weights; `factors`: as they came; `received`: the two merged, with all other tensors. None of
    them is written into.
    """

    def __init__(self, settings: Lora, model: Network, base: Tensors, factors: Tensors, received: Tensors) -> None:
        self._settings, self._model, self._base = settings, model, base
        frozen = {name for name in factors if settings.frozen and name.startswith(settings.frozen)}
        self._frozen = {name: factors[name] for name in frozen}
        self.moving = {name: nn.Parameter(factors[name].clone()) for name in factors if name not in frozen}
        self.optimiser = Optimiser(self.moving)
        self._others = {name: received[name] for name, _ in model.named_parameters()}
        self._still = [module for module in model.modules() if getattr(module, "running_mean", None) is not None]

    def weights(self) -> Tensors:
        """Of the layers with adapters, now."""
        return merged(self._settings, self._base, {**self._frozen, **self.moving})

    def objective(self, own: Objective) -> Objective:
        """The method's objective as a function of the factors."""

        def inside(model: Network, batch: Batch, context: RoundContext) -> Said:
            outputs = own.says(model, batch, context)
            return Said(outputs, own.loss(outputs, batch, context))

        def says(model: Network, batch: Batch, context: RoundContext) -> Said:
            for module in self._still:
                module.training = False
            weights = {f"model.{name}": value for name, value in {**self._others, **self.weights()}.items()}
            said: Said = functional_call(Around(model, inside), weights, (model, batch, context))
            return said

        keep = own.keep
        return replace(
            own,
            says=says,
            loss=lambda said, batch, context: said.loss,
            keep=None if keep is None else lambda said: keep(said.outputs),
        )

    @torch.no_grad()
    def settle(self) -> Tensors:
        """Merge what was trained into the model; the factors that moved."""
        for name, value in self.weights().items():
            self._model.get_parameter(name).copy_(value)
        return {name: value.detach() for name, value in self.moving.items()}


# Server ----------------------------------------------------------------------------------------------------------


class FactorExchange(Exchange):
    """Frozen weights and factors go out, factors come back.

    `kept`: what goes on from round to round, also over an interruption: frozen weights (all tensors of the model),
    factors, the round in which each of these changed last, and when each of `clients` clients was asked last.
    """

    def __init__(
        self,
        settings: Lora,
        spec: StageSpec,
        model: Network,
        layout: Layout,
        kept: Tensors,
        clients: int,
        device: torch.device,
    ) -> None:
        super().__init__(layout, device)
        self._settings, self._spec, self._kept = settings, spec, kept
        self._shapes = matrices(model, settings.targets)
        self._clients, self._round = clients, 0
        self._model: Tensors = {}
        self._sizes: list[int] = []

    def outgoing(self, number: int, model: Tensors) -> dict[str, Tensors]:
        """The records of the round's messages."""
        factors = self._factors(number)
        started = {**self._base(), **merged(self._settings, self._base(), factors)} if self._base() else {}
        base = {name: self._frozen(name, model, started, factors) for name in model}
        self._remember(number, {**{BASE + name: value for name, value in base.items()}, **factors})
        self._model = {**model, **merged(self._settings, base, factors)}
        back = {name: value for name, value in factors.items() if not self._stays(name)}
        self.sent = Sent.of(back, None)
        return {"model": self.layout.vectors(base, self._device), RECORD: factors}

    def summands(self, reply: Tensors) -> Tensors:
        """The factors, and their products where the mean of these is what counts."""
        if self._settings.aggregation in ("naive", "ffa"):
            return reply
        return {**reply, **{PRODUCT + name: product(reply, name) for name in self._shapes}}

    def model_of(self, reply: Tensors) -> Tensors:
        """A client's model, merged."""
        return {**self._model, **merged(self._settings, self._base(), {**self._now(), **reply})}

    def average(self, total: Total) -> Tensors:
        """The new global model; the factors that the next round begins with are kept."""
        means = {name: value / total.weight for name, value in total.state.items()}
        factors = {name: means[name].to(value.dtype) if name in means else value for name, value in self._now().items()}
        base, scale = self._base(), self._settings.scale
        if self._settings.aggregation in ("naive", "ffa"):
            weights = merged(self._settings, base, factors)
        else:
            exact = {name: base[name] + scale * means[PRODUCT + name].view(base[name].shape) for name in self._shapes}
            weights = {name: value.to(base[name].dtype) for name, value in exact.items()}
        self._kept.update({NEXT + name: value for name, value in factors.items()})
        return {**self._model, **weights}

    def payload(self, content: RecordDict) -> int:
        """Of a message: the model, and the factors if there are any; of a reply: the factors that moved."""
        if "uploads" in content:
            return _bytes(content["model"]) if "model" in content else 0  # type: ignore[arg-type]
        return super().payload(content) + (_bytes(content[RECORD]) if RECORD in content else 0)  # type: ignore[arg-type]

    def held(self, client: int) -> int:
        """Bytes of the tensors that have not changed since the client was asked last; it is asked now."""
        asked, changed = self._kept["asked"], self._kept["changed"].tolist()
        known, asked[client] = int(asked[client]), self._round
        return sum(size for size, since in zip(self._sizes, changed, strict=True) if since <= known)

    # What is kept --------------------------------------------------------------------------------------------------

    def _factors(self, number: int) -> Tensors:
        """Those that the last round left, or new ones."""
        if self._settings.aggregation != "product" and (left := {**self._now(), **self._part(NEXT)}):
            return left
        spec = self._spec
        return fresh(
            self._shapes,
            self._settings.rank,
            lambda name: torch_stream(spec.seed, spec.stage, RECORD, number, name),
            self._device,
        )

    def _frozen(self, name: str, model: Tensors, started: Tensors, factors: Tensors) -> Tensor:
        """What the weight of that name is without its update; the same as before, if the model is what they make."""
        if name in started and torch.equal(started[name], model[name]):
            return self._base()[name]
        if name not in self._shapes:
            return model[name]
        return model[name] - self._settings.scale * product(factors, name).view(model[name].shape)

    def _remember(self, number: int, tensors: Tensors) -> None:
        """Keep what goes out, and note what of it is new."""
        names = sorted(tensors)
        before = self._kept.get("changed", torch.zeros(len(names), dtype=torch.int64)).tolist()
        same = [name in self._kept and torch.equal(self._kept[name], tensors[name]) for name in names]
        changed = [since if equal else number for since, equal in zip(before, same, strict=True)]
        self._round, self._sizes = number, [tensors[name].nbytes for name in names]
        asked = self._kept.get("asked", torch.zeros(self._clients, dtype=torch.int64))
        self._kept.update(tensors, changed=torch.tensor(changed), asked=asked.clone())

    def _base(self) -> Tensors:
        return self._part(BASE)

    def _now(self) -> Tensors:
        return {name: value for name, value in self._kept.items() if name.startswith((A, B))}

    def _part(self, prefix: str) -> Tensors:
        return {name.removeprefix(prefix): value for name, value in self._kept.items() if name.startswith(prefix)}

    def _stays(self, name: str) -> bool:
        frozen = self._settings.frozen
        return bool(frozen) and name.startswith(frozen)


def _bytes(record: ArrayRecord) -> int:
    return wire.payload(record)
