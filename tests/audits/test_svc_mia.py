"""The benchmark's attack: its signals by hand, and that it tells a class and not membership."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from torch import nn

from fedunlearn.audits.base import Evidence, Reference
from fedunlearn.audits.svc_mia import AUDITS, FINDINGS, SvcMiaSettings, modified_entropy, signals, taken_for_others

LABELS = np.tile(np.arange(3), 40)


def measure(train: Any, test: Any, samples: int = 100) -> Any:
    found = Evidence(nn.Identity(), train, test)
    return AUDITS["svc_mia"].measured(found, Reference(found, (), (2,), 3, 0), SvcMiaSettings(samples=samples))


def logits(masked: bool, confidence: float, seed: int) -> np.ndarray:
    made = confidence * np.eye(3)[LABELS] + np.random.default_rng(seed).normal(size=(len(LABELS), 3))
    return made - [0, 0, 1000 * masked]


def test_signals_by_hand(view: Any) -> None:
    found = signals(view(np.log([[8, 1, 1], [2, 6, 2]]), [0, 2]), np.array([0, 1]))
    assert found["correctness"].tolist() == [[1], [0]]
    assert found["confidence"] == pytest.approx(np.array([[0.8], [0.2]]))
    assert found["entropy"][0, 0] == pytest.approx(-0.8 * np.log(0.8) - 0.2 * np.log(0.1))
    assert found["modified_entropy"][0, 0] == pytest.approx(-0.2 * np.log(0.8) - 0.2 * np.log(0.9))
    assert found["probabilities"][1] == pytest.approx([0.2, 0.6, 0.2])


def test_modified_entropy_is_nothing_for_the_sure_and_right_and_large_for_the_sure_and_wrong() -> None:
    p, own = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]), np.array([[True, False]] * 3)
    right, wrong, unsure = modified_entropy(p, own)
    assert right == pytest.approx(0)
    assert unsure == pytest.approx(np.log(2))
    assert unsure < wrong < np.inf


def test_the_share_is_of_those_that_fall_to_the_side_of_non_members() -> None:
    members, others = np.full((50, 1), 1.0), np.zeros((50, 1))
    assert taken_for_others(members, others, np.array([[1.0], [1.0], [1.0], [0.0]])) == 0.25


def test_it_tells_the_class_and_not_membership(view: Any) -> None:
    """A masked head was trained on all of the class, and comes out as one in which nothing is left."""
    original, masked = (
        [view(logits(hidden, sure, seed), LABELS, [2]) for seed, sure in enumerate((6.0, 2.0))]
        for hidden in (False, True)
    )
    before, after = measure(*original), measure(*masked)
    assert set(after) == set(FINDINGS)
    assert before["svc_mia_confidence"] < 0.3
    assert after["svc_mia_confidence"] == after["svc_mia_correctness"] == 1


def test_off_unless_asked_for_and_none_where_there_is_nothing(view: Any) -> None:
    shown = view(logits(False, 2.0, 0), LABELS, [2])
    assert measure(shown, shown, samples=0) == {}
    assert measure(view(logits(False, 2.0, 0), LABELS), shown) == dict.fromkeys(FINDINGS)
