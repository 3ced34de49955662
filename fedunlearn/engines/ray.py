"""engine=ray: Flower's own simulation (Ray). Only here is `run_simulation` called, which Flower intends to remove."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Any

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedunlearn.engines.base import Engine, Say, Workers, worker_count
from fedunlearn.engines.ordered_grid import OrderedGrid
from fedunlearn.federation import wire
from fedunlearn.federation.client import client_app
from fedunlearn.federation.federation import Federation, federation_from_json
from fedunlearn.settings.config import RunConfig
from fedunlearn.settings.schema import NonNegative, Positive, Share


@dataclass(frozen=True)
class Ray:
    """Settings."""

    workers: Workers = "auto"  # clients at a time; auto: one per core here. With `address`: what the cluster fits
    client_timeout: Positive | None = None  # seconds for a client in a round, or it is left out; null: no limit
    min_replies: Share = 0.5  # share of the clients asked that must answer, or the run stops (the same command goes on)
    profile: bool = False  # show where the rounds' time went: a table, and figures/profile.png
    client_cpus: Positive = 1.0  # cores reserved for a client
    client_gpus: NonNegative = 0.0  # share of a GPU reserved for a client: 0.25 puts four clients on each GPU
    address: str | None = None  # a running cluster: auto, or HOST:PORT of its head; null: Ray is started here


def run(app: ServerApp, federation: Federation, config: RunConfig, say: Say) -> None:
    """Both apps on Ray actors, each of which opens the federation once. Unless a cluster is named, all is local."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray's own advice: do not hide GPUs
    from flwr.simulation import run_simulation

    settings, count = config.engine.settings, len(federation.parts)
    workers = worker_count(settings)
    opened = partial(federation_from_json, json.dumps(config.as_dict(), sort_keys=True))
    ordered, stopped = ServerApp(), Event()

    @ordered.main()
    def main(grid: Grid, context: Context) -> None:
        app(OrderedGrid(grid, count, 4 * workers, stopped.is_set), context)

    clients = client_app(opened, wire.as_bytes, limit=settings.client_timeout)
    try:
        run_simulation(ordered, clients, count, backend_config=backend(settings, workers))
    finally:
        stopped.set()  # after Ctrl-C the server's thread would wait for replies for ever, and the process for it


def backend(settings: Ray, workers: int) -> Any:
    """What Flower's Ray backend takes: resources of a client, and how to reach or start Ray.

    Ray runs as many clients at a time as the resources of the machine, or of the cluster, allow.
    """
    resources = {"num_cpus": settings.client_cpus, "num_gpus": settings.client_gpus}
    quiet = {"include_dashboard": False, "log_to_driver": False}
    if settings.address is not None:
        return {"client_resources": resources, "init_args": {"address": settings.address, "log_to_driver": False}}
    cores = math.ceil(workers * settings.client_cpus)
    return {"client_resources": resources, "init_args": {"num_cpus": cores, **quiet}}


ENGINES = {
    "ray": Engine(
        "ray", Ray, run, wire.as_bytes, about="Flower's own simulation engine, for several GPUs or a Ray cluster"
    )
}
