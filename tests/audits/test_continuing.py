"""What goes on is FedAvg: a client's steps are those of the federation, and the server's model is a weighted mean."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch

from fedunlearn.audits import continuing
from fedunlearn.audits.base import Call, one_by_one
from fedunlearn.audits.continuing import Pace, average, rounds
from fedunlearn.federation import sgd
from fedunlearn.federation.federation import Federation
from fedunlearn.federation.objective import Objective, RoundContext, everything
from fedunlearn.settings.config import TrainConfig
from fedunlearn.tasks.classification import TASKS

PACE = Pace(local_epochs=2, batch_size=7, lr=0.05, momentum=0.8, weight_decay=0.01)


def order() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def test_a_client_takes_the_steps_that_it_takes_in_a_federation(trained: Any, faint_federation: Federation) -> None:
    evidence, federation = trained("original"), faint_federation.retaining()
    found = continuing.trained(evidence.model, evidence.train, federation.parts[1], PACE, order())
    model = copy.deepcopy(evidence.model)
    training = TrainConfig(local_epochs=2, batch_size=7, lr=0.05, momentum=0.8, weight_decay=0.01)
    known = RoundContext(TASKS["classification"], 1, {}, {}, model)
    sgd.train(model, federation.client(1), Objective(everything), known, training, order())
    for name, value in model.state_dict().items():
        assert torch.allclose(found[name], value, atol=1e-6), name
        assert not torch.equal(found[name], evidence.model.state_dict()[name]), "the model it received stays"


def test_the_mean_is_weighted_and_counters_are_the_first_ones() -> None:
    states = [
        {"w": torch.tensor([1.0, 2.0]), "n": torch.tensor(3)},
        {"w": torch.tensor([5.0, 2.0]), "n": torch.tensor(9)},
    ]
    found = average(states, [3, 1])
    assert found["w"].tolist() == [2, 2] and found["n"] == 3 and found["w"].dtype == torch.float32


def test_a_round_is_the_mean_of_what_clients_make_of_the_model(trained: Any) -> None:
    evidence = trained("retrained_0")
    train, clients = evidence.train, [np.arange(20), np.arange(0), np.arange(100, 130), np.array([40])]
    model = copy.deepcopy(evidence.model)
    first, second = (
        {name: value.clone() for name, value in each.state_dict().items()}
        for each in islice(rounds(model, train, clients, PACE, 3, one_by_one), 2)
    )
    calls: list[Call] = []

    def noted(given: Sequence[Call]) -> list[Any]:
        calls.extend(given)
        return one_by_one(given)

    again = next(rounds(copy.deepcopy(evidence.model), train, clients, PACE, 3, noted)).state_dict()
    assert len(calls) == 2, "who has less than two samples has no batch"
    assert all(torch.equal(value, first[name]) for name, value in again.items())
    assert any(not torch.equal(value, first[name]) for name, value in second.items())


def test_one_client_with_one_batch_descends_its_gradient(trained: Any) -> None:
    evidence, rows = trained("retrained_0"), np.arange(10, 30)
    pace = Pace(batch_size=64, lr=0.1, weight_decay=0.0)
    found = next(rounds(copy.deepcopy(evidence.model), evidence.train, [rows], pace, 0, one_by_one)).state_dict()
    model = copy.deepcopy(evidence.model)
    loss = torch.nn.functional.cross_entropy(
        model(evidence.train.samples.at(rows)), torch.as_tensor(evidence.train.labels[rows])
    )
    slopes = torch.autograd.grad(loss, list(model.parameters()))
    for (name, weight), slope in zip(model.named_parameters(), slopes, strict=True):
        assert torch.allclose(found[name], weight - 0.1 * slope, atol=1e-6), name
