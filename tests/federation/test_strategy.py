from dataclasses import replace

import numpy as np
import pytest
import torch
from flwr.app import Message
from hypothesis import given
from hypothesis import strategies as st

from fedunlearn.errors import RunError
from fedunlearn.federation import wire
from fedunlearn.federation.client import train_reply
from fedunlearn.federation.sgd import Trained
from fedunlearn.federation.spec import StageSpec
from fedunlearn.federation.strategy import Total, UnlearningStrategy, sample
from fedunlearn.models.flat import Layout
from fedunlearn.settings.config import TrainConfig

PLAN = StageSpec("train", 0, "fedavg", TrainConfig(participation=0.5), 4)


START = {"w": torch.zeros(2), "count": torch.tensor(0)}


def reply(number, value, trained, uploads=None):
    """What client `number` puts into its reply."""
    model = {"w": torch.tensor([value, 1.0]), "count": torch.tensor(3)}
    outcome = Trained(trained, trained, float(number), 0.5)
    vectors = Layout.of(START).vectors(model, torch.device("cpu"))
    return train_reply(number, outcome, 2.0, wire.by_reference(vectors), wire.by_reference(uploads or {}))


def aggregated(strategy, ask, *contents):
    """The outcome of a round of as many clients as there are replies."""
    messages = ask(strategy, START, len(contents))
    return strategy.aggregate_train(1, map(answered, contents, messages))


def answered(content, message):
    return Message(content, reply_to=message)


def stage(min_replies=0.5):
    spec = replace(PLAN, training=TrainConfig(local_epochs=1))
    made = UnlearningStrategy(None, spec, wire.by_reference, torch.device("cpu"))
    made.min_replies = min_replies
    return made


def test_mean_is_weighted_by_trained_samples(ask):
    strategy = stage()
    arrays, metrics = aggregated(strategy, ask, reply(0, 1.0, 1), reply(1, 4.0, 3))
    state = strategy.named(arrays)
    assert state["w"].tolist() == [(1 * 1 + 3 * 4) / 4, 1.0]
    assert state["count"].item() == 3 and state["count"].dtype == torch.int64
    assert metrics["loss"] == pytest.approx(3 / 4)
    assert strategy.cost.samples == 4
    assert strategy.cost.bytes_up == 2 * (8 + 8)


def test_non_finite_replies_are_left_out_and_counted(ask):
    strategy = stage()
    arrays, _ = aggregated(strategy, ask, reply(0, float("nan"), 5), reply(1, 2.0, 1), reply(2, 6.0, 1))
    assert strategy.named(arrays)["w"][0].item() == 4.0
    assert strategy.cost.failures == 1


def test_too_few_replies_stop_the_run(ask):
    with pytest.raises(RunError, match=r"only 1 of 3 clients answered in round 1.*not finite"):
        aggregated(stage(), ask, reply(0, float("inf"), 5), reply(1, 2.0, 1), reply(2, float("inf"), 1))


def test_a_round_without_training_data_keeps_the_model(ask):
    strategy = stage()
    assert aggregated(strategy, ask, reply(0, 1.0, 0), reply(1, 4.0, 0)) == (None, None)
    assert strategy.cost.rounds == 1


def test_uploads_are_added_up(ask):
    seen = {}
    strategy = stage()
    strategy.on_totals = seen.update
    aggregated(
        strategy,
        ask,
        reply(0, 1.0, 1, {"n": torch.tensor([1.0, 2.0])}),
        reply(1, 1.0, 1, {"n": torch.tensor([10.0, 20.0])}),
    )
    assert seen["n"].tolist() == [11.0, 22.0]


@given(st.lists(st.tuples(st.floats(-10, 10, width=32), st.integers(1, 50)), min_size=1, max_size=8))
def test_streaming_mean_agrees_with_numpy(replies):
    total = Total()
    for value, weight in replies:
        total.add({"w": torch.tensor([value])}, weight, {})
    values, weights = zip(*replies, strict=True)
    expected = np.average(np.array(values, dtype=np.float64), weights=weights)
    assert total.mean({"w": torch.zeros(1)})["w"].item() == pytest.approx(expected, abs=1e-5)


def test_sampling_is_deterministic_and_of_the_right_size():
    chosen = [sample(100, 0.1, PLAN, r) for r in range(1, 4)]
    assert chosen == [sample(100, 0.1, PLAN, r) for r in range(1, 4)]
    assert all(len(set(c)) == 10 and c == sorted(c) for c in chosen)
    assert chosen[0] != chosen[1]
    assert sample(100, 0.1, replace(PLAN, seed=1), 1) != chosen[0]
    assert len(sample(3, 0.01, PLAN, 1)) == 1
