"""Clients trained as one stack come out as those trained one by one, for every method there is.

The stated tolerance: 1e-4 relative to the largest weight, after two rounds in float32.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from fedunlearn import registry
from fedunlearn.config import EngineConfig, TrainConfig
from fedunlearn.errors import RunError
from fedunlearn.federation import local, stacked
from fedunlearn.federation.engines import Progress, run_stage
from fedunlearn.federation.objective import Objective, cross_entropy, soft_cross_entropy, true_labels
from fedunlearn.federation.plan import Plan
from fedunlearn.models.base import Classifier
from fedunlearn.schema import plain

TOLERANCE = 1e-4
TRAINING = TrainConfig(rounds=2, local_epochs=2, batch_size=5, lr=0.05, momentum=0.9, weight_decay=0.01)


def uneven(world):
    """The same samples on clients of very different sizes, one of them with a single sample, one with none."""
    order = np.random.default_rng(3).permutation(len(world.train))
    world.parts[:] = [np.sort(part) for part in np.split(order, [20, 21, 21, 27])]
    return world


def convolutional(seed, norm=None):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [nn.Conv2d(1, 4, 3, padding=1), *([norm()] if norm else []), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
        return Classifier(nn.Sequential(*layers), 16, 4)


def run(make_world, plan, new_model=convolutional, rounds=2, say=pytest.fail, server=None, memory=(), **engine):
    world = uneven(make_world(clients=5, forget=plan.forget_classes))
    world._new_model = new_model
    begin = Progress(world.fresh_model(7).state_dict(), memory=dict(memory))
    config = SimpleNamespace(engine=EngineConfig(workers=2, **engine))
    return run_stage(plan, begin, rounds, world, config, lambda progress: None, server, say)


def assert_close(first, second, tolerance=TOLERANCE):
    assert first.cost["samples"] == second.cost["samples"]
    losses = [[entry["loss"] for entry in run.history if "loss" in entry] for run in (first, second)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4, abs=1e-5)
    for mine, other in ((first.model, second.model), (first.shared, second.shared)):
        assert mine.keys() == other.keys()
        for name, value in mine.items():
            scale = max(1.0, value.abs().max().item())
            torch.testing.assert_close(value, other[name], rtol=0, atol=tolerance * scale)


def plan_of(name, **training):
    method = registry.find("method", name)
    settings = plain(method.settings()) if method.settings.__dataclass_fields__ else {}
    return Plan("unlearn", 0, name, TrainConfig(**{**plain(TRAINING), **training}), 4, "class", (1,), settings=settings)


@pytest.mark.parametrize("name", registry.names("method"))
def test_every_method(make_world, name):
    method = registry.find("method", name)
    if method.rounds(10, 10) == 0:
        pytest.skip(f"{name} trains no client")
    if "class" not in method.levels:
        pytest.skip(f"{name} does not forget classes")
    plan, memory = plan_of(name), {}
    if method.history:
        memory = run(make_world, plan_of("fedavg"), server=method.history).memory
    one_by_one = run(make_world, plan, memory=memory)
    assert_close(one_by_one, run(make_world, plan, memory=memory, name="stacked", stack=3))


@pytest.mark.parametrize("name", ["fedavg", "fucrt", "soft_relabel"])
def test_group_norm(make_world, name):
    plan = plan_of(name)
    models = lambda seed: convolutional(seed, lambda: nn.GroupNorm(2, 4))  # noqa: E731
    assert_close(run(make_world, plan, models), run(make_world, plan, models, name="stacked", stack=5))


def test_a_stack_of_one_and_of_all_agree(make_world):
    plan = plan_of("fucrt")
    runs = [run(make_world, plan, name="stacked", stack=size) for size in (2, 5)]
    assert_close(*runs)


PROJECTED = Objective(
    true_labels,
    cross_entropy,
    clip=0.05,
    constrain=lambda own, received, shared: {
        n: torch.clamp(v, received[n] - 0.01, received[n] + 0.01) for n, v in own.items()
    },
)
SOFT = Objective(
    lambda model, client, shared: nn.functional.one_hot(client.labels, 4).float() * ~client.forget[:, None],
    soft_cross_entropy,
)


@pytest.mark.parametrize("objective", [PROJECTED, SOFT])
def test_clipping_constraints_and_soft_targets(make_world, objective):
    world = uneven(make_world(clients=5, forget=(1,)))
    received = world.fresh_model(7).state_dict()
    expected, shares = [], []
    for number in range(5):
        client, model = world.client(number), world.fresh_model(7)
        orders = [torch.Generator().manual_seed(number) for _ in range(2)]
        expected.append((local.train(model, client, objective, {}, TRAINING, orders[0]), model.state_dict()))
        shares.append(stacked.share(client, objective.targets(model, client, {}), TRAINING, orders[1]))
    gradients = stacked.Gradients(world.fresh_model(0), objective)
    trained = stacked.train(gradients, received, shares, {}, TRAINING)
    for (outcome, state), (found, mine) in zip(expected, [(done, state) for state, done in trained], strict=True):
        assert (outcome.trained, outcome.processed) == (found.trained, found.processed)
        assert outcome.loss == pytest.approx(found.loss, rel=1e-5)
        for name, value in state.items():
            torch.testing.assert_close(mine[name], value, atol=TOLERANCE, rtol=0)


def test_clipping_is_per_client():
    gradients = {"a": torch.tensor([[3.0, 0.0], [0.3, 0.0]]), "b": torch.tensor([[[4.0]], [[0.4]]])}
    short = stacked.clipped(gradients, 1.0)
    assert short["a"].tolist() == [pytest.approx([0.6, 0.0]), pytest.approx([0.3, 0.0])]
    assert short["b"].flatten().tolist() == pytest.approx([0.8, 0.4])


def test_parameters_without_a_gradient_stay(make_world):
    """Weight decay would shrink them if they were taken to have a gradient of zero."""
    world = make_world(clients=2)
    client = world.client(0)
    objective = Objective(
        true_labels, lambda features, logits, targets, shared: cross_entropy(features, features[:, :4], targets, shared)
    )
    received = world.fresh_model(7).state_dict()
    share = stacked.share(client, client.labels, TRAINING, torch.Generator().manual_seed(0))
    (state, _), _ = stacked.train(
        stacked.Gradients(world.fresh_model(0), objective), received, [share, share], {}, TRAINING
    )
    assert torch.equal(state["head.weight"], received["head.weight"])
    assert not torch.equal(state["encoder.1.weight"], received["encoder.1.weight"])


@pytest.mark.parametrize(
    ("norm", "reason"), [(lambda: nn.BatchNorm2d(4), "batch normalisation"), (nn.Dropout, "dropout draws")]
)
def test_what_cannot_be_stacked_is_trained_one_by_one_and_that_is_said_once(make_world, norm, reason):
    said = []
    models = lambda seed: convolutional(seed, norm)  # noqa: E731
    torch.manual_seed(0)
    run(make_world, plan_of("fedavg"), models, name="stacked", stack=3, say=said.append)
    assert len(said) == 1
    assert said[0].startswith(f"clients are trained one by one, not stacked: {reason}")


def test_batch_norm_one_by_one_is_the_reference(make_world):
    models = lambda seed: convolutional(seed, lambda: nn.BatchNorm2d(4))  # noqa: E731
    first, second = (run(make_world, plan_of("fedavg"), models, say=print, name=name) for name in ("local", "stacked"))
    assert all(torch.equal(value, second.model[name]) for name, value in first.model.items())


def test_a_loss_that_cannot_be_vectorised_is_trained_one_by_one(make_world, monkeypatch):
    def peeking(features, logits, targets, shared):
        return cross_entropy(features, logits, targets, shared) * (1.0 if features.sum().item() > -1e9 else 2.0)

    method = registry.find("method", "fedavg")
    peeker = SimpleNamespace(**{**vars(method), "objective": lambda settings, plan: Objective(true_labels, peeking)})
    monkeypatch.setattr(registry, "find", lambda kind, name: peeker)
    plan, said = Plan("train", 0, "fedavg", TRAINING, 4, "class", (1,)), []
    first = run(make_world, plan)
    second = run(make_world, plan, name="stacked", stack=3, say=said.append)
    assert len(said) == 1 and "one by one" in said[0]
    assert all(torch.equal(value, second.model[name]) for name, value in first.model.items())


def test_out_of_memory_makes_stacks_smaller(make_world, monkeypatch):
    plan, said, sizes = plan_of("fedavg"), [], []
    whole = stacked.train

    def small_memory(gradients, received, shares, *rest):
        sizes.append(len(shares))
        if len(shares) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(gradients, received, shares, *rest)

    reference = run(make_world, plan)
    monkeypatch.setattr(stacked, "train", small_memory)
    assert_close(reference, run(make_world, plan, name="stacked", stack=5, say=said.append))
    assert said == ["out of memory: from now on 2 clients in a stack"]
    assert sizes == [5, 2, 2, 1, 2, 2]  # in the second round, the one that is left over is trained by itself


def test_one_bad_client_spoils_nobody_elses_training(make_world, monkeypatch):
    method = registry.find("method", "fedavg")

    def targets(model, client, shared):
        if client.number == 0:
            raise ValueError("no labels")
        return client.labels

    broken = SimpleNamespace(**{**vars(method), "objective": lambda settings, plan: Objective(targets, cross_entropy)})
    monkeypatch.setattr(registry, "find", lambda kind, name: broken)
    plan = Plan("train", 0, "fedavg", TRAINING, 4, "class", (1,))
    first, second = run(make_world, plan), run(make_world, plan, name="stacked", stack=5)
    assert second.cost["failures"] == 2
    assert "client 0: ValueError: no labels" in second.history[1]["failure"]
    assert_close(first, second)


def test_a_late_stack_is_left_out(make_world):
    plan = plan_of("fedavg")
    with pytest.raises(RunError, match=r"only .* of 5 clients answered"):
        run(make_world, plan, name="stacked", stack=5, client_timeout=1e-9)


def test_bfloat16_is_near(make_world):
    plan = plan_of("fedavg")
    near = run(make_world, plan, name="stacked", stack=5, precision="bfloat16", rounds=1)
    exact = run(make_world, plan, rounds=1)
    assert max((near.model[name] - value).abs().max().item() for name, value in exact.model.items()) < 0.05
    assert any(not torch.equal(near.model[name], value) for name, value in exact.model.items())
    assert all(value.dtype == torch.float32 for value in near.model.values())
