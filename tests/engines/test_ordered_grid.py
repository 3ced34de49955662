"""Replies of a grid that finishes out of order, forgets some, and whose nodes come late."""

from threading import Thread
from types import SimpleNamespace

import flwr.simulation
import pytest

from fedunlearn.engines import ordered_grid, ray
from fedunlearn.engines.ordered_grid import OrderedGrid
from fedunlearn.errors import RunError


class Unordered:
    """Answers the newest message first, one per look; never those in `lost`."""

    def __init__(self, lost=(), nodes_after=0):
        self.lost, self.waiting, self.most, self.looks, self.nodes_after = lost, [], 0, 0, nodes_after

    def push_messages(self, messages):
        names = [str(message) for message in messages]
        self.waiting += names
        self.most = max(self.most, len(self.waiting))
        return names

    def pull_messages(self, names):
        ready = [name for name in reversed(self.waiting) if name in names and int(name) not in self.lost][:1]
        self.waiting = [name for name in self.waiting if name not in ready]
        return [SimpleNamespace(metadata=SimpleNamespace(reply_to_message_id=name), name=name) for name in ready]

    def get_node_ids(self):
        self.looks += 1
        return [7, 8] if self.looks > self.nodes_after else [7]


def names(replies):
    return [int(reply.name) for reply in replies]


def test_replies_come_in_order_with_few_on_their_way():
    grid = Unordered()
    assert names(OrderedGrid(grid, 2, window=3).send_and_receive(range(10))) == list(range(10))
    assert grid.most == 3


def test_messages_are_made_when_there_is_room():
    made = []
    replies = OrderedGrid(Unordered(), 2, window=2).send_and_receive(made.append(i) or i for i in range(10))
    next(replies)
    assert made == [0, 1]


def test_what_does_not_come_in_time_is_skipped(monkeypatch):
    monkeypatch.setattr(ordered_grid, "PAUSE", 0.001)
    grid = OrderedGrid(Unordered(lost=(2, 5)), 2, window=4)
    assert names(grid.send_and_receive(range(8), timeout=0.05)) == [0, 1, 3, 4, 6, 7]


def test_nodes_are_waited_for(monkeypatch):
    monkeypatch.setattr(ordered_grid, "PAUSE", 0.001)
    assert OrderedGrid(Unordered(nodes_after=3), 2, 4).get_node_ids() == [7, 8]
    monkeypatch.setattr(ordered_grid, "PATIENCE", 0.01)
    with pytest.raises(RunError, match="only 1 of 2 nodes appeared"):
        OrderedGrid(Unordered(nodes_after=10**9), 2, 4).get_node_ids()


def test_nobody_is_waited_for_once_all_is_stopped():
    grid = OrderedGrid(Unordered(lost=(0,), nodes_after=10**9), 2, 4, stopped=lambda: True)
    with pytest.raises(RunError, match="the simulation was stopped"):
        list(grid.send_and_receive([0], timeout=5))
    with pytest.raises(RunError, match="the simulation was stopped"):
        grid.get_node_ids()


def test_ctrl_c_ends_the_servers_thread_of_ray(monkeypatch):
    """Flower leaves it alone, and no process ends before it does."""
    threads = []

    def simulation(server, clients, count, backend_config):
        threads.append(Thread(target=server, args=(Unordered(lost=(0,)), None), daemon=True))
        threads[0].start()
        raise KeyboardInterrupt

    def app(grid, context):
        with pytest.raises(RunError):
            list(grid.send_and_receive([0]))

    monkeypatch.setattr(flwr.simulation, "run_simulation", simulation)
    config = SimpleNamespace(engine=SimpleNamespace(settings=ray.Ray(workers=1)), as_dict=dict)
    with pytest.raises(KeyboardInterrupt):
        ray.run(app, SimpleNamespace(parts=[[0]]), config, print)
    threads[0].join(20)
    assert not threads[0].is_alive()
