"""Clients trained as one stack come out as those trained one by one, for every method there is.

The stated tolerance: 1e-4 relative to the largest weight, after two rounds in float32.
"""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from fedunlearn.engines import stacking
from fedunlearn.engines.base import Progress, run_stage
from fedunlearn.errors import RunError
from fedunlearn.federation import sgd
from fedunlearn.federation.objective import Assignment, Objective, everything, task_loss
from fedunlearn.federation.pool import ModelPool
from fedunlearn.federation.spec import StageSpec
from fedunlearn.models.base import Network
from fedunlearn.models.torchvision import Frozen
from fedunlearn.settings import registry
from fedunlearn.settings.config import Choice, TrainConfig
from fedunlearn.settings.schema import plain
from fedunlearn.tasks.base import defined

TOLERANCE = 1e-4
CPU = torch.device("cpu")
TRAINING = TrainConfig(rounds=2, local_epochs=2, batch_size=5, lr=0.05, momentum=0.9, weight_decay=0.01)


def uneven(federation):
    """The same samples on clients of very different sizes, one of them with a single sample, one with none."""
    order = np.random.default_rng(3).permutation(len(federation.train))
    federation.parts[:] = [np.sort(part) for part in np.split(order, [20, 21, 21, 27])]
    return federation


def convolutional(seed, norm=None):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [nn.Conv2d(1, 4, 3, padding=1), *([norm()] if norm else []), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
        return Network(nn.Sequential(*layers), nn.Linear(16, 4))


def engine_called(name="local", **settings):
    return Choice(name, registry.find("engine", name).settings(workers=2, **settings))


def run(
    make_federation, spec, new_model=convolutional, rounds=2, say=pytest.fail, server=None, memory=(), on=CPU, **engine
):
    federation = uneven(make_federation(clients=5, forget=spec.forget_classes, device=on))
    federation.models = ModelPool(new_model, federation.device)
    begin = Progress(federation.models.fresh(7).state_dict(), memory=dict(memory))
    config = SimpleNamespace(engine=engine_called(**engine), train=spec.training)
    return run_stage(spec, begin, rounds, federation, config, lambda progress: None, server, say)


def assert_close(first, second, tolerance=TOLERANCE):
    assert first.cost["samples"] == second.cost["samples"]
    losses = [[entry["loss"] for entry in run.history if "loss" in entry] for run in (first, second)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4, abs=1e-5)
    for mine, other in ((first.model, second.model), (first.shared, second.shared)):
        assert mine.keys() == other.keys()
        for name, value in mine.items():
            scale = max(1.0, value.abs().max().item())
            torch.testing.assert_close(value, other[name], rtol=0, atol=tolerance * scale)


SHORTER = {"federaser": {"interval": None}, "gradient_ascent": {"ascent_steps": 10}}  # than by default


def plan_of(name, **training):
    method = registry.find("method", name)
    settings = plain(method.settings()) if method.settings.__dataclass_fields__ else {}
    settings |= SHORTER.get(name, {})
    return StageSpec(
        "unlearn", 0, name, TrainConfig(**{**plain(TRAINING), **training}), 4, "class", (1,), settings=settings
    )


@pytest.mark.parametrize("name", registry.names("method"))
def test_every_method(make_federation, trains, name):
    method = registry.find("method", name)
    if not trains(method):
        pytest.skip(f"{name} trains no client")
    if "class" not in method.levels:
        pytest.skip(f"{name} does not forget classes")
    if not defined(method.tasks, "classification"):
        pytest.skip(f"{name} is not for classes")
    spec, memory = plan_of(name), {}
    if method.history:
        memory = run(make_federation, plan_of("fedavg"), server=method.history).memory
    one_by_one = run(make_federation, spec, memory=memory)
    assert_close(one_by_one, run(make_federation, spec, memory=memory, name="stacked", stack=3))


@pytest.mark.parametrize("name", ["fedavg", "fucrt", "soft_relabel"])
def test_group_norm(make_federation, name):
    spec = plan_of(name)
    models = lambda seed: convolutional(seed, lambda: nn.GroupNorm(2, 4))  # noqa: E731
    assert_close(run(make_federation, spec, models), run(make_federation, spec, models, name="stacked", stack=5))


def half_frozen(seed):
    """Its batch normalisation uses statistics that stay as they are, so that short batches may be filled up."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        still = Frozen(nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)))
        return Network(nn.Sequential(still, nn.Flatten(), nn.Linear(16, 8), nn.ReLU()), nn.Linear(8, 4))


@pytest.mark.parametrize("name", ["fedavg", "fucrt"])
def test_frozen_layers(make_federation, name):
    one_by_one = run(make_federation, plan_of(name), half_frozen)
    together = run(make_federation, plan_of(name), half_frozen, name="stacked", stack=3)
    assert_close(one_by_one, together)
    changed = {
        entry for entry, value in half_frozen(7).state_dict().items() if not torch.equal(together.model[entry], value)
    }
    assert changed == {"encoder.2.weight", "encoder.2.bias", "head.weight", "head.bias"}


@pytest.mark.parametrize("name", ["fedavg", "npo"])
def test_adamw(make_federation, name):
    spec = plan_of(name, optimiser="adamw", lr=0.003)
    assert_close(run(make_federation, spec), run(make_federation, spec, name="stacked", stack=3))


def test_a_stack_of_one_and_of_all_agree(make_federation):
    spec = plan_of("fucrt")
    runs = [run(make_federation, spec, name="stacked", stack=size) for size in (2, 5)]
    assert_close(*runs)


def near_what_came(own, context):
    return {n: torch.clamp(v, context.received[n] - 0.01, context.received[n] + 0.01) for n, v in own.items()}


def soft(model, client, context):
    return Assignment((~client.forget).float(), nn.functional.one_hot(client.targets, 4).float())


def distilled(outputs, batch, context):
    """The received model's own answers are what is learnt."""
    known = context.said(batch).logits.softmax(1)
    return task_loss(outputs, replace(batch, targets=known), context) + task_loss(outputs, batch, context)


def uneven_weights(model, client, context):
    return Assignment(torch.where(client.forget, -0.3, 0.5) * (client.groups != 2))


PROJECTED = Objective(everything, clip=0.05, constrain=near_what_came)
OBJECTIVES = {
    "projected": PROJECTED,
    "soft": Objective(soft),
    "distilled": Objective(everything, distilled),
    "weighted": Objective(uneven_weights),
    "kept": Objective(uneven_weights, keep=lambda outputs: {"z": outputs.features, "logits": outputs.logits}),
}


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_clipping_constraints_soft_labels_weights_and_distillation(make_federation, context_of, objective):
    federation = uneven(make_federation(clients=5, forget=(1,)))
    received = federation.models.fresh(7).state_dict()
    expected, portions = [], []
    for number in range(5):
        client, model = federation.client(number), federation.models.fresh(7)
        orders = [torch.Generator().manual_seed(number) for _ in range(2)]
        context = context_of(model)
        decided = objective.assign(model, client, context)
        expected.append((sgd.train(model, client, objective, context, TRAINING, orders[0]), model.state_dict()))
        portions.append(stacking.portion(client, decided, TRAINING, orders[1]))
    gradients = stacking.Gradients(federation.models.fresh(0), federation.task, objective)
    trained = stacking.train(gradients, portions, gradients.context(1, {}, received), TRAINING)
    for (outcome, state), (found, mine) in zip(expected, [(done, state) for state, done in trained], strict=True):
        assert (outcome.trained, outcome.processed) == (found.trained, found.processed)
        assert outcome.loss == pytest.approx(found.loss, rel=1e-5)
        assert_same_passes(outcome.passes, found.passes)
        for name, value in state.items():
            torch.testing.assert_close(mine[name], value, atol=TOLERANCE, rtol=0)


def assert_same_passes(one_by_one, stacked):
    assert (one_by_one is None) == (stacked is None)
    if one_by_one is not None:
        assert torch.equal(one_by_one.positions, stacked.positions)
        assert one_by_one.said.keys() == stacked.said.keys() == {"z", "logits"}
        for name, rows in one_by_one.said.items():
            torch.testing.assert_close(stacked.said[name], rows, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", ["fucrt", "fucrt_plus"])
def test_prototypes_by_passes_and_by_trained_models(make_federation, name):
    shared = []
    for way in ("passes", "trained"):
        spec = plan_of(name)
        spec = replace(spec, settings={**spec.settings, "prototypes_by": way})
        one_by_one = run(make_federation, spec)
        assert_close(one_by_one, run(make_federation, spec, name="stacked", stack=3))
        shared.append(one_by_one.shared["prototypes"])
    assert not torch.equal(*shared)


def test_clipping_is_per_client():
    gradients = {"a": torch.tensor([[3.0, 0.0], [0.3, 0.0]]), "b": torch.tensor([[[4.0]], [[0.4]]])}
    short = stacking.clipped(gradients, 1.0)
    assert short["a"].tolist() == [pytest.approx([0.6, 0.0]), pytest.approx([0.3, 0.0])]
    assert short["b"].flatten().tolist() == pytest.approx([0.8, 0.4])


def test_parameters_without_a_gradient_stay(make_federation):
    """Weight decay would shrink them if they were taken to have a gradient of zero."""
    federation = make_federation(clients=2)
    client = federation.client(0)

    def headless(outputs, batch, context):
        return task_loss(replace(outputs, logits=outputs.features[:, :4]), batch, context)

    objective = Objective(everything, headless)
    received = federation.models.fresh(7).state_dict()
    decided = Assignment(torch.ones(len(client)))
    portion = stacking.portion(client, decided, TRAINING, torch.Generator().manual_seed(0))
    gradients = stacking.Gradients(federation.models.fresh(0), federation.task, objective)
    context = gradients.context(1, {}, received)
    (state, _), _ = stacking.train(gradients, [portion, portion], context, TRAINING)
    assert torch.equal(state["head.weight"], received["head.weight"])
    assert not torch.equal(state["encoder.1.weight"], received["encoder.1.weight"])


@pytest.mark.parametrize(
    ("norm", "reason"), [(lambda: nn.BatchNorm2d(4), "batch normalisation"), (nn.Dropout, "dropout draws")]
)
def test_what_cannot_be_stacked_is_trained_one_by_one_and_that_is_said_once(make_federation, norm, reason):
    said = []
    models = lambda seed: convolutional(seed, norm)  # noqa: E731
    torch.manual_seed(0)
    run(make_federation, plan_of("fedavg"), models, name="stacked", stack=3, say=said.append)
    assert len(said) == 1
    assert said[0].startswith(f"clients are trained one by one, not stacked: {reason}")


def test_batch_norm_one_by_one_is_the_reference(make_federation):
    models = lambda seed: convolutional(seed, lambda: nn.BatchNorm2d(4))  # noqa: E731
    first, second = (
        run(make_federation, plan_of("fedavg"), models, say=print, name=name) for name in ("local", "stacked")
    )
    assert all(torch.equal(value, second.model[name]) for name, value in first.model.items())


def test_a_loss_that_cannot_be_vectorised_is_trained_one_by_one(make_federation, monkeypatch):
    def peeking(outputs, batch, context):
        return task_loss(outputs, batch, context) * (1.0 if outputs.features.sum().item() > -1e9 else 2.0)

    method = registry.find("method", "fedavg")
    peeker = SimpleNamespace(**{**vars(method), "objective": lambda settings, spec: Objective(everything, peeking)})
    find = registry.find
    monkeypatch.setattr(registry, "find", lambda kind, name: peeker if kind == "method" else find(kind, name))
    spec, said = StageSpec("train", 0, "fedavg", TRAINING, 4, "class", (1,)), []
    first = run(make_federation, spec)
    second = run(make_federation, spec, name="stacked", stack=3, say=said.append)
    assert len(said) == 1 and "one by one" in said[0]
    assert all(torch.equal(value, second.model[name]) for name, value in first.model.items())


def test_out_of_memory_makes_stacks_smaller(make_federation, monkeypatch):
    spec, said, sizes = plan_of("fedavg"), [], []
    whole = stacking.train

    def small_memory(gradients, portions, *rest):
        sizes.append(len(portions))
        if len(portions) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(gradients, portions, *rest)

    reference = run(make_federation, spec)
    monkeypatch.setattr(stacking, "train", small_memory)
    assert_close(reference, run(make_federation, spec, name="stacked", stack=5, say=said.append))
    assert said == ["out of memory: from now on 2 clients in a stack"]
    assert sizes == [5, 2, 2, 1, 2, 2]  # in the second round, the one that is left over is trained by itself


def test_one_bad_client_spoils_nobody_elses_training(make_federation, monkeypatch):
    method = registry.find("method", "fedavg")

    def assign(model, client, context):
        if client.number == 0:
            raise ValueError("no labels")
        return everything(model, client, context)

    broken = SimpleNamespace(**{**vars(method), "objective": lambda settings, spec: Objective(assign)})
    find = registry.find
    monkeypatch.setattr(registry, "find", lambda kind, name: broken if kind == "method" else find(kind, name))
    spec = StageSpec("train", 0, "fedavg", TRAINING, 4, "class", (1,))
    first, second = run(make_federation, spec), run(make_federation, spec, name="stacked", stack=5)
    assert second.cost["failures"] == 2
    assert "client 0: ValueError: no labels" in second.history[1]["failure"]
    assert_close(first, second)


def test_a_late_stack_is_left_out(make_federation):
    spec = plan_of("fedavg")
    with pytest.raises(RunError, match=r"only .* of 5 clients answered"):
        run(make_federation, spec, name="stacked", stack=5, client_timeout=1e-9)


def test_bfloat16_is_near(make_federation):
    spec = plan_of("fedavg")
    near = run(make_federation, spec, name="stacked", stack=5, precision="bfloat16", rounds=1)
    exact = run(make_federation, spec, rounds=1)
    assert max((near.model[name] - value).abs().max().item() for name, value in exact.model.items()) < 0.05
    assert any(not torch.equal(near.model[name], value) for name, value in exact.model.items())
    assert all(value.dtype == torch.float32 for value in near.model.values())
