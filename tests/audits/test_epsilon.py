"""Epsilon by hand and by brute force; its lower limit, and what so few models can show."""

from __future__ import annotations

import math
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import pytest

from fedunlearn.audits import ensembles
from fedunlearn.audits.base import Evidence, Reference, Replica
from fedunlearn.audits.epsilon import AUDITS, EpsilonSettings, estimates, lower_limits, measure, most, scores
from fedunlearn.errors import RequestError
from fedunlearn.settings.schema import parse


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)[:, None]


def test_by_hand() -> None:
    """From 3.5 on: one of four is missed, and one of the four others is taken for one of them."""
    mine, theirs = column(3, 4, 5, 6), column(0, 1, 2, 3.5)
    assert estimates(mine, theirs, 0.0) == pytest.approx([math.log(3)])
    assert estimates(theirs, mine, 0.0) == pytest.approx([math.log(3)])
    assert estimates(mine, theirs, 0.25) == pytest.approx([math.log(2)])


def test_where_one_threshold_tells_nothing_two_do() -> None:
    inside, outside = column(-2, -1, 1, 2), column(-5, -4, 4, 5)
    assert estimates(inside, outside, 0.0) == [most(4)] == [2]
    assert estimates(outside, inside, 0.0) == [2]
    assert estimates(np.tile(inside, (5, 1)), outside, 0.0) == [2], "the smaller ensemble says how much can be shown"


def test_the_same_in_all_models_is_the_end_of_the_scale_and_the_same_everywhere_the_beginning() -> None:
    one, spread = column(1, 1, 1, 1), column(0, 1, 1, 9)
    assert estimates(one, spread, 0.0) == [2] == estimates(spread, one, 0.0)
    assert estimates(one, one + 1, 0.0) == [2]
    assert estimates(one, one, 0.0) == [0]


def attacked(mine: np.ndarray, theirs: np.ndarray, delta: float) -> float:
    """ε of one sample, attack by attack."""
    attacks, pooled = [], sorted([*mine, *theirs])
    upper, lower = (mine, theirs) if np.median(mine) >= np.median(theirs) else (theirs, mine)
    for threshold in pooled:
        attacks.append(([x >= threshold for x in upper], [x >= threshold for x in lower]))
    narrow, wide = (mine, theirs) if np.ptp(mine) <= np.ptp(theirs) else (theirs, mine)
    for low, high in combinations_with_replacement(pooled, 2):
        attacks.append(([low <= x <= high for x in narrow], [low <= x <= high for x in wide]))
    best = 0.0
    for called, falsely in attacks:
        fpr, fnr = sum(falsely) / len(falsely), 1 - sum(called) / len(called)
        if fpr == fnr == 0:
            return most(len(mine))
        if fpr and fnr:
            pairs = ((fpr, fnr), (fnr, fpr))
            best = max([best, *(math.log((1 - delta - a) / b) for a, b in pairs if 1 - delta - a > 0)])
    return min(best, most(len(mine)))


def test_by_brute_force() -> None:
    stream = np.random.default_rng(0)
    mine, theirs = stream.normal(size=(8, 40)).round(1), stream.normal(0.6, 2, size=(8, 40)).round(1)  # with ties
    expected = [attacked(mine[:, number], theirs[:, number], 1e-5) for number in range(40)]
    assert estimates(mine, theirs, 1e-5) == pytest.approx(expected)
    assert len(set(np.round(expected, 6))) > 3


def test_scores_halve_with_every_half() -> None:
    assert scores(np.array([0, 0.49, 0.5, 1.2, 3])).tolist() == [1, 1, 0.5, 0.25, 1 / 64]
    assert [most(models) for models in (8, 16, 512)] == [2, 3, 7]


def test_the_limit_of_ensembles_that_never_meet() -> None:
    """Both error rates are at most the width of the bands, √(ln 80 / 2h)."""
    apart = np.zeros((100, 1)), np.ones((100, 1))
    band = math.sqrt(math.log(80) / 200)
    assert lower_limits(*apart, 0.0) == pytest.approx([math.log((1 - band) / band)])
    assert lower_limits(np.zeros((8, 1)), np.ones((8, 1)), 0.0) == [0], "too few to show anything"


@pytest.mark.parametrize("sign", [1, -1])
def test_the_limit_is_by_the_better_of_both_errors_and_by_the_band_of_each_ensemble(sign: int) -> None:
    """All of 1,000 models are above 0, and half of 4,000 others: hardly any is missed, or, of the others, half are."""
    one, other = np.ones((1000, 1)), (np.arange(4000) % 2.0)[:, None]
    missed, falsely = math.sqrt(math.log(80) / 2000), 0.5 + math.sqrt(math.log(80) / 8000)
    expected = math.log((0.9 - falsely) / missed)
    assert lower_limits(sign * one, sign * other, 0.1) == pytest.approx([expected])
    assert lower_limits(sign * other, sign * one, 0.1) == pytest.approx([expected])


