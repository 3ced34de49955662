"""Every client counts alike, by what it retains."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from torch import nn

from fedunlearn.audits.base import Evidence, Reference
from fedunlearn.audits.client_utility import AUDITS, FINDINGS, ClientUtilitySettings
from fedunlearn.federation.evaluation import scores


def measure(found: Any, *parts: list[int], forget: tuple[int, ...] = (2,)) -> Any:
    clients = tuple(np.array(part, dtype=np.int64) for part in parts)
    reference = Reference(found, (), forget, classes=3, seed=0, parts=clients)
    return AUDITS["client_utility"].measure(found, reference, ClientUtilitySettings())


def test_by_hand(view: Any) -> None:
    train = view(np.eye(3)[[0, 0, 1, 0, 1, 2]], [0, 1, 1, 0, 1, 2], [2])  # sample 1 is wrong
    test = view(np.eye(3), [0, 1, 2], [2])
    found = measure(Evidence(nn.Identity(), train, test), [0, 1, 5], [2, 3, 4], [5], [])
    assert found["client_accuracy_min"] == 0.5
    assert found["client_accuracy_mean"] == 0.75  # not 4/5: clients count, not samples
    assert found["client_accuracy_std"] == 0.25


def test_it_is_what_the_server_would_measure(trained: Any) -> None:
    found = AUDITS["client_utility"].measure(trained("retrained_0"), trained.reference, ClientUtilitySettings())
    federation = trained.federation
    right = scores(federation, trained("retrained_0").model.state_dict(), federation.train).numpy()
    expected = [right[part[~federation.request.forget[part]]].mean() for part in federation.parts]
    assert found["client_accuracy_mean"] == pytest.approx(float(np.mean(expected)))
    assert found["client_accuracy_min"] == pytest.approx(float(np.min(expected)))


def test_a_request_for_samples_leaves_the_clients_others(view: Any) -> None:
    train = view(np.eye(3)[[0, 1, 1]], [0, 1, 0], [1])  # sample 1 is to be forgotten, sample 2 is wrong
    found = measure(Evidence(nn.Identity(), train, train), [0, 1], [2, 1], forget=())
    assert (found["client_accuracy_min"], found["client_accuracy_mean"]) == (0.0, 0.5)


def test_nobody_left(evidence: Any) -> None:
    assert measure(evidence(np.eye(3), [0, 1, 2], [2]), [2], []) == dict.fromkeys(FINDINGS)
