"""engine=local: worker threads in this process, each training one client at a time."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Event

from flwr.app import Context, RecordDict
from flwr.serverapp import ServerApp

from fedunlearn.engines.base import Engine, Say, Workers, worker_count
from fedunlearn.engines.grid import LocalGrid
from fedunlearn.federation import wire
from fedunlearn.federation.client import client_app
from fedunlearn.federation.federation import Federation
from fedunlearn.settings.config import RunConfig
from fedunlearn.settings.schema import Positive, Share


@dataclass(frozen=True)
class Local:
    """Settings."""

    workers: Workers = "auto"  # clients trained at the same time; auto: one per core. Any number gives the same bits
    client_timeout: Positive | None = None  # seconds for a client in a round, or it is left out; null: no limit
    min_replies: Share = 0.5  # share of the clients asked that must answer, or the run stops (the same command goes on)
    profile: bool = False  # show where the rounds' time went: a table, and figures/profile.png


def run(app: ServerApp, federation: Federation, config: RunConfig, say: Say) -> None:
    """All clients in this process, several at a time."""
    stop, settings = Event(), config.engine.settings
    clients = client_app(lambda: federation, wire.by_reference, stop.is_set, settings.client_timeout)
    with LocalGrid(clients, len(federation.parts), worker_count(settings), stop, settings.client_timeout) as grid:
        app(grid, Context(1, 1, {}, RecordDict(), {}))


ENGINES = {"local": Engine("local", Local, run, wire.by_reference, about="worker threads in this process")}
