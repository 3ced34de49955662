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


def test_samples_of_a_class_are_asked_about_as_the_retrained_models_call_them(evidence: Any) -> None:
    """Not by the mean of logits: a single model that shouts is one voice in log-probabilities of its own."""
    first = evidence([[0.0, 9.0, 1.0, 0.0], [5.0, 9.0, 0.0, 0.0]], [1, 1], [1])
    second = evidence([[0.0, 0.0, 1.0, 0.0], [0.0, 9.0, 2.0, 0.0]], [1, 1], [1])
    shown, classes = asked_for(Reference(first, (first, second), (1,), 4, 0))
    assert shown.tolist() == [True, False, True, True]
    assert classes.tolist() == [2, 0]
