"""Momentum degradation: its schedule, the mixture, and the labels that the degradation model gives."""

import numpy as np
import pytest
import torch

from fedunlearn.federation import wire
from fedunlearn.federation.spec import StageSpec
from fedunlearn.methods.momentum_degradation import DegradationServer, MomentumDegradation, mixed, objective, prefixed
from fedunlearn.models.base import Network
from fedunlearn.settings import registry
from fedunlearn.settings.config import TrainConfig

PACE = TrainConfig(rounds=10, local_epochs=1, batch_size=10, lr=0.1)
PLAN = StageSpec("unlearn", 0, "momentum_degradation", PACE, 4, forget_classes=(1,))


def server(**settings):
    made = DegradationServer(MomentumDegradation(**settings), PLAN, wire.by_reference, torch.device("cpu"))
    made.new_model = lambda seed: Network(torch.nn.Flatten(), torch.nn.Linear(1, 4))
    return made


def test_the_mixture_by_hand():
    model = {"w": torch.tensor([1.0, 0.0]), "running_mean": torch.tensor([4.0]), "batches": torch.tensor(9)}
    degraded = {"w": torch.tensor([0.0, 10.0]), "running_mean": torch.tensor([0.0]), "batches": torch.tensor(1)}
    result = mixed(model, degraded, 0.75)
    assert result["w"].tolist() == [0.75, 2.5]
    assert result["running_mean"].tolist() == [3.0]
    assert result["batches"].item() == 9


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "wwwmmmmmgg"),  # three in ten, and two in ten
        ({"warmup_rounds": 1, "guide_rounds": 8}, "wmgggggggg"),
        ({"warmup_rounds": 0, "guide_rounds": 0}, "mmmmmmmmmm"),
    ],
)
def test_the_schedule(settings, expected):
    """w: W_de travels and W waits; m: the mixture travels; g: W travels."""
    method = server(momentum=0.5, **settings)
    method.memory = prefixed({"w": torch.tensor([0.0])})
    model, played = {"w": torch.tensor([8.0])}, ""
    for number in range(1, 11):
        sent = method.before_round(number, model)["w"].item()
        played += {0.0: "w", 4.0: "m", 8.0: "g"}[sent]
        assert bool(method.shared) == (played[-1] != "w")
        kept = method.after_round(number, {"w": torch.tensor([0.0 if played[-1] == "w" else 8.0])})
        assert kept["w"].item() == 8.0
    assert played == expected


def test_what_comes_back_in_the_first_rounds_is_the_degradation_model():
    method = server()
    method.memory = prefixed({"w": torch.tensor([0.0])})
    method.before_round(1, {"w": torch.tensor([8.0])})
    method.after_round(1, {"w": torch.tensor([3.0])})
    assert method.before_round(2, {"w": torch.tensor([8.0])})["w"].item() == 3.0


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_forget_samples_get_what_the_degradation_model_says(kind, make_federation, context_of):
    federation = make_federation()
    client, model, degraded = federation.client(0), federation.models.fresh(1), federation.models.fresh(2)
    work = objective(MomentumDegradation(pseudo_labels=kind), PLAN)
    decided = work.assign(model.eval(), client, context_of(model, prefixed(degraded.state_dict())))
    labels = decided.labels
    assert decided.weights.tolist() == [1.0] * len(client)
    held = client.forget.nonzero()[:, 0]
    said = degraded(client.inputs(held)).detach()
    assert not torch.equal(said.argmax(1), model(client.inputs(held)).argmax(1))
    expected = said.softmax(1) if kind == "soft" else torch.nn.functional.one_hot(said.argmax(1), 4).float()
    torch.testing.assert_close(labels[held], expected)
    kept = labels[~client.forget]
    assert torch.equal(kept.argmax(1), client.targets[~client.forget])
    assert kept.sum(1).eq(1).all()
    warmup = work.assign(model, client, context_of(model))
    assert torch.equal(warmup.weights, (~client.forget).float())
    assert torch.equal(warmup.labels[~client.forget], kept)


def test_the_model_waits_is_mixed_and_is_guided(trained, play):
    federation, original = trained
    settings = MomentumDegradation(momentum=0.9)
    seen = play(federation, "momentum_degradation", settings, PACE, original)
    accuracy = np.array([entry["scores"] for entry in seen[-1].history])
    assert (accuracy[:4] == accuracy[0]).all()
    assert accuracy[0][1] >= 0.8
    assert accuracy[-1][1] == 0
    assert accuracy[-1][[0, 2, 3]].mean() > 0.9
    early = [seen[number].memory["degraded/head.weight"] for number in (0, 1, 3, 4, 10)]
    assert not torch.equal(early[0], early[1])
    assert not torch.equal(early[1], early[2])
    assert torch.equal(early[2], early[3])
    assert torch.equal(early[3], early[4])
    samples = np.diff([progress.cost["samples"] for progress in seen])
    held = int(federation.request.forget.sum())
    assert samples.tolist() == [len(federation.request.forget) - held] * 3 + [len(federation.request.forget)] * 7


def test_all_levels_are_defined():
    assert registry.find("method", "momentum_degradation").levels == {"class", "client", "sample"}
