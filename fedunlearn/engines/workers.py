"""Worker threads that can be given up: a call that never returns costs one thread, not the run.

The pool of the standard library waits for all of its threads, at the latest when the interpreter ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread, current_thread
from typing import Generic, TypeVar

T = TypeVar("T")
PATIENCE = 30.0  # seconds to wait at the end for a thread that is still at work


class Overdue(Exception):  # noqa: N818 (about a call that may be in order)
    """A call was given up because it took too long."""


class Call(Generic[T]):
    """A call that a worker makes, now or later."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._future: Future[T] = Future()
        self._begun = Event()
        self._since = 0.0
        self.thread: Thread | None = None  # at work on it
        self.given_up = False

    def run(self) -> None:
        """Make the call and keep what comes of it."""
        self.thread, self._since = current_thread(), time.monotonic()
        self._begun.set()
        try:
            self._future.set_result(self._call())
        except BaseException as error:  # handed to whoever asks for the result, KeyboardInterrupt included
            self._future.set_exception(error)

    def done(self) -> bool:
        """Is there a result (or an exception)?"""
        return self._future.done()

    def result(self, limit: float | None = None) -> T:
        """What the call returned; raises what it raised, or Overdue once it has run for `limit` seconds."""
        if limit is None:
            return self._future.result()
        self._begun.wait()
        try:
            return self._future.result(max(0.0, self._since + limit - time.monotonic()))
        except TimeoutError:
            if self._future.done():  # the call's own
                raise
            raise Overdue from None


class Workers:
    """`count` daemon threads that take calls in the order in which they are submitted."""

    def __init__(self, count: int) -> None:
        self._jobs: SimpleQueue[Call | None] = SimpleQueue()
        self._threads: list[Thread] = []
        for _ in range(count):
            self._hire()

    def submit(self, call: Callable[[], T]) -> Call[T]:
        """Have a worker make `call` as soon as one is free."""
        job = Call(call)
        self._jobs.put(job)
        return job

    def give_up(self, job: Call) -> None:
        """Forget about the thread that is at work on `job`, and take on another in its place."""
        job.given_up = True
        self._threads = [thread for thread in self._threads if thread is not job.thread]
        self._hire()

    def close(self) -> None:
        """Take no more calls, drop those that have not begun, and wait for the others, but not for ever."""
        with suppress(Empty):
            while True:
                self._jobs.get_nowait()
        for _ in self._threads:
            self._jobs.put(None)
        end = time.monotonic() + PATIENCE
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        while any(map(_ending, self._threads)) and time.monotonic() < end:
            time.sleep(0.001)

    def _hire(self) -> None:
        thread = Thread(target=self._work, name="client", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.run()
            if job.given_up:
                return


def _ending(thread: Thread) -> bool:
    """Has the thread left Python, but not yet the operating system? (Only Linux can tell.)

    Until Python 3.13, `join` does not wait for that. There PyTorch still releases Python objects, and an interpreter
    that ends meanwhile is aborted.
    """
    return not thread.is_alive() and Path(f"/proc/self/task/{thread.native_id}").exists()
