"""What gives a request away: a row of the head that moved, a class that fell silent, an accuracy that fell."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fedunlearn.audits.base import Evidence, Reference
from fedunlearn.audits.request_leak import (
    AUDITS,
    FINDINGS,
    RequestLeakSettings,
    accuracy,
    forgotten,
    rank,
    silenced,
)
from fedunlearn.models.base import Network


def measure(evidence: Evidence, reference: Any) -> Any:
    return AUDITS["request_leak"].measured(evidence, reference, RequestLeakSettings())


def test_ranks_by_hand() -> None:
    scores = np.array([0.3, 0.9, 0.3, 0.1, 0.3])
    assert rank(scores, np.array([False, True, False, False, False])) == 1
    assert rank(scores, np.array([False, False, False, True, False])) == 5
    assert rank(scores, np.array([True, False, False, False, False])) == 1 + 1 + 2 / 2, "equal ones count half"
    assert rank(scores, np.array([True, True, False, False, False])) == 1.5, "1 and 2, among the three others"


@settings(max_examples=30)
@given(st.lists(st.integers(-3, 3), min_size=3, max_size=8), st.integers(1, 2))
def test_ranks_of_all_choices_are_chance_on_average(scores: list[int], size: int) -> None:
    """Who is forgotten by chance has the rank of chance, whatever the scores."""
    values, count = np.array(scores, dtype=float), len(scores)
    chosen = [(i,) for i in range(count)] if size == 1 else [(i, j) for i in range(count) for j in range(i)]
    ranks = [rank(values, np.isin(np.arange(count), each)) for each in chosen]
    assert np.mean(ranks) == pytest.approx(1 + (count - size) / 2)


def test_the_original_is_at_chance_and_a_mask_gives_itself_away_to_all(trained: Any) -> None:
    assert measure(trained("original"), trained.reference) == dict.fromkeys(FINDINGS, 2.5)
    assert measure(trained("masked"), trained.reference) == dict.fromkeys(FINDINGS, 1.0)


def test_a_retrained_model_falls_silent_about_what_it_never_saw(trained: Any) -> None:
    for name in ("retrained_0", "retrained_1"):
        found = measure(trained(name), trained.reference)
        assert found["request_rank_accuracy"] == 1
        assert found["request_rank_outputs"] <= 2, "better than by chance; the classes are few"
        assert 1 <= found["request_rank_rows"] <= 4


def test_a_row_that_moved_most_is_found_whichever_it_is(trained: Any) -> None:
    original = trained("original")
    for moved, expected in ((1, 1), (2, 2)):
        model = copy.deepcopy(original.model)
        with torch.no_grad():
            model.head.weight[moved] += 1
            model.head.weight[1, 0] += 0.5
        found = measure(replace(original, model=model), trained.reference)
        assert found["request_rank_rows"] == expected


def test_silence_by_hand(view: Any) -> None:
    before, after = (view(np.log(said), [0, 1]) for said in ([[0.5, 0.5], [0.5, 0.5]], [[0.8, 0.2], [0.4, 0.6]]))
    found = silenced(before, after, np.array([True, True]))
    assert found == pytest.approx([np.log(0.5 / 0.4), np.log(0.5 / 0.2)]), "class 0 on the image of 1, and the reverse"
    alone = silenced(before, after, np.array([True, False]))
    assert alone == pytest.approx([0, np.log(0.5 / 0.2)]), "nothing is known of the class of all images"


def test_accuracy_by_hand(view: Any) -> None:
    assert accuracy(view(np.eye(4)[[0, 1, 1, 0]], [0, 0, 1, 3])).tolist() == [0.5, 1, 0, 0]


def test_below_class_level_the_class_of_most_forgotten_samples_is_asked_for(view: Any) -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    split = view(np.eye(3)[labels], labels)
    split = replace(split, forget=np.array([True, False, False, True, True, True]))
    reference = Reference(Evidence(nn.Identity(), split, split), (), (), classes=3, seed=0)
    assert forgotten(reference).tolist() == [False, True, False]
    assert forgotten(replace(reference, forget_classes=(0, 2))).tolist() == [True, False, True]


def test_where_there_is_nothing_to_guess_or_no_rows(trained: Any) -> None:
    original, reference = trained("original"), trained.reference
    assert measure(original, replace(reference, forget_classes=(0, 1, 2, 3))) == dict.fromkeys(FINDINGS)
    deep = Network(nn.Flatten(), nn.Sequential(nn.Linear(16, 4), nn.ReLU()))
    assert measure(replace(original, model=deep), reference)["request_rank_rows"] is None
