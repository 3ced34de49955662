"""FedEraser: rebuild the model with the lengths of the stored updates and the directions of new ones.

Liu et al., "FedEraser: Enabling Efficient Client-Level Data Removal from Federated Learning Models", IWQoS 2021,
arXiv 2012.13891. The server has kept the clients' models of every Δt-th round. Starting over from the initial model,
the remaining clients train a little (E_cali = ⌈r E⌉ epochs) on what they keep, and for every layer

    newGM ← newGM + ‖oldCM − oldGM‖ · (newCM − newGM) / ‖newCM − newGM‖,

where oldCM and newCM are averages over the remaining clients, then and now. The first stored round needs no new
training: its average without the forgotten clients is the first rebuilt model.

What the stored models contribute is those norms alone (and, for that first round, one model). They are taken from a
second run of the original training, which has the same random streams and so is the same training, instead of filling
the disk on the chance that somebody asks; notes say what a server would have had to keep.

At class and sample level no client leaves (our reading): oldCM − oldGM is the step of the global model, the new
training is on the retain data, and the first round is calibrated as well, because its stored average has seen the
forget data. Without an interval, it follows from the budget, Δt = ⌊train.rounds / unlearn.rounds⌋ (at client level, of
one round more), so that the method gets the rounds that others of a comparison get; the paper's is 2, whatever these
get. Statistics of normalisation layers are averaged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fedunlearn.errors import RequestError
from fedunlearn.federation import wire
from fedunlearn.federation.method import Method
from fedunlearn.federation.objective import Objective, retain_only
from fedunlearn.federation.spec import StageSpec
from fedunlearn.federation.strategy import Clients, Tensors, UnlearningStrategy
from fedunlearn.federation.totals import Total
from fedunlearn.randomness import derive
from fedunlearn.settings.config import RunConfig, TrainConfig
from fedunlearn.settings.schema import Count, Share
from fedunlearn.tasks.base import EVERY

FIRST = "first/"  # prefix of the first round's average without the forgotten clients, in the server's memory


@dataclass(frozen=True)
class FedEraser:
    """Hyper-parameters."""

    # r: share of the local epochs E that calibration takes, E_cali = ⌈r E⌉; without effect on a single one
    ratio: Share = 0.5
    # Δt: every how many-th round of training is retraced, whatever unlearn.rounds is; null: as many as these are
    interval: Count | None = 2


class Historian(UnlearningStrategy):
    """Watches the original training. `memory`: `norms` [rounds, layers], `models` [rounds], and the first average."""

    def __init__(self, settings: object, spec: StageSpec, pack: wire.Pack, device: torch.device) -> None:
        super().__init__(settings, spec, pack, device)
        self._sent: Tensors = {}
        self._remaining, self._heard = Total(), 0

    def prepare(self, model: Tensors, clients: Clients) -> Tensors:
        """An empty record of every round."""
        rounds, layers = self.spec.training.rounds, len(parameters(self))
        self.memory = {"norms": torch.zeros(rounds, layers, device=self.device), "models": torch.zeros(rounds)}
        return model

    def before_round(self, number: int, model: Tensors) -> Tensors:
        """oldGM."""
        self._sent, self._remaining, self._heard = model, Total(), 0
        return model

    def on_client_model(self, client: int, model: Tensors, weight: float) -> None:
        """Average the clients that remain, where some do not."""
        self._heard += 1
        if self.spec.forget_clients and client not in self.spec.forget_clients:
            self._remaining.add(model, weight, {})

    def after_round(self, number: int, model: Tensors) -> Tensors:
        """Record ‖oldCM − oldGM‖ of every layer; zero where nobody who remains took part."""
        old = model
        if self.spec.forget_clients:
            old = self._remaining.mean(self._sent) if self._remaining.weight else self._sent
            if number == 1:
                self.memory |= {FIRST + name: value for name, value in old.items()}
        self.memory["norms"][number - 1] = torch.stack([(old[n] - self._sent[n]).norm() for n in parameters(self)])
        self.memory["models"][number - 1] = self._heard
        return model


class CalibratingServer(UnlearningStrategy):
    """Rebuilds the model; `memory` holds the norms of the stored rounds, one for every round to come."""

    settings: FedEraser

    def __init__(self, settings: FedEraser, spec: StageSpec, pack: wire.Pack, device: torch.device) -> None:
        super().__init__(settings, spec, pack, device)
        self._sent: Tensors = {}

    def prepare(self, model: Tensors, clients: Clients) -> Tensors:
        """Pick the stored rounds and go back to the start."""
        norms, models = self.memory["norms"], self.memory["models"]
        first = {name.removeprefix(FIRST): value for name, value in self.memory.items() if name.startswith(FIRST)}
        stored = stored_rounds(len(norms), self.spec.training.rounds + bool(first), self.settings.interval)
        self.notes = {"stored_rounds": [number + 1 for number in stored], "stored_bytes": 4 * norms[stored].numel()}
        if first:
            whole = sum(value.numel() * value.element_size() for value in model.values())
            self.notes["stored_bytes"] = whole * int((models[stored] + 1).sum())
        self.memory = {"norms": norms[stored[1:] if first else stored]}
        return first or {name: value.clone() for name, value in self.initial().items()}

    def initial(self) -> Tensors:
        """The model that the original training started from."""
        return self.new_model(derive(self.spec.seed, "train")).state_dict()

    def training(self, number: int) -> TrainConfig:
        """Calibration takes fewer epochs."""
        asked = self.spec.training
        return replace(asked, local_epochs=math.ceil(self.settings.ratio * asked.local_epochs))

    def before_round(self, number: int, model: Tensors) -> Tensors:
        """newGM."""
        self._sent = model
        return model

    def after_round(self, number: int, model: Tensors) -> Tensors:
        """The calibrated step."""
        norms = dict(zip(parameters(self), self.memory["norms"][number - 1], strict=True))
        return {**model, **{name: calibrated(self._sent[name], model[name], norm) for name, norm in norms.items()}}


def parameters(server: UnlearningStrategy) -> list[str]:
    """The layers: names of the parameters, without statistics of normalisation layers."""
    return [name for name, _ in server.new_model(0).named_parameters()]


def stored_rounds(trained: int, count: int, interval: int | None) -> list[int]:
    """`count` of the rounds 0 … trained−1: the first and every Δt-th after it, Δt = ⌊trained / count⌋ if not given."""
    interval = interval or trained // max(1, count)
    return [interval * number for number in range(count)]


def retraced(config: RunConfig) -> int:
    """How many stored rounds are calibrated: at client level, all but the first."""
    interval: int | None = config.method.settings.interval
    if interval is None:
        return config.unlearn.rounds
    return math.ceil(config.train.rounds / interval) - bool(config.request.clients)


def calibrated(start: Tensor, average: Tensor, norm: Tensor) -> Tensor:
    """A step from `start` in the direction of `average`, of length `norm`; none if there is no direction."""
    step = average - start
    length: Tensor = step.norm()
    return start + step * (norm / length.clamp_min(1e-12))


def check(settings: FedEraser, config: RunConfig) -> None:
    """Raises RequestError if the original training has too few rounds to be retraced."""
    rounds, first = config.unlearn.rounds, bool(config.request.clients)
    if settings.interval and retraced(config) == 0:
        raise RequestError(
            f"method.interval={settings.interval} leaves no round to calibrate of train.rounds={config.train.rounds}, "
            "since at client level the first stored round is taken as it is"
        )
    if settings.interval is None and rounds + first > config.train.rounds:
        given = f"unlearn.rounds={rounds}" + (" and, at client level, one without calibration" if first else "")
        raise RequestError(
            f"method federaser retraces rounds of the original training: {given} are more than "
            f"train.rounds={config.train.rounds}"
        )


METHODS = {
    "federaser": Method(
        name="federaser",
        title="FedEraser",
        settings=FedEraser,
        grid={"unlearn.lr": (None, 0.01, 0.1), "unlearn.local_epochs": (None, 2)},
        objective=lambda settings, spec: Objective(retain_only),
        strategy=CalibratingServer,
        tasks=EVERY,
        rounds=retraced,
        check=check,
        history=Historian,
    )
}
