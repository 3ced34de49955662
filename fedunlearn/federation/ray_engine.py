"""Flower's own simulation (Ray). The only place that calls `run_simulation`, which Flower intends to remove.

Replies arrive here in the order in which they are finished and node ids are random, so the grid is wrapped to put
replies in the order of the clients' numbers before anything is added up.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.run import Run


class OrderedGrid(Grid):
    """Another grid, with replies in the order of the messages that they answer."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """All replies, in the order of `messages`."""
        sent = list(messages)
        place = {message.metadata.dst_node_id: position for position, message in enumerate(sent)}
        replies = self._grid.send_and_receive(sent, timeout=timeout)
        return sorted(replies, key=lambda reply: place[reply.metadata.src_node_id])

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

    def get_node_ids(self) -> Iterable[int]:
        """Passed on."""
        return self._grid.get_node_ids()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Passed on."""
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Passed on."""
        return self._grid.pull_messages(message_ids)


def simulate(app: ServerApp, clients: ClientApp, count: int, workers: int) -> None:
    """Run both apps with `count` clients on `workers` Ray actors of one CPU each. Nothing leaves the machine."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray's own advice: do not hide GPUs
    from flwr.simulation import run_simulation

    ordered = ServerApp()

    @ordered.main()
    def main(grid: Grid, context: Context) -> None:
        app(OrderedGrid(grid), context)

    resources = {"num_cpus": 1, "num_gpus": 0.0}
    init = {"num_cpus": workers, "include_dashboard": False, "log_to_driver": False}
    run_simulation(
        ordered,
        clients,
        count,
        backend_config={"client_resources": resources, "init_args": init},  # type: ignore[dict-item]
    )