def test_the_limit_holds_where_epsilon_is_known() -> None:
    """Randomised response: in one ensemble 3/4 say yes, in the other 1/4, which is ε = ln 3."""
    stream = np.random.default_rng(2)
    mine, theirs = (stream.random((60, 400)) < share for share in (0.75, 0.25))
    found = lower_limits(mine.astype(float), theirs.astype(float), 0.0)
    assert found.mean() > 0.2
    assert (found > math.log(3)).mean() <= 0.05


CLASSES = 4
LABELS = np.tile(np.arange(CLASSES), 20)
SETTINGS = EpsilonSettings(replicas=15)


def planted(evidence: Any, forget: tuple[int, ...] = (1,)) -> tuple[Reference, Evidence]:
    """Originals know class 1; 16 unlearned models are like the 16 retrained ones."""
    stream = np.random.default_rng(3)

    def logits(known: float = 0.0) -> np.ndarray:
        made = stream.normal(size=(len(LABELS), CLASSES))
        made[LABELS == 1] += [0, known, 2 - known / 2, 0]
        return np.asarray(made, dtype=np.float32)

    both = [(logits(6), logits()) for _ in range(15)]
    replicas = tuple(Replica({"train": a, "test": a}, {"train": b, "test": b}) for a, b in both)
    retrained = tuple(evidence(logits(), LABELS, [1]) for _ in range(16))
    reference = Reference(evidence(logits(6), LABELS, [1]), retrained, forget, CLASSES, 0, replicas=replicas)
    return reference, evidence(logits(), LABELS, [1])


def test_originals_are_told_from_retrained_models_and_their_like_is_not(evidence: Any) -> None:
    reference, unlearned = planted(evidence)
    before, after = (measure(subject, reference, SETTINGS) for subject in (reference.original, unlearned))
    floor = [measure(subject, reference, SETTINGS) for subject in reference.retrained]
    for name in ("epsilon", "epsilon_neighbour", "forgetting_quality", "forgetting_quality_neighbour"):
        values = [each[name] for each in floor]
        assert min(values) < after[name] < max(values)  # type: ignore[operator,type-var]
    assert before["epsilon"] > max(each["epsilon"] for each in floor) + 0.2  # type: ignore[operator,type-var]
    assert before["epsilon_neighbour"] > max(each["epsilon_neighbour"] for each in floor)  # type: ignore[operator,type-var]
    assert before["epsilon_low"] > 0.3 and after["epsilon_low"] == pytest.approx(0, abs=0.02)
    assert {each["epsilon_low"] for each in floor} == {0}
    below, _ = planted(evidence, forget=())
    found = measure(below.original, below, SETTINGS)
    assert found["epsilon_neighbour"] is None and found["epsilon"] is not None
    assert measure(unlearned, reference, EpsilonSettings()) == {}


def test_findings_are_means_over_samples_and_draws_at_the_given_delta(evidence: Any) -> None:
    reference, _ = planted(evidence)
    settings = EpsilonSettings(replicas=15, samples=6, delta=0.05)
    found: Any = measure(reference.original, reference, settings)
    for name, suffix, curve in (("forget", "", "ε"), ("neighbour", "_neighbour", "ε, by neighbour")):
        asked = ensembles.asked(reference, 6)[name]
        each = np.stack([estimates(*pair, 0.05) for pair in ensembles.pairs(reference.original, reference, asked)])
        limits = lower_limits(*ensembles.whole(reference.original, reference, asked), 0.05)
        assert found[f"epsilon{suffix}"] == pytest.approx(each.mean())
        assert found[f"forgetting_quality{suffix}"] == pytest.approx(scores(each).mean())
        assert found[f"epsilon{suffix}_low"] == pytest.approx(limits.mean())
        assert found["epsilon_curves"][curve] == pytest.approx(ensembles.quantiles(each))


def test_too_few_models_are_refused() -> None:
    assert AUDITS["epsilon"].retrained(SETTINGS) == 16 and AUDITS["epsilon"].replicas(SETTINGS) == 15
    with pytest.raises(RequestError, match=r"audit.epsilon: replicas must be 0 \(off\) or at least 7, not 1"):
        parse(EpsilonSettings, {"replicas": 1}, "audit.epsilon")
