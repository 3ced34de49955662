"""engine=local: worker threads or processes on this machine, each training one client at a time."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Event
from typing import Literal

from flwr.app import Context, RecordDict
from flwr.serverapp import ServerApp

from fedunlearn.engines import processes
from fedunlearn.engines.base import Engine, Say, Workers, worker_count
from fedunlearn.engines.grid import Crew, LocalGrid, Threads, answers
from fedunlearn.engines.processes import Processes
from fedunlearn.federation import wire
from fedunlearn.federation.client import client_app
from fedunlearn.federation.federation import Federation
from fedunlearn.settings.config import RunConfig
from fedunlearn.settings.schema import Positive, Share


@dataclass(frozen=True)
class Local:
    """Settings."""

    workers: Workers = "auto"  # clients trained at the same time; auto: one per core. Any number gives the same bits
    backend: Literal["auto", "threads", "processes"] = "auto"  # what workers are; auto: what is faster. The same bits
    client_timeout: Positive | None = None  # seconds for a client in a round, or it is left out; null: no limit
    min_replies: Share = 0.5  # share of the clients asked that must answer, or the run stops (the same command goes on)
    profile: bool = False  # show where the rounds' time went: a table, and figures/profile.png


def run(app: ServerApp, federation: Federation, config: RunConfig, say: Say) -> None:
    """All clients on this machine, several at a time."""
    clients = len(federation.parts)
    with LocalGrid(
        crew(federation, config.engine.settings, say), clients, config.engine.settings.client_timeout
    ) as grid:
        app(grid, Context(1, 1, {}, RecordDict(), {}))


def crew(federation: Federation, settings: Local, say: Say) -> Crew:
    """The workers."""
    stop, count = Event(), worker_count(settings)
    answer = answers(client_app(lambda: federation, wire.by_reference, stop.is_set, settings.client_timeout))
    if backend(federation, settings, say) == "processes":
        return Processes(answer, count, len(federation.parts))
    return Threads(answer, count, stop)


def backend(federation: Federation, settings: Local, say: Say) -> str:
    """What workers are."""
    if settings.backend == "threads":
        return "threads"
    why = processes.hindrance(federation.device)
    if settings.backend == "processes" and why:
        say(f"workers are threads, not processes: {why}")
    return "threads" if why or settings.backend == "auto" else "processes"


ENGINES = {"local": Engine("local", Local, run, wire.by_reference, about="worker threads or processes on this machine")}
