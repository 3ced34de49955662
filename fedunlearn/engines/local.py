"""engine=local: worker threads or processes on this machine, each training one client at a time."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from typing import Literal

from flwr.app import Context, Message, RecordDict
from flwr.serverapp import ServerApp

from fedunlearn.engines import processes
from fedunlearn.engines.base import Engine, Say, Workers, worker_count
from fedunlearn.engines.grid import Crew, LocalGrid, Threads, Work, answers
from fedunlearn.engines.processes import Processes
from fedunlearn.federation import wire
from fedunlearn.federation.client import client_app
from fedunlearn.federation.federation import Federation
from fedunlearn.settings.config import RunConfig
from fedunlearn.settings.schema import Positive, Share

FEW = 2  # workers that the interpreter's lock does not hold up
WORTH = 50  # messages that cost about as much as the start of a worker process, 50 ms


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
    stop, count, clients = Event(), worker_count(settings), len(federation.parts)
    answer = answers(client_app(lambda: federation, wire.by_reference, stop.is_set, settings.client_timeout))
    chosen = backend(federation, settings, say)
    if chosen == "processes":
        return Processes(answer, count, clients)
    threads = Threads(answer, count, stop)
    return Either(threads, lambda: Processes(answer, count, clients)) if chosen == "auto" else threads


def backend(federation: Federation, settings: Local, say: Say) -> str:
    """What workers are: `threads`, `processes`, or `auto`, which is threads until processes are worth their start.

    A message costs a process more of a core than a thread, and the interpreter's lock costs two threads little. More
    of them wait for each other where clients hold it for much of their time (see `experiments/benchmarks/lock.py`).
    """
    why = "" if settings.backend == "threads" else processes.hindrance(federation.device)
    if settings.backend == "processes":
        if why:
            say(f"workers are threads, not processes: {why}")
        return "threads" if why else "processes"
    few = worker_count(settings) <= FEW
    return "threads" if settings.backend == "threads" or why or few or not has_lock() else "auto"


def has_lock() -> bool:
    """Does one thread at a time hold the interpreter, as everywhere before free-threaded Python?"""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


class Either:
    """Threads first; processes from the first quiet moment after `WORTH` messages per worker, for the rest of a stage.

    Replies are the same bits, so that it does not matter where in a stage that is.
    """

    def __init__(self, threads: Threads, make: Callable[[], Crew]) -> None:
        self.count = threads.count
        self._crew: Crew = threads
        self._make: Callable[[], Crew] | None = make
        self._left = WORTH * threads.count
        self._under_way: deque[Work] = deque()

    def submit(self, group: list[Message], contexts: list[Context]) -> Work:
        """As in Crew."""
        while self._under_way and self._under_way[0].done():
            self._under_way.popleft()
        if self._make and self._left <= 0 and not self._under_way:
            self._crew.close(early=False)
            self._crew, self._make = self._make(), None
        work: Work = self._crew.submit(group, contexts)
        if self._make:
            self._left -= 1
            self._under_way.append(work)
        return work

    def give_up(self, work: Work) -> None:
        """As in Crew. There is a thread that may hold whatever it likes from now on: no process is copied any more."""
        self._crew.give_up(work)
        self._make = None

    def close(self, early: bool) -> None:
        """As in Crew."""
        self._crew.close(early)


ENGINES = {"local": Engine("local", Local, run, wire.by_reference, about="worker threads or processes on this machine")}
