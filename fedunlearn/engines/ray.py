"""Flower's own simulation (Ray). The only place that calls `run_simulation`, which Flower intends to remove."""

from __future__ import annotations

import math
import os
from typing import Any

from flwr.app import Context
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from fedunlearn.engines.ordered_grid import OrderedGrid
from fedunlearn.settings.config import EngineConfig


def simulate(app: ServerApp, clients: ClientApp, count: int, engine: EngineConfig, workers: int) -> None:
    """Run both apps with `count` clients on Ray actors. Unless a cluster is named, nothing leaves the machine."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray's own advice: do not hide GPUs
    from flwr.simulation import run_simulation

    ordered = ServerApp()

    @ordered.main()
    def main(grid: Grid, context: Context) -> None:
        app(OrderedGrid(grid, count, window=4 * workers), context)

    run_simulation(ordered, clients, count, backend_config=backend(engine, workers))


def backend(engine: EngineConfig, workers: int) -> Any:
    """What Flower's Ray backend takes: resources of a client, and how to reach or start Ray.

    Ray runs as many clients at a time as the resources of the machine, or of the cluster, allow.
    """
    resources = {"num_cpus": engine.client_cpus, "num_gpus": engine.client_gpus}
    quiet = {"include_dashboard": False, "log_to_driver": False}
    if engine.address is not None:
        return {"client_resources": resources, "init_args": {"address": engine.address, "log_to_driver": False}}
    return {"client_resources": resources, "init_args": {"num_cpus": math.ceil(workers * engine.client_cpus), **quiet}}
