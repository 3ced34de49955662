"""Every word of the judgement on requests for clients and samples, from numbers chosen for it."""

from __future__ import annotations

from typing import Any

import pytest

from fedunlearn.results.findings import Finding, by_name
from fedunlearn.results.judgement import BLIND, judge
from fedunlearn.results.verdict import Compared, Verdict

DECLARED = by_name(
    [
        Finding("forget_accuracy_train", "accuracy on them", "", "up"),
        Finding("retain_accuracy", "retain accuracy", ""),
        Finding("membership_auc", "membership", ""),
    ]
)
# eight models: bands 0.84 to 0.88 and 0.48 to 0.52
PAIR = [
    {"forget_accuracy_train": 0.85, "membership_auc": 0.49, "retain_accuracy": 0.80},
    {"forget_accuracy_train": 0.87, "membership_auc": 0.51, "retain_accuracy": 0.84},
]
ORIGINAL = {"forget_accuracy_train": 0.99, "membership_auc": 0.7, "retain_accuracy": 0.83}
INSIDE = {"forget_accuracy_train": 0.86, "membership_auc": 0.5, "retain_accuracy": 0.82}


def judged(changes: Any = None, original: Any = ORIGINAL, retrained: Any = PAIR * 4, **more: Any) -> Verdict:
    models = Compared(original, {**INSIDE, **(changes or {})}, retrained)
    return judge(models, more.get("declared", DECLARED), more.get("gates", {}), samples=1000)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "as retrained"),
        ({"forget_accuracy_train": 0.88, "membership_auc": 0.48}, "as retrained"),
        ({"forget_accuracy_train": 0.89}, "more left"),
        ({"membership_auc": 0.53}, "more left"),
        ({"forget_accuracy_train": 0.83}, "less left"),
        ({"membership_auc": 0.47}, "less left"),
        ({"forget_accuracy_train": 0.6, "membership_auc": 0.53}, "more left"),
    ],
)
def test_words(changes: dict[str, float], word: str) -> None:
    assert judged(changes).word == word


def test_what_the_original_model_cannot_be_told_by_says_only_that_less_is_left() -> None:
    blind = {**ORIGINAL, "membership_auc": 0.51}
    assert judged({"membership_auc": 0.6}, blind).word == "as retrained"
    assert judged({"membership_auc": 0.4}, blind).word == "less left"
    found = judged({}, {**blind, "forget_accuracy_train": 0.88})
    assert (found.word, found.reasons[0], found.counts) == (None, BLIND, ())
    assert judged({"membership_auc": 0.4}, blind).below == ("membership_auc",)
    assert any("does not count where more is left: accuracy on them, membership" in reason for reason in found.reasons)


def test_an_original_model_that_is_hardly_above_a_band_proves_nothing() -> None:
    near = {**ORIGINAL, "forget_accuracy_train": 0.89, "membership_auc": 0.52}
    assert judged({}, near).word is None
    assert judged({}, {**near, "forget_accuracy_train": 0.91}).word == "as retrained", "2.5 half widths from the mean"


def test_few_retrained_models_make_wide_bands() -> None:
    assert judged({"forget_accuracy_train": 0.92}, retrained=PAIR * 2).word == "more left", "0.82 to 0.9"
    assert judged({"forget_accuracy_train": 0.89}, retrained=PAIR * 2).word == "as retrained"
    assert any("only 4 models were retrained" in reason for reason in judged({}, retrained=PAIR * 2).reasons)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"gates": {"original_learnt_task": False}}, "the original model did not learn the task"),
        ({"retrained": PAIR[:1]}, "one retrained model"),
        ({"declared": {}}, "switched off"),
        ({"changes": {"forget_accuracy_train": None, "membership_auc": None}}, "switched off"),
    ],
)
def test_no_judgement(given: dict[str, Any], said: str) -> None:
    found = judged(**given)
    assert found.word is None and said in found.reasons[0] and not found.margins


def test_one_finding_is_enough_and_damage_is_said() -> None:
    found = judged({"membership_auc": None, "retain_accuracy": 0.5})
    assert found.word == "as retrained" and found.counts == ("forget_accuracy_train",)
    assert "the rest was damaged: retain accuracy 0.500, retrained 0.820" in found.reasons
