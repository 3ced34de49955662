"""A round of a strategy without clients: the messages that it sends, to be answered as a test likes."""

import pytest
from flwr.app import ConfigRecord
from flwr.supercore.task_identity import TaskIdentity

from fedunlearn.federation import wire
from fedunlearn.models.flat import Layout

FIRST_NODE = 7


@pytest.fixture
def ask():
    """`ask(strategy, model, clients)`: the messages of a round in which all clients get `model`."""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1

    def asked(strategy, model, clients):
        strategy._roster, strategy.layout = list(range(FIRST_NODE, FIRST_NODE + clients)), Layout.of(model)
        return list(strategy.configure_train(1, wire.by_reference(strategy.flat(model)), ConfigRecord(), None))

    return asked
