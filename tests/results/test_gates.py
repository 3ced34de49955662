"""Sanity before any verdict, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from fedunlearn.results import gates

ORIGINAL = {"retain_accuracy": 0.9, "forget_accuracy": 0.8}
RETRAINED = [{"forget_accuracy": 0.0}, {"forget_accuracy": 0.1}]


@pytest.mark.parametrize(
    ("original", "retrained", "failed"),
    [
        (ORIGINAL, RETRAINED, []),
        ({**ORIGINAL, "retain_accuracy": 0.37}, RETRAINED, []),
        ({**ORIGINAL, "retain_accuracy": 0.36}, RETRAINED, ["original_learnt_task"]),  # 0.1 + 0.3 · 0.9 = 0.37
        ({**ORIGINAL, "forget_accuracy": 0.36}, RETRAINED, ["original_learnt_forget"]),
        (ORIGINAL, [*RETRAINED, {"forget_accuracy": 0.11}], ["retrained_at_chance"]),
        (ORIGINAL, [*RETRAINED, {"forget_accuracy": None}], ["retrained_at_chance"]),
    ],
)
def test_gates_of_ten_classes(original: Any, retrained: Any, failed: list[str]) -> None:
    found = gates.check(original, retrained, 0.1, unseen_at_chance=True, learnt=0.3)
    assert set(found) == set(gates.GATES)
    assert [name for name, passed in found.items() if not passed] == failed


def test_what_was_not_measured_or_is_not_defined_is_no_gate() -> None:
    assert gates.check(
        {"forget_accuracy": None, "retain_accuracy": 0.9}, [{}], 0.1, unseen_at_chance=True, learnt=0.3
    ) == {"original_learnt_task": True}
    assert gates.check({}, [], 0.1, unseen_at_chance=True, learnt=0.3) == {}
    known = [{"forget_accuracy": 0.7}]
    assert "retrained_at_chance" not in gates.check(ORIGINAL, known, 0.0, unseen_at_chance=False, learnt=0.3)


def test_every_gate_has_a_sentence_and_unknown_ones_their_name() -> None:
    assert all(gates.sentence(name) == text for name, text in gates.GATES.items())
    assert gates.sentence("new_gate") == "gate 'new_gate' was not passed"
