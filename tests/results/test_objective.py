from __future__ import annotations

import pytest

from fedunlearn.errors import RequestError
from fedunlearn.results import objective
from fedunlearn.results.findings import Finding, by_name
from fedunlearn.results.summary import Summary

DECLARED = by_name(
    [
        Finding("forget_accuracy", "", "", "up"),
        Finding("forget_accuracy_train", "", "", "up", stands_in_for="forget_accuracy"),
        Finding("retain_accuracy", "", ""),
        Finding("leak", "", "", "up", counted=True),
        Finding("similar", "", "", "similarity"),
        Finding("classes", "", "", kind="list"),
    ]
)


def value(weights=None, **gaps):
    return objective.value(Summary("done", findings=DECLARED, gap=gaps), weights)


def test_it_is_the_distance_to_retrained_models_and_the_excess_of_the_leak():
    assert value(forget_accuracy=0.1, retain_accuracy=-0.2, leak=0.4) == pytest.approx(0.7)
    assert value(forget_accuracy=-0.1, retain_accuracy=0.2, leak=-0.4) == pytest.approx(0.3), "less leak is no fault"


def test_a_stand_in_takes_the_place_of_what_is_not_defined():
    assert value(forget_accuracy=None, forget_accuracy_train=0.5, retain_accuracy=0.0) == 0.5


def test_weights_choose_findings():
    assert value({"leak": 2, "similar": 1}, leak=0.25, similar=-0.5, retain_accuracy=9) == 1.0
    assert value({"similar": 1}, similar=0.5) == 0.0, "more like retrained models than they are like each other"


def test_without_what_was_asked_for_there_is_none():
    assert value({"leak": 1}, leak=None, retain_accuracy=0.1) is None
    assert value(similar=0.1) is None


@pytest.mark.parametrize("name", ["leek", "classes"])
def test_only_numbers_that_the_audits_declare_can_be_asked_for(name):
    objective.check({"leak": 1.0}, DECLARED)
    objective.check(None, DECLARED)
    with pytest.raises(RequestError, match="of this run for"):
        objective.check({name: 1.0}, DECLARED)
