"""Margins by hand, and which class forget samples are asked about."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from fedunlearn.audits.base import Reference
from fedunlearn.audits.margins import asked_for, margins


def test_a_margin_is_the_logit_of_a_probability() -> None:
    logits, classes = np.array([[1.0, 2.0, 3.0]]), np.array([0])
    everything = margins(logits, np.ones(3, dtype=bool), classes)
    assert everything == pytest.approx([1 - math.log(math.exp(2) + math.exp(3))])
    assert margins(logits, np.array([True, True, False]), classes) == pytest.approx([1 - 2])


def test_nothing_is_lost_where_one_class_is_nearly_certain() -> None:
    found = margins(np.array([[16, 16, 0]], dtype=np.float32), np.ones(3, dtype=bool), np.array([0]))
    assert found == pytest.approx([-math.log1p(math.exp(-16))], rel=1e-6)


def test_samples_of_a_class_are_asked_about_as_the_retrained_models_call_them_together(evidence: Any) -> None:
    """By the mean of logits: in the last sample, two models are less sure of class 0 than one is of class 3."""
    labels = [0, 1, 1, 2, 1]
    first = evidence([[9, 0, 0, 0], [0, 9, 1, 0], [5, 9, 0, 0], [0, 0, 9, 0], [2, 0, 0, 0]], labels, [1])
    second = evidence([[9, 0, 0, 0], [0, 0, 1, 0], [0, 9, 2, 0], [0, 0, 9, 0], [0, 0, 0, 3]], labels, [1])
    third = evidence([*np.zeros((4, 4)), [0.5, 0, 0, 0]], labels, [1])
    shown, classes = asked_for(Reference(first, (first, second, third), (1,), 4, 0))
    assert shown.tolist() == [True, False, True, True]
    assert classes.tolist() == [2, 0, 3]


def test_below_class_level_samples_are_asked_about_by_their_label(evidence: Any) -> None:
    made = evidence(np.eye(4)[::-1], [0, 1, 2, 3], [1, 3])
    shown, classes = asked_for(Reference(made, (made,), (), 4, 0))
    assert shown.all() and classes.tolist() == [1, 3]
