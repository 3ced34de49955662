"""Figures and pages of a sweep's runs, drawn in processes of their own while the next run trains."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from pathlib import Path

from joblib import cpu_count

from fedunlearn.errors import RequestError
from fedunlearn.report import sweep

YIELDING = 10  # niceness: training goes first
MOST = 4  # processes that draw: each holds some 250 MB
LOOK = 0.5  # seconds between two looks for the parent


class BackgroundRenderer:
    """Draws what is finished; whoever holds it asks at the end what could not be drawn."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would inherit the locks of whatever threads there are
        # A second process starts where one cannot keep up: at the end of a sweep, whoever waits waits for these alone.
        self._processes = min(MOST, cpu_count())
        self._pool = ProcessPoolExecutor(self._processes, context, initializer=_stand_back)
        self._drawings: list[Future[list[str]]] = []

    def make_ready(self) -> None:
        """Start the processes now: what they import takes seconds, which else the end of the sweep would wait for."""
        for _ in range(self._processes):
            self._pool.submit(_ready)

    def draw(self, folder: Path) -> None:
        """Have the figures and the page of the run in `folder` drawn, if it is done."""
        self._drawings.append(self._pool.submit(drawn, folder))

    def finish(self) -> list[str]:
        """Wait for all drawings; a sentence for each run whose figures cannot be drawn."""
        try:
            return list(self._problems())
        finally:
            self._pool.shutdown()

    def _problems(self) -> Iterator[str]:
        for drawing in self._drawings:
            try:
                yield from drawing.result()
            except (OSError, BrokenProcessPool) as error:  # a full disk, say; fedunlearn-report draws what is missing
                yield f"figures could not be drawn: {error!r}; fedunlearn-report does it once that is mended"


def drawn(folder: Path) -> list[str]:
    """Draw the run in `folder`, and say what could not be drawn."""
    try:
        return sweep.draw_runs(folder)[1]
    except RequestError:  # a job that left nothing behind, which the sweep's report says
        return []


def _ready() -> None:
    """Whoever is asked this has imported all that drawing needs."""


def _stand_back() -> None:
    """Ctrl-C is for the process that trains; without it, also if it was killed, there is nothing to draw for."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(YIELDING)


def end_with_parent() -> None:
    """Have this process, which multiprocessing or joblib started, end soon after its parent, however that ends."""
    parent = multiprocessing.parent_process()
    if parent and parent.pid == os.getppid():  # a process of a fork server has another one
        _watched(os.getpid(), parent.pid)


@cache
def _watched(own: int, parent: int) -> None:
    """One thread in each process, however often it is asked for."""
    threading.Thread(target=_leave_after, args=(parent,), daemon=True).start()


def _leave_after(parent: int) -> None:
    while os.getppid() == parent:  # of joblib's, nothing else says whether it is there
        time.sleep(LOOK)
    os._exit(1)
