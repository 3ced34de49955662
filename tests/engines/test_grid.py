import threading

import pytest
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fedunlearn.engines.grid import FIRST_NODE, LocalGrid, Threads, answers


def echo_app(log=None, fail_on=None):
    app = ClientApp()

    @app.train()
    def train(message, context):
        number = context.node_config["partition-id"]
        if log is not None:
            log.append(number)
        if number == fail_on:
            context.state["seen"] = MetricRecord({"n": 99})
            raise ValueError("broken on purpose")
        seen = context.state.get("seen", MetricRecord({"n": 0}))["n"] + 1
        context.state["seen"] = MetricRecord({"n": seen})
        return Message(RecordDict({"m": MetricRecord({"number": number, "seen": seen})}), reply_to=message)

    return app


def ask(grid, nodes):
    content = RecordDict({"task": ConfigRecord({})})
    return grid.send_and_receive(Message(content, node, "train") for node in nodes)


@pytest.mark.parametrize("workers", [1, 3])
def test_replies_come_in_the_order_of_the_messages(workers):
    with LocalGrid(Threads(answers(echo_app()), workers, threading.Event()), 20) as grid:
        nodes = list(reversed(grid.get_node_ids()))
        replies = list(ask(grid, nodes))
    assert [reply.metadata.src_node_id for reply in replies] == nodes
    assert [reply.content["m"]["number"] for reply in replies] == [node - FIRST_NODE for node in nodes]


def test_an_exception_becomes_an_error_reply_and_its_state_is_dropped():
    with LocalGrid(Threads(answers(echo_app(fail_on=1)), 2, threading.Event()), 3) as grid:
        replies = list(ask(grid, grid.get_node_ids()))
        assert [reply.has_error() for reply in replies] == [False, True, False]
        assert "client 1: ValueError: broken on purpose" in replies[1].error.reason
        again = list(ask(grid, grid.get_node_ids()))
    assert [r.content["m"]["seen"] for r in again if r.has_content()] == [2, 2]


def test_work_is_lazy():
    log = []
    with LocalGrid(Threads(answers(echo_app(log)), 1, threading.Event()), 100) as grid:
        replies = ask(grid, grid.get_node_ids())
        next(iter(replies))
        assert len(log) <= 3  # the window is twice the number of workers


def test_push_and_pull():
    with LocalGrid(Threads(answers(echo_app()), 2, threading.Event()), 3) as grid:
        names = grid.push_messages(
            Message(RecordDict({"task": ConfigRecord({})}), node, "train") for node in grid.get_node_ids()
        )
        pulled = []
        while len(pulled) < 3:
            pulled += grid.pull_messages(names)
    assert sorted(reply.content["m"]["number"] for reply in pulled) == [0, 1, 2]


def test_leaving_with_an_exception_tells_the_clients_to_stop():
    stop = threading.Event()
    with pytest.raises(KeyboardInterrupt), LocalGrid(Threads(answers(echo_app()), 1, stop), 2):
        raise KeyboardInterrupt
    assert stop.is_set()
