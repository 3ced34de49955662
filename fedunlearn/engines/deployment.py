"""engine=deployment: the SuperNodes of the Flower app that this process serves (`fedunlearn.runs.app`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache

from flwr.app import Context, RecordDict
from flwr.serverapp import Grid, ServerApp

from fedunlearn.engines.base import Common, Engine, Say, Workers
from fedunlearn.engines.ordered_grid import OrderedGrid
from fedunlearn.errors import RequestError
from fedunlearn.federation import wire
from fedunlearn.federation.federation import Federation
from fedunlearn.settings.config import RunConfig
from fedunlearn.settings.schema import Positive, Share

START = 60.0  # seconds before a SuperNode is at work
_GRID: ContextVar[Grid] = ContextVar("grid")  # of the Flower app that this process serves


@dataclass(frozen=True)
class Deployment:
    """Settings."""

    workers: Workers = "auto"  # threads for the server's own evaluation; auto: one per core
    client_timeout: Positive | None = None  # seconds for a client in a round, or it is left out; null: no limit
    min_replies: Share = 0.5  # share of the clients asked that must answer, or the run stops (the same command goes on)
    profile: bool = False  # show where the rounds' time went: a table, and figures/profile.png
    superlink: str | None = None  # name of the SuperLink in Flower's config.toml (flwr config list); null: its default


@contextmanager
def connected(grid: Grid) -> Iterator[None]:
    """Inside this, runs with engine=deployment have the clients behind `grid`."""
    token = _GRID.set(grid)
    try:
        yield
    finally:
        _GRID.reset(token)


def is_connected() -> bool:
    """Is this the process of a Flower app?"""
    return _GRID.get(None) is not None


def grid_of(nodes: int) -> Grid:
    """The app's grid, once `nodes` SuperNodes are there; the same one for all stages of a run."""
    grid = _GRID.get(None)
    if grid is None:
        raise RequestError("engine=deployment needs a Flower app to run in: use the command fedunlearn, or flwr run")
    return _ordered(grid, nodes)


@lru_cache(maxsize=1)
def _ordered(grid: Grid, nodes: int) -> OrderedGrid:
    return OrderedGrid(grid, nodes, window=nodes)


def run(app: ServerApp, federation: Federation, config: RunConfig, say: Say) -> None:
    """The SuperNodes do the clients' work."""
    app(grid_of(len(federation.parts)), Context(1, 1, {}, RecordDict(), {}))


def all_at_once(settings: Common, clients: int) -> int:
    """Every client has a machine of its own."""
    return clients


ENGINES = {
    "deployment": Engine(
        "deployment",
        Deployment,
        run,
        wire.as_bytes,
        START,
        all_at_once,
        about="a Flower app on a SuperLink and its SuperNodes: one SuperNode for every client",
    )
}
