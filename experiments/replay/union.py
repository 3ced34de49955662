"""What all clients keep together, held against all that they retain together.

Only a simulation can know: no server sees the clients' features. Points are features of the original model, in
principal components of all retain samples together.
"""

from __future__ import annotations

import time
from dataclasses import replace

import torch

from fedunlearn.engines.base import quiet_torch
from fedunlearn.federation import selection
from fedunlearn.federation.federation import ClientData, Federation
from fedunlearn.federation.sgd import observed
from fedunlearn.federation.spec import StageSpec
from fedunlearn.models.base import Network
from fedunlearn.runs import pipeline
from fedunlearn.runs.console import Console
from fedunlearn.runs.resources import Slot, settled
from fedunlearn.runs.steps import UNLEARNED, Training
from fedunlearn.select.base import reduced
from fedunlearn.select.distance import energy_distance
from fedunlearn.settings.config import RunConfig

COMPONENTS = 16


def measured(config: RunConfig) -> dict[str, float]:
    """`distance`: energy distance of the union of what clients keep to all retain samples, 0 for all of them;
    `selecting`: seconds that all clients together take to select. From the stages in the store."""
    outcome = pipeline.models_alone(settled(config, Slot()), Console(quiet=True))
    work = outcome.of(UNLEARNED)[0].step.work
    assert isinstance(work, Training)
    if work.spec.select is None:
        return {"distance": 0.0, "selecting": 0.0}
    network = outcome.federation.models.fresh(0)
    network.load_state_dict(outcome.original.tensors)
    with quiet_torch(), torch.no_grad():
        return _of(outcome.federation, network, work.spec)


def _of(federation: Federation, network: Network, spec: StageSpec) -> dict[str, float]:
    clients = [federation.client(number) for number in range(len(federation.parts))]
    started = time.perf_counter()
    kept = [selection.kept(network, client, spec) for client in clients]
    seconds = time.perf_counter() - started
    rows = torch.cat([_retained(selection.only(*each)) for each in zip(clients, kept, strict=True)])
    every, targets, groups = (
        torch.cat([getattr(client, name)[~client.forget] for client in clients])
        for name in ("rows", "targets", "groups")
    )
    whole = replace(clients[0], rows=every, targets=targets, groups=groups, forget=torch.zeros(len(every)).bool())
    points = reduced(observed(network, whole, torch.arange(len(every)))["features"], COMPONENTS)
    return {"distance": energy_distance(points[torch.isin(every, rows)], points), "selecting": seconds}


def _retained(client: ClientData) -> torch.Tensor:
    return client.rows[~client.forget]
