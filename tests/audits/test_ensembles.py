"""Which models are compared with which: always as many, never one with itself, the same draws for all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fedunlearn.audits import ensembles
from fedunlearn.audits.base import Evidence, Reference, Replica
from fedunlearn.audits.ensembles import Asked

CLASSES = 4
LABELS = np.repeat(np.arange(CLASSES), 5)


def numbered(evidence: Any, number: float) -> Evidence:
    """A model whose margin of class 0 among two classes is its number."""
    logits = np.zeros((len(LABELS), CLASSES))
    logits[:, 0] = number
    made: Evidence = evidence(logits, LABELS, [1])
    return made


def replica(evidence: Any, original: float, unlearned: float) -> Replica:
    both = (numbered(evidence, number).train.logits for number in (original, unlearned))
    return Replica(*({"train": logits, "test": logits} for logits in both))


@pytest.fixture(scope="module")
def reference(evidence: Any) -> Reference:
    """Original models are numbered 50 to 53, unlearned ones 60 to 63, retrained ones 1 to 9."""
    retrained = tuple(numbered(evidence, number) for number in range(1, 10))
    replicas = tuple(replica(evidence, 50 + number, 60 + number) for number in (1, 2, 3))
    return Reference(numbered(evidence, 50), retrained, (1,), CLASSES, 0, replicas=replicas)


ONE = Asked("train", np.array([0]), np.array([True, False, False, True]), np.array([0]))  # class 0 against class 3


def drawn(subject: Evidence, reference: Reference) -> list[tuple[list[int], list[int]]]:
    return [
        (mine[:, 0].astype(int).tolist(), theirs[:, 0].astype(int).tolist())
        for mine, theirs in ensembles.pairs(subject, reference, ONE)
    ]


def test_a_retrained_model_is_in_the_half_that_is_measured(reference: Reference) -> None:
    for number, subject in enumerate(reference.retrained, start=1):
        ((mine, theirs),) = drawn(subject, reference)
        assert mine[0] == number and len(mine) == len(theirs) == 4
        assert len({*mine, *theirs}) == 8 and {*mine, *theirs} <= set(range(1, 10))


def test_others_are_held_against_the_same_halves(reference: Reference, evidence: Any) -> None:
    halves = [theirs for subject in reference.retrained for _, theirs in drawn(subject, reference)]
    unlearned = numbered(evidence, 60)
    for subject, first in ((reference.original, 50), (unlearned, 60)):
        found = drawn(subject, reference)
        assert [theirs for _, theirs in found] == halves
        assert all(sorted(mine) == [first, first + 1, first + 2, first + 3] for mine, _ in found)


def test_as_many_are_compared_as_the_smaller_ensemble_has(reference: Reference) -> None:
    few = Reference(reference.original, reference.retrained, (1,), CLASSES, 0, replicas=reference.replicas[:2])
    assert {len(models) for pair in drawn(few.original, few) for models in pair} == {3}
    assert len({tuple(sorted(mine)) for mine, _ in drawn(few.original, few)}) == 1
    fewer = Reference(reference.original, reference.retrained[:4], (1,), CLASSES, 0, replicas=reference.replicas)
    found = drawn(fewer.original, fewer)
    assert {len(models) for pair in found for models in pair} == {2}
    assert len({tuple(sorted(mine)) for mine, _ in found}) > 1, "every draw has others"


def test_margins_are_cut_off(evidence: Any) -> None:
    models = [{"train": numbered(evidence, number).train.logits} for number in (1000, -1000, 7)]
    assert ONE.of(models)[:, 0].tolist() == [100, -100, 7]


def test_what_is_asked(reference: Reference) -> None:
    found = ensembles.asked(reference, 500)
    assert list(found) == ["forget", "retain", "test", "neighbour"]
    assert {name: len(each.rows) for name, each in found.items()} == {
        "forget": 5,
        "retain": 15,
        "test": 15,
        "neighbour": 5,
    }
    assert set(found["forget"].classes) == {1} and found["forget"].shown.all()
    assert set(found["neighbour"].classes) == {0}, "what retrained models say first"
    assert found["neighbour"].shown.tolist() == [True, False, True, True]
    assert (found["test"].classes == LABELS[LABELS != 1]).all()
    some = ensembles.asked(reference, 3)
    assert all(len(each.rows) == 3 for each in some.values())
    assert set(some["neighbour"].rows) <= set(np.flatnonzero(LABELS == 1))
    assert all((np.diff(each.rows) > 0).all() for each in some.values()), "each once, in their order"
    assert any(each.rows[0] != found[name].rows[0] for name, each in some.items()), "not the first ones"


def test_a_drawn_sample_keeps_its_own_neighbour_and_split(reference: Reference, evidence: Any) -> None:
    """The retrained models take the four forget samples for classes 0, 2, 3 and 0."""
    labels, number = np.repeat([1, 0, 2, 3], 4), np.arange(4)
    logits = np.zeros((16, CLASSES), dtype=np.float32)
    logits[number, [0, 2, 3, 0]] = 5
    splits = (evidence(each, labels, [1]).train for each in (logits, logits + np.eye(CLASSES)[0]))
    made = Evidence(reference.original.model, *splits)
    other = Reference(made, (made,) * 4, (1,), CLASSES, 0)
    asked = ensembles.asked(other, 3)["neighbour"]
    assert asked.classes.tolist() == [[0, 2, 3, 0][row] for row in asked.rows]
    everything = Asked("test", np.array([15]), np.ones(CLASSES, dtype=bool), np.array([0]))
    (theirs,), _ = next(ensembles.pairs(made, replace(other, retrained=(made, made)), everything))
    assert theirs == pytest.approx([1 - np.log(3)])


def test_quantiles_are_over_samples_and_their_means_over_draws() -> None:
    found = ensembles.quantiles(np.array([[0.0, 4.0, 2.0], [1.0, 1.0, 5.0]]))
    assert [found[place] for place in (0, 10, 20)] == [0.5, 1.5, 4.5]


def test_below_class_level_and_where_one_class_stays_there_is_no_neighbour(reference: Reference) -> None:
    for forgotten in ((), (0, 1, 2)):
        other = Reference(reference.original, reference.retrained, forgotten, CLASSES, 0)
        assert "neighbour" not in ensembles.asked(other, 500)
