"""Flower's own grids, made to answer in order and a few replies at a time.

There, replies arrive in the order in which they are finished, all of a round are held at once, and nodes may not be
there yet when the server starts. Sums of floating point numbers depend on their order, so replies are put back into
that of the messages; only a window of messages is on its way at a time.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from flwr.app import Message
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from fedunlearn.errors import RunError

PAUSE = 0.05  # seconds between two looks for replies
PATIENCE = 120.0  # seconds for the nodes to appear


class OrderedGrid(Grid):
    """Another grid, once it has `nodes` nodes, with at most `window` messages on their way.

    Once `stopped()`, nobody will reply: whoever waits gets a RunError.
    """

    def __init__(self, grid: Grid, nodes: int, window: int, stopped: Callable[[], bool] = lambda: False) -> None:
        self._grid, self._nodes, self._window, self._stopped = grid, nodes, window, stopped
        self.roster: list[int] = []  # node ids of client 0, 1, …, once they have been asked

    def get_node_ids(self) -> list[int]:
        """All nodes, as soon as they are there. Raises RunError if they do not appear."""
        end = time.monotonic() + PATIENCE
        while len(found := list(self._grid.get_node_ids())) < self._nodes:
            if time.monotonic() > end:
                raise RunError(f"only {len(found)} of {self._nodes} nodes appeared within {PATIENCE:g} s")
            self._pause()
        return found

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """Replies in the order of `messages`, lazily; those that do not come within `timeout` seconds are skipped."""
        end = float("inf") if timeout is None else time.monotonic() + timeout
        waiting: deque[str] = deque()
        arrived: dict[str, Message] = {}
        for message in messages:
            waiting.extend(self._grid.push_messages([message]))
            if len(waiting) >= self._window:
                yield from self._first(waiting, arrived, end)
        while waiting:
            yield from self._first(waiting, arrived, end)

    def _first(self, waiting: deque[str], arrived: dict[str, Message], end: float) -> Iterator[Message]:
        """The reply to the message that waits longest, or nothing if it is too late."""
        while waiting[0] not in arrived:
            replies = list(self._grid.pull_messages([name for name in waiting if name not in arrived]))
            arrived.update({reply.metadata.reply_to_message_id: reply for reply in replies})
            if not replies and time.monotonic() > end:
                break
            if not replies:
                self._pause()
        name = waiting.popleft()
        if name in arrived:
            yield arrived.pop(name)

    def _pause(self) -> None:
        if self._stopped():
            raise RunError("the simulation was stopped")
        time.sleep(PAUSE)

    def set_run(self, run: Run) -> None:
        """Passed on."""
        self._grid.set_run(run)

    @property
    def run(self) -> Run:
        """Passed on."""
        return self._grid.run

    def create_message(self, *args: object, **kwargs: object) -> Message:
        """Passed on."""
        return self._grid.create_message(*args, **kwargs)  # type: ignore[arg-type]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Passed on."""
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Passed on."""
        return self._grid.pull_messages(message_ids)
