"""Accuracy by hand, on both splits and at both kinds of request."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from torch import nn

from fedunlearn.audits.accuracy import AUDITS, AccuracySettings, class_accuracy
from fedunlearn.audits.base import Evidence, Reference
from fedunlearn.errors import RunError


def outputs(predicted: list[int], classes: int = 3) -> np.ndarray:
    """Logits whose largest is that of the predicted class."""
    return np.eye(classes)[predicted]


def measure(train: Any, test: Any, forget_classes: tuple[int, ...], classes: int = 3) -> Any:
    found = Evidence(nn.Identity(), train, test)
    reference = Reference(found, (), forget_classes, classes, seed=0)
    return AUDITS["accuracy"].measure(found, reference, AccuracySettings())


def test_class_level_by_hand(view: Any) -> None:
    train = view(outputs([2, 0, 2, 1]), [2, 2, 0, 1], forget=[2])
    test = view(outputs([0, 1, 1, 2, 2, 2, 1]), [0, 0, 1, 2, 2, 2, 2], forget=[2])
    assert measure(train, test, (2,)) == {
        "forget_accuracy": 3 / 4,
        "retain_accuracy": 2 / 3,
        "forget_accuracy_train": 1 / 2,
        "retain_accuracy_train": 1 / 2,
        "class_accuracy": [1 / 2, 1.0, 3 / 4],
    }


def test_below_class_level_no_test_sample_is_forgotten(view: Any) -> None:
    train = view(outputs([0, 1, 1, 1]), [0, 1, 2, 0])
    train.forget[:] = [True, False, True, True]  # samples of several classes, as a client would hold
    test = view(outputs([0, 1, 0]), [0, 1, 2])
    found = measure(train, test, ())
    assert found["forget_accuracy"] is None
    assert found["retain_accuracy"] == pytest.approx(2 / 3)
    assert (found["forget_accuracy_train"], found["retain_accuracy_train"]) == (pytest.approx(1 / 3), 1.0)


def test_a_retain_sample_predicted_as_forgotten_is_wrong(view: Any) -> None:
    test = view([[0.9, 0.1, 1.0], [0.9, 0.1, -1.0], [0, 1, 0], [0, 0, 1]], [0, 0, 1, 2], forget=[2])
    assert measure(test, test, (2,))["retain_accuracy"] == pytest.approx(2 / 3)


def test_a_class_without_test_samples_is_an_error(view: Any) -> None:
    with pytest.raises(RunError, match="class 1 has no sample in the test split"):
        class_accuracy(view(outputs([0, 2]), [0, 2]), classes=3)
