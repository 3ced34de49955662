"""The cores of a job at work on its audits: as many calls at a time as the job has workers, each by one thread.

PyTorch, OpenMP and BLAS would each start a thread for every core of the machine, whoever else is at work there. One
thread for each call keeps to the job's share, and the bits do not depend on how many calls are made at a time.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from threading import local
from typing import Any

from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from fedunlearn.engines.base import quiet_torch
from fedunlearn.engines.workers import Call, Workers


class Crew:
    """`count` workers. Only its own calls should use `side_by_side`: the thread that does lends a hand itself."""

    def __init__(self, workers: Workers) -> None:
        self._workers, self._thread = workers, local()

    def submit(self, call: Callable[[], Any]) -> Call[Any]:
        """Have `call` made as soon as a worker is free."""
        return self._workers.submit(partial(self._made, call))

    def side_by_side(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        """What `calls` return, in their order; by this thread and by those workers that are free meanwhile.

        Raises what the first of them raises that fails. No call waits for one that has not begun, so that calls may
        make calls.
        """
        left = deque(call if isinstance(call, Call) else Call(call) for call in calls)
        shared = list(left)
        for _ in shared[1:]:
            self._workers.submit(partial(self._made, partial(_work_off, left)))
        _work_off(left)
        return [call.result() for call in shared]

    def _made(self, call: Callable[[], Any]) -> Any:
        if not hasattr(self._thread, "limits"):  # OpenMP counts the threads of every thread apart
            self._thread.limits = threadpool_limits(1, user_api="openmp")
        return call()


@contextmanager
def crew(count: int) -> Iterator[Crew]:
    """A crew of `count`, for as long as the block runs."""
    with quiet_torch(), threadpool_limits(1), warnings.catch_warnings():
        # said of attacks and probes, whose last digits do not matter; filters are not a thread's own
        warnings.simplefilter("ignore", ConvergenceWarning)
        workers = Workers(count)
        try:
            yield Crew(workers)
        finally:
            workers.close()


def _work_off(left: deque[Call[Any]]) -> None:
    while True:
        try:
            call = left.popleft()
        except IndexError:
            return
        call.run()
