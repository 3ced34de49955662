"""NoT: which weights change sign, and what training on the retain data makes of the rest."""

import pytest
import torch

from fedunlearn.data.types import Sample
from fedunlearn.methods.negation import Negation, weight_names
from fedunlearn.models.base import build
from fedunlearn.settings import registry
from fedunlearn.settings.config import Choice, TrainConfig

CNN = ["encoder.0.weight", "encoder.3.weight", "encoder.7.weight", "head.weight"]


def model(name, shape, **settings):
    chosen = Choice(name, registry.find("model", name).settings(**settings))
    return build(chosen.name, chosen.settings, Sample(shape), lambda width: torch.nn.Linear(width, 10), 0)


def test_weights_are_those_of_convolutions_and_dense_layers_in_order():
    assert weight_names(model("cnn", (1, 8, 8))) == CNN
    normed = weight_names(model("cnn", (1, 8, 8), norm="batch"))
    assert normed[0] == "encoder.0.weight"
    assert len(normed) == 4
    assert len(weight_names(model("lenet", (1, 28, 28)))) == 5
    resnet = weight_names(model("resnet18", (3, 32, 32)))
    assert (resnet[0], resnet[-1], len(resnet)) == ("encoder.conv1.weight", "head.weight", 21)


@pytest.mark.parametrize(
    ("layers", "negated"),
    [
        ("first", ["encoder.1.weight"]),
        ("last", ["head.weight"]),
        ("all", ["encoder.1.weight", "head.weight"]),
    ],
)
def test_the_chosen_weights_change_sign_and_nothing_else_does(layers, negated, make_federation, play):
    federation = make_federation()
    original = federation.models.fresh(0).state_dict()
    start = play(federation, "not", Negation(layers=layers))[0]
    for name, value in original.items():
        assert torch.equal(start.model[name], -value if name in negated else value), name
    assert start.notes["negated"] == negated


def test_the_class_is_forgotten_at_once_and_training_restores_the_others(trained, play):
    federation, original = trained
    pace = TrainConfig(rounds=8, local_epochs=2, batch_size=10, lr=0.1)
    history = play(federation, "not", Negation(), pace, original)[-1].history
    assert history[0]["scores"][1] == 0
    assert history[-1]["scores"][1] == 0
    before, after = (sum(entry["scores"]) / 3 for entry in (history[0], history[-1]))
    assert before < 0.6
    assert after > 0.85


def test_only_retain_data_is_trained_on(make_federation, play):
    federation = make_federation()
    after = play(federation, "not", Negation())[-1]
    assert after.cost["samples"] == int((~torch.as_tensor(federation.request.forget)).sum())
    assert registry.find("method", "not").levels == {"class", "client", "sample"}
