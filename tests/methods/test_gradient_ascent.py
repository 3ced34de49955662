"""Projected ascent: one step by hand, its ball and its two ends, and what two phases do to a model."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fedunlearn.data.types import Request
from fedunlearn.federation import wire
from fedunlearn.federation.method import NoSettings
from fedunlearn.federation.spec import StageSpec
from fedunlearn.methods.gradient_ascent import (
    AscentServer,
    GradientAscent,
    ball,
    count_batches,
    epochs_for,
    objective,
    projected,
    squared_distance,
)
from fedunlearn.settings import registry
from fedunlearn.settings.config import TrainConfig
from fedunlearn.tasks.base import Batch
from fedunlearn.tasks.classification import ClassOutputs

ONE = TrainConfig(rounds=1, local_epochs=1, batch_size=10, lr=1.0, momentum=0.0, weight_decay=0.0)
SPEC = StageSpec("unlearn", 0, "gradient_ascent", ONE, 2, forget_classes=(0,))
DEFAULTS = GradientAscent()
FORGET, RETAIN = ((1, 0), 1, True), ((0, 1), 0, False)


class Holding:
    """Clients who say together what they hold."""

    def __init__(self, **totals):
        self.totals = {name: torch.tensor(value) for name, value in totals.items()}

    def total(self, query, model):
        return self.totals


@pytest.mark.parametrize(("steps", "epochs"), [(1, 1), (3, 1), (5, 2), (10, 4), (100, 40)])
def test_steps_become_epochs_by_what_clients_hold_on_average(steps, epochs):
    # 30 samples in three batches and 10 in one: (30 · 3 + 10 · 1) / 40 = 2.5 steps an epoch, as FedAvg weighs them
    held = {"samples": torch.tensor(40.0), "steps": torch.tensor(100.0)}
    assert epochs_for(steps, held) == epochs
    assert epochs_for(steps, {name: torch.tensor(0.0) for name in held}) == steps  # nobody: the number plays no part


def test_a_client_counts_the_batches_that_it_will_train_on(make_federation):
    client = make_federation(clients=1, per_class=25).client(0)  # 25 to be forgotten, in batches of 10, 10 and 5
    counted = count_batches(None, client, DEFAULTS, SPEC)
    assert {name: value.item() for name, value in counted.items()} == {"samples": 25, "steps": 75}


def test_few_samples_are_gone_through_as_often_as_it_takes(pair_federation, play):
    federation = pair_federation([FORGET, FORGET, RETAIN], [RETAIN, RETAIN], start=(2.0, 0.0))
    after = play(federation, "gradient_ascent", GradientAscent(ascent_steps=7), ONE)[-1]
    assert after.notes["ascent_epochs"] == 7
    assert after.cost["samples"] == 7 * 2


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # at w = (2, 0) and x = (1, 0) the forget samples have p = σ(2), so that CE has the gradient ((p − 1), 0)
        ({"ascent_lr": 5.0, "radius": 100.0}, 2.0 - 5.0 * (1 - 0.8807971)),
        ({"ascent_lr": 5.0, "radius": 100.0, "clip": 0.02}, 2.0 - 5.0 * 0.02),
        ({"ascent_lr": 5.0, "radius": 0.09}, 2.0 - 0.3),  # beyond the ball, and so back to √0.09 from its centre
    ],
)
def test_one_step_of_projected_ascent_by_hand(settings, expected, pair_federation, play):
    federation = pair_federation([FORGET, FORGET, RETAIN], [RETAIN, RETAIN], start=(2.0, 0.0))
    after = play(federation, "gradient_ascent", GradientAscent(ascent_steps=1, **settings), ONE)[-1]
    torch.testing.assert_close(after.model["head.weight"], torch.tensor([expected, 0.0]))
    assert after.cost["samples"] == 2  # the forget samples, and nothing else


def test_the_ball_stays_where_it_is_while_the_model_moves(pair_federation, play):
    federation = pair_federation([FORGET, FORGET, RETAIN, RETAIN], start=(2.0, 0.0))
    settings = GradientAscent(ascent_rounds=3, ascent_lr=5.0, ascent_steps=1, radius=0.09)
    seen = play(federation, "gradient_ascent", settings, replace(ONE, rounds=3))
    torch.testing.assert_close(seen[-1].model["head.weight"], torch.tensor([1.7, 0.0]))


def test_projection_takes_all_parameters_together_and_leaves_the_inside_alone(context_of):
    shared = {"reference/a": torch.zeros(1), "reference/b": torch.ones(1), "radius": torch.tensor(1.0)}
    ascent, repair = context_of(torch.nn.Identity(), shared), context_of(torch.nn.Identity())
    outside = projected({"a": torch.tensor([3.0]), "b": torch.tensor([5.0])}, ascent)  # (3, 4) off: 5 away
    torch.testing.assert_close(outside, {"a": torch.tensor([0.6]), "b": torch.tensor([1.8])})
    inside = {"a": torch.tensor([0.5]), "b": torch.tensor([1.5])}
    torch.testing.assert_close(projected(inside, ascent), inside)
    at_centre = {"a": torch.zeros(1), "b": torch.ones(1)}
    torch.testing.assert_close(projected(at_centre, ascent), at_centre)
    far = {"a": torch.tensor([9.0]), "b": torch.tensor([9.0])}
    assert projected(far, repair) == far  # repair knows no ball


@pytest.fixture
def ascent_loss(context_of):
    """`ascent_loss(logits, labels, weights, settings, spec)` while the ascent lasts."""

    def loss(logits, labels, weights, settings=DEFAULTS, spec=SPEC):
        batch = Batch({}, torch.tensor(labels), torch.tensor(weights))
        context = context_of(torch.nn.Identity(), {"radius": torch.tensor(1.0)})
        return objective(settings, spec).loss(ClassOutputs(logits, logits), batch, context)

    return loss


def test_a_sample_beyond_the_stop_loss_is_left_alone(ascent_loss):
    logits = torch.tensor([[0.0, 0.0], [0.0, 5.0], [0.0, 0.0]], requires_grad=True)
    value = ascent_loss(logits, [0, 0, 0], [-1.0, -1.0, 0.0], GradientAscent(stop_loss=2.0))
    assert value.item() == pytest.approx(-(0.6931472 + 2.0) / 2)  # log 2, and what counts for 2 instead of 5.0067
    value.backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[0.25, -0.25], [0.0, 0.0], [0.0, 0.0]]))


def test_the_stop_loss_is_lower_where_a_class_stays(ascent_loss):
    logits = torch.tensor([[0.0, 2.0]])  # a loss of 2.127
    specs = SPEC, replace(SPEC, level="client", forget_classes=())
    values = [ascent_loss(logits, [0], [-1.0], spec=spec).item() for spec in specs]
    assert values == pytest.approx([-2.126928, -1.0])


def test_the_usual_radius_is_a_third_of_the_mean_squared_distance(pair_federation):
    federation = pair_federation([FORGET, RETAIN])
    spec = StageSpec("unlearn", 0, "gradient_ascent", ONE, 2)
    server = AscentServer(GradientAscent(), spec, wire.by_reference, torch.device("cpu"))
    calls = iter(range(100))

    def model(seed):  # random models alternate between (1, 0) and (0, 5): 2² + 1² = 5 or 1² + 4² = 17 from (1, 1) …
        fresh = federation.models.fresh(seed)
        fresh.head.weight.data = torch.tensor([[3.0, 0.0], [0.0, 5.0]][next(calls) % 2])
        return fresh

    server.new_model = model
    server.prepare({"head.weight": torch.tensor([1.0, 1.0])}, Holding(samples=40.0, steps=100.0))
    assert server.notes["radius"] == pytest.approx((5 + 17) / 2 / 3)
    centre, radius = ball(server.shared)
    assert radius.item() == pytest.approx(11 / 3)
    assert squared_distance({"head.weight": torch.tensor([4.0, 5.0])}, centre).item() == 25
    assert server.notes["ascent_epochs"] == 48  # 120 steps, of which an epoch has 2.5


def test_one_round_in_five_ascends_and_the_others_repair(trained, play):
    federation, original = trained
    pace = TrainConfig(rounds=5, local_epochs=1, batch_size=10, lr=0.02)
    seen = play(federation, "gradient_ascent", GradientAscent(ascent_lr=0.1, ascent_steps=10), pace, original)
    accuracy = np.array([entry["scores"] for entry in seen[-1].history])
    assert accuracy[0].min() >= 0.8
    assert accuracy[1][1] == 0
    assert accuracy[-1][1] == 0
    assert accuracy[-1][[0, 2, 3]].mean() > 0.9
    tuned = play(federation, "finetune", NoSettings(), pace, original)[-1]
    assert tuned.history[-1]["scores"][1] > 0.5  # it is not the repair that forgets
    assert [progress.notes.get("ascent_rounds") for progress in seen] == [None, 1, 1, 1, 1, 1]
    assert seen[1].shared
    assert not seen[2].shared
    held = int(federation.request.forget.sum())  # about 13 with each client, and so two steps an epoch
    samples = [progress.cost["samples"] for progress in seen]
    assert samples[1] == 5 * held
    assert samples[2] - samples[1] == len(federation.request.forget) - held


def test_the_ascent_ends_early_when_it_has_gone_far_enough(trained, play):
    federation, original = trained
    pace = TrainConfig(rounds=3, local_epochs=1, batch_size=10, lr=0.1)
    far, near = (
        play(federation, "gradient_ascent", GradientAscent(ascent_rounds=3, stop_distance=distance), pace, original)[-1]
        for distance in (1e-6, 1e6)
    )
    assert far.notes["ascent_rounds"] == 1
    assert near.notes["ascent_rounds"] == 3


def test_at_client_level_the_leaving_client_ascends_and_the_others_repair(trained, play):
    federation, original = trained
    leaving = np.zeros(len(federation.request.forget), dtype=bool)
    leaving[federation.parts[2]] = True
    federation = federation.replaced(wanted=Request("client", leaving, ()))
    pace = TrainConfig(rounds=2, local_epochs=1, batch_size=10, lr=0.1)
    seen = play(federation, "gradient_ascent", GradientAscent(ascent_steps=1), pace, original)
    assert [progress.cost["samples"] for progress in seen] == [0, len(federation.parts[2]), len(leaving)]


def test_all_levels_are_defined():
    assert registry.find("method", "gradient_ascent").levels == {"class", "client", "sample"}
