"""Damage to absorbing classes, counted by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fedunlearn.audits.base import Reference
from fedunlearn.audits.transformation_damage import AUDITS, FINDINGS, TransformationDamageSettings, precision, recall

LABELS = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3]  # class 2 is forgotten


def predicting(*classes: int) -> np.ndarray:
    return 5 * np.eye(4)[list(classes)]


def measure(found: Any, original: Any, forget: tuple[int, ...] = (2,)) -> Any:
    reference = Reference(original, (), forget, classes=4, seed=0)
    return AUDITS["transformation_damage"].measure(found, reference, TransformationDamageSettings())


@pytest.fixture
def right(evidence: Any) -> Any:
    return evidence(predicting(*LABELS), LABELS, [2])


def test_by_hand(evidence: Any, right: Any) -> None:
    # three forget samples go to class 1 and one to class 0; a sample of class 3 goes to class 1, one of class 0 too
    found = measure(evidence(predicting(0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 3), LABELS, [2]), right)
    # class 1: 9 answers, 4 of them its own, 3 forget samples; class 0: 4 answers, 3 its own, 1 forget sample
    assert found["absorber_precision"] == pytest.approx(3 / 4 * 4 / 9 + 1 / 4 * 3 / 4)
    assert found["absorber_false_matches"] == pytest.approx(3 / 4 * 2 / 6 + 1 / 4 * 0)
    assert found["absorber_recall_change"] == pytest.approx(3 / 4 * 0 + 1 / 4 * -1 / 4)
    assert found["class_recall_change"] == pytest.approx([-1 / 4, 0, 0, -1 / 2])


def test_changes_are_from_the_original_model(evidence: Any) -> None:
    poor = evidence(predicting(0, 0, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3), LABELS, [2])
    better = evidence(predicting(0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0, 0, 3, 3), LABELS, [2])
    assert measure(better, poor)["absorber_recall_change"] == pytest.approx(1 / 4)
    assert measure(poor, poor)["class_recall_change"] == [0, 0, 0, 0]


def test_a_class_that_is_never_the_answer_has_no_precision(evidence: Any, right: Any) -> None:
    logits = predicting(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 1, 1)
    logits[8:12, 3] = 4  # second choice of all forget samples: class 3, which nothing is taken for
    found = measure(evidence(logits, LABELS, [2]), right)
    assert found["absorber_precision"] is None
    assert found["absorber_false_matches"] is None
    assert found["absorber_recall_change"] == -1


def test_precision_and_recall(view: Any) -> None:
    shown = view(predicting(0, 1, 1, 1), [0, 0, 1, 2])
    everything = np.ones(4, dtype=bool)
    assert precision(shown, everything, 4).tolist() == pytest.approx([1, 1 / 3, np.nan, np.nan], nan_ok=True)
    assert recall(shown, 4).tolist() == pytest.approx([1 / 2, 1, 0, np.nan], nan_ok=True)
    assert precision(shown, shown.labels < 2, 4)[1] == 1 / 2


def test_not_defined_below_class_level(right: Any) -> None:
    assert measure(right, right, forget=()) == dict.fromkeys(FINDINGS)
