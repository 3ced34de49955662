"""A confidence worked out by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
from fedunlearn_audit.confidence import AUDIT, ConfidenceSettings, measure


def view(logits, forget):
    return SimpleNamespace(logits=np.array(logits, dtype=np.float32), forget=np.array(forget))


def test_it_is_the_mean_over_the_forget_samples():
    train = view([[np.log(3), 0], [0, 0], [9, 0]], [True, True, False])  # 3/4 and 1/2; the third stays
    nothing = view([[1, 2]], [False])
    found = measure(SimpleNamespace(train=train, test=nothing), None, ConfidenceSettings())
    assert found["forget_confidence"] == pytest.approx(0.625)
    assert found["forget_confidence_test"] is None


def test_a_high_temperature_makes_every_model_unsure():
    train = view([[5, 0]], [True])
    sure, unsure = (
        measure(SimpleNamespace(train=train, test=train), None, ConfidenceSettings(temperature=t))["forget_confidence"]
        for t in (1.0, 1e6)
    )
    assert sure > 0.99 and unsure == pytest.approx(0.5, abs=1e-4)


def test_all_that_it_finds_is_declared():
    assert {finding.name for finding in AUDIT.declared(ConfidenceSettings())} == {
        "forget_confidence",
        "forget_confidence_test",
    }
