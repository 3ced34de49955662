"""Which of its retain samples a client keeps for a stage: the client's side of a selector (see `fedunlearn.select`).

The server asks for it in a query before anything else, with the model that the stage begins with. What the client
selects stays with it, and the reply says nothing of it. It depends on that model, the client's data and its own random
stream alone, so that a stage that is interrupted goes on with the same selection.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fedunlearn.errors import RequestError
from fedunlearn.federation.federation import ClientData, Federation
from fedunlearn.federation.method import Method
from fedunlearn.federation.repair import Repair
from fedunlearn.federation.sgd import observed
from fedunlearn.federation.spec import Plugin, StageSpec
from fedunlearn.models.base import Network
from fedunlearn.randomness import torch_stream
from fedunlearn.select.base import Selector, reduced
from fedunlearn.settings import registry
from fedunlearn.settings.config import RunConfig
from fedunlearn.settings.schema import parse, plain

EVERYTHING = "all"


def kept(model: Network, client: ClientData, spec: StageSpec) -> Tensor:
    """The positions of a client's forget samples and of the retain samples that it selects, int64 [m], ascending."""
    assert spec.select
    selector, settings = found(spec.select)
    stream = torch_stream(spec.seed, spec.stage, "selection", client.number)
    retain = (~client.forget).nonzero()[:, 0]
    points = _points(model, client, retain, settings) if selector.looks else torch.empty(len(retain), 0)
    every = by_class(client, retain)
    counts = selector.allot(list(map(len, every)), settings)
    chosen = [
        rows[selector.choose(points[rows], count, settings, stream)] if count < len(rows) else rows
        for rows, count in zip(every, counts, strict=True)
    ]
    selected = torch.cat([torch.empty(0, dtype=torch.int64), *chosen]).to(retain.device)
    return torch.cat([client.forget.nonzero()[:, 0], retain[selected]]).sort().values


def found(chosen: Plugin) -> tuple[Selector, Any]:
    """The selector and its settings."""
    selector = registry.find(Selector, chosen.name)
    return selector, parse(selector.settings, chosen.settings, "select")


def _points(model: Network, client: ClientData, retain: Tensor, settings: Any) -> Tensor:
    if not len(retain):
        return torch.empty(0, 0)
    return reduced(observed(model, client, retain)["features"], settings.components)


def by_class(client: ClientData, retain: Tensor) -> list[Tensor]:
    """For each class that the client retains samples of, the numbers of these in `retain`; on the CPU."""
    groups = client.groups[retain].cpu()
    return [(groups == group).nonzero()[:, 0] for group in torch.unique(groups).tolist()]


def only(client: ClientData, positions: Tensor) -> ClientData:
    """A client that has nothing but its samples at these positions."""
    parts = {name: getattr(client, name)[positions] for name in ("rows", "targets", "groups", "forget")}
    return replace(client, **parts)


def replayed(federation: Federation, spec: StageSpec) -> int:
    """How many retain samples the clients of a stage train on, all together. Only a simulation can know."""
    held = federation.of_stage(spec)
    clients = [held.client(number) for number in range(len(held.parts))]
    sizes = [list(map(len, by_class(each, (~each.forget).nonzero()[:, 0]))) for each in clients]
    if spec.select is None:
        return sum(map(sum, sizes))
    selector, settings = found(spec.select)
    return sum(sum(selector.allot(each, settings)) for each in sizes)


def of_method(config: RunConfig) -> Plugin | None:
    """What clients select by while they unlearn, if the run's method goes on training the original model."""
    method = registry.find(Method, config.method.name)
    trains = method.start == "original" and method.rounds(config) > 0
    return _asked(config) if trains else None


def of_repair(config: RunConfig) -> Plugin | None:
    """What clients select by while they repair a model, if the run's repair trains."""
    trains = registry.find(Repair, config.repair.name).rounds(config.repair.settings) > 0
    return _asked(config) if trains else None


def _asked(config: RunConfig) -> Plugin | None:
    chosen = config.select
    return None if chosen.name == EVERYTHING else Plugin(chosen.name, plain(chosen.settings))


def check(config: RunConfig) -> None:
    """Is there a stage for the selector that is asked for? Raises RequestError."""
    if _asked(config) and not (of_method(config) or of_repair(config)):
        raise RequestError(
            f"select={config.select.name} has no stage to select for: method {config.method.name} does not go on "
            f"training the original model, and repair={config.repair.name} does not train"
        )
