"""Numbers of verification and retrieval by brute force, by scikit-learn, and on hand-made distances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_curve

from fedunlearn.audits import matching
from fedunlearn.audits.matching import Shown

STREAM = np.random.default_rng(0)
MANY = Shown(STREAM.normal(size=(23, 4)).astype(np.float32), STREAM.integers(0, 5, 23))
SOME = st.lists(st.integers(0, 6), min_size=1, max_size=12).map(lambda values: np.array(values, dtype=float))


def test_pairs_are_all_of_two_images_each_once() -> None:
    found = matching.pairs(MANY)
    genuine, impostor, who = [], [], []
    for i in range(len(MANY)):
        for j in range(i + 1, len(MANY)):
            apart = float(np.linalg.norm(MANY.features[i].astype(float) - MANY.features[j].astype(float)))
            (genuine if MANY.who[i] == MANY.who[j] else impostor).append(apart)
            who += [MANY.who[i]] * int(MANY.who[i] == MANY.who[j])
    np.testing.assert_allclose(found.genuine, genuine, atol=1e-6)
    np.testing.assert_allclose(found.impostor, impostor, atol=1e-6)
    assert found.who.tolist() == who


def test_impostors_are_found_across_individuals_only() -> None:
    one, other = MANY.at(np.arange(9)), MANY.at(np.arange(9, 23))
    expected = sum(int(a != b) for a in one.who for b in other.who)
    assert len(matching.between(one, other)) == expected < len(one) * len(other)
    joined = matching.together([one, other])
    assert joined.who.tolist() == MANY.who.tolist() and len(joined) == 23


@given(impostor=SOME, rate=st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0]))
def test_a_threshold_accepts_at_most_its_rate_and_no_larger_one_does(impostor: np.ndarray, rate: float) -> None:
    limit = matching.threshold(impostor, rate)
    assert matching.accepted(impostor, limit) <= rate + 1e-12
    assert limit == np.inf or matching.accepted(impostor, limit + 0.5) > rate - 1e-12


def test_true_accept_rates_are_those_of_the_roc_curve() -> None:
    found = matching.pairs(MANY)
    truth = np.r_[np.ones(len(found.genuine)), np.zeros(len(found.impostor))]
    far, tar, _ = roc_curve(truth, -np.r_[found.genuine, found.impostor], drop_intermediate=False)
    for rate in (0.01, 0.1, 0.37):
        limit = matching.threshold(found.impostor, rate)
        assert matching.accepted(found.genuine, limit) == pytest.approx(tar[far <= rate].max())


def test_nobody_is_accepted_of_none() -> None:
    assert np.isnan(matching.accepted(np.zeros(0), 1.0))


@given(genuine=SOME, impostor=SOME)
def test_equal_error_rate_by_trying_every_limit(genuine: np.ndarray, impostor: np.ndarray) -> None:
    tried = []
    for limit in np.unique([*genuine, *impostor, np.inf]):
        wrongly, rejected = (impostor < limit).mean(), (genuine >= limit).mean()
        tried.append((abs(wrongly - rejected), (wrongly + rejected) / 2))
    best = min(difference for difference, _ in tried)
    found = matching.equal_error_rate(genuine, impostor)
    assert any(found == pytest.approx(rate) for difference, rate in tried if difference == pytest.approx(best))
    assert 0 <= found <= 1


def test_equal_error_rate_and_d_prime_at_the_ends() -> None:
    near, far = np.array([0.0, 1, 2]), np.array([3.0, 4, 5])
    assert matching.equal_error_rate(near, far) == 0 and matching.equal_error_rate(near, near) == pytest.approx(1 / 2)
    assert matching.d_prime(near, far) == pytest.approx(3 / np.sqrt(2 / 3))
    assert matching.d_prime(np.ones(2), np.ones(3)) is None


def test_ranks_by_loops_and_by_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "ROWS", 7)
    first, precision = matching.ranked(MANY, MANY, np.arange(len(MANY)))
    apart = matching.distances(MANY.features, MANY.features)
    for i in range(len(MANY)):
        others = [j for j in range(len(MANY)) if j != i]
        right = [int(MANY.who[j] == MANY.who[i]) for j in others]
        if not any(right):
            assert np.isnan(first[i]) and np.isnan(precision[i])
            continue
        assert first[i] == right[int(np.argmin(apart[i, others]))]
        assert precision[i] == pytest.approx(average_precision_score(right, -apart[i, others]))


def test_a_gallery_apart_and_a_probe_that_is_not_in_it() -> None:
    gallery = Shown(np.array([[0.0], [1.0], [2.0]]), np.array([0, 1, 0]))
    probes = Shown(np.array([[0.9], [0.1], [5.0]]), np.array([0, 0, 7]))
    first, precision = matching.ranked(probes, gallery)
    np.testing.assert_array_equal(first, [0, 1, np.nan])
    np.testing.assert_allclose(precision, [(1 / 2 + 2 / 3) / 2, (1 + 2 / 3) / 2, np.nan])


def test_intervals_are_over_individuals() -> None:
    values = matching.by_individual(np.array([1.0, 0, 1, 1]), np.array([4, 4, 4, 9]))
    assert values.tolist() == pytest.approx([2 / 3, 1])
    low, high = matching.interval(np.array([0.0, 1.0] * 8), np.random.default_rng(1))
    assert 0.2 < low < 0.5 < high < 0.8
    assert matching.interval(np.array([0.4]), np.random.default_rng(1)) == [0.4, 0.4]
