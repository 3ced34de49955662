"""Class-fair membership inference finds members, and only members: neither classes nor forgotten logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch import nn

from fedunlearn.audits.base import Evidence, Reference
from fedunlearn.audits.membership import AUDITS, FINDINGS, MembershipSettings, ranked_pairs, signals


def measure(train: Any, test: Any, forget: tuple[int, ...] = (2,), seed: int = 0, **settings: Any) -> Any:
    found = Evidence(nn.Identity(), train, test)
    reference = Reference(found, (), forget, classes=3, seed=seed)
    return AUDITS["membership"].measure(found, reference, MembershipSettings(**settings))


def logits(stream: np.random.Generator, labels: np.ndarray, confidence: float) -> np.ndarray:
    """Class 2 is taken for class 0, with the given confidence; noise on top."""
    likely = np.where(labels == 2, 0, labels)
    return confidence * np.eye(3)[likely] + stream.normal(size=(len(labels), 3))


@pytest.fixture
def labels() -> np.ndarray:
    return np.tile(np.arange(3), 80)


def test_members_that_the_model_is_surer_of_are_found(view: Any, labels: np.ndarray) -> None:
    stream = np.random.default_rng(0)
    train, test = (view(logits(stream, labels, sure), labels, [2]) for sure in (4.0, 1.0))
    found = measure(train, test)
    assert found["membership_auc"] > 0.9
    assert found["membership_distance"] == pytest.approx(found["membership_auc"] - 0.5)


def test_without_a_difference_it_is_a_coin(view: Any, labels: np.ndarray) -> None:
    stream = np.random.default_rng(0)
    train, test = (view(logits(stream, labels, 2.0), labels, [2]) for _ in range(2))
    assert measure(train, test)["membership_distance"] < 0.1


def test_the_forgotten_logit_is_not_looked_at(view: Any, labels: np.ndarray) -> None:
    stream = np.random.default_rng(0)
    plain = logits(stream, labels, 2.0), logits(stream, labels, 2.0)
    told = plain[0] + [0, 0, 50], plain[1] - [0, 0, 50]
    same, other = (measure(*(view(z, labels, [2]) for z in pair)) for pair in (plain, told))
    assert same == other


def test_below_class_level_a_class_is_no_sign_of_membership(view: Any) -> None:
    """Members are mostly of class 0, non-members mostly of class 1, and logits show nothing but the class."""
    stream = np.random.default_rng(0)
    train, test = np.repeat([0, 1], [90, 10]), np.repeat([0, 1], [10, 90])
    shown = [view(8 * np.eye(3)[kind] + stream.normal(size=(100, 3)), kind) for kind in (train, test)]
    members = view(shown[0].logits, train, [0, 1])  # all of the training split is to be forgotten
    assert measure(members, shown[1], forget=())["membership_distance"] < 0.15


def test_below_class_level_the_loss_on_the_label_is_seen(view: Any, labels: np.ndarray) -> None:
    """Both splits have the same logits, but members have the right label more often."""
    stream = np.random.default_rng(0)
    right = stream.integers(0, 3, 240)
    outputs = 3 * np.eye(3)[right] + stream.normal(size=(240, 3))
    shuffled = stream.permutation(240)
    members, others = view(outputs, right, [0, 1, 2]), view(outputs[shuffled], right[stream.permutation(240)])
    assert measure(members, others, forget=())["membership_auc"] > 0.7


def test_signals_by_hand(view: Any) -> None:
    known = np.array([True, True, False])
    shown = view(np.log([[3, 1, 9], [1, 1, 5]]), [0, 2])
    first, second = signals(shown, np.array([0, 1]), known)
    entropy = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    assert first == pytest.approx([np.log(3), 0, np.log(4), entropy, np.log(3), np.log(0.75)], abs=1e-6)
    assert second == pytest.approx([0, 0, np.log(2), np.log(2), 0, 0], abs=1e-6)  # no label that may be looked at


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1), st.booleans()), min_size=1, max_size=30))
def test_pairs_are_ranked_within_classes(rows: list[tuple[int, int, bool]]) -> None:
    scores, labels, member = (np.array(column) for column in zip(*rows, strict=True))
    for label, (won, pairs) in zip(np.unique(labels), ranked_pairs(scores, labels, member), strict=True):
        own = labels == label
        assert pairs == member[own].sum() * (~member[own]).sum()
        if pairs:
            assert won / pairs == pytest.approx(roc_auc_score(member[own], scores[own]))


def test_the_seed_decides_and_nothing_else(view: Any, labels: np.ndarray) -> None:
    stream = np.random.default_rng(0)
    train, test = (view(logits(stream, labels, 2.0), labels, [2]) for _ in range(2))
    found = [measure(train, test, seed=seed, samples=30)["membership_auc"] for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]


def test_nobody_to_compare_with_is_not_defined(view: Any) -> None:
    one = view(np.eye(3), [0, 1, 2], [2])
    assert measure(one, one) == dict.fromkeys(FINDINGS)
