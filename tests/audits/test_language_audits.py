"""Audits of language models by hand: on token losses that are written down, and on models that echo or know nothing."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fedunlearn.audits import (
    answer_probability,
    answer_relearning,
    extraction,
    min_k,
    model_utility,
    own_words,
    truth_ratio,
)
from fedunlearn.audits.base import Evidence, Reference, Samples, View
from fedunlearn.data.types import Dataset

NO = -100


def view_of(losses: Any, targets: Any, forget: Any, right: Any = None, groups: Any = None, samples: Any = None) -> View:
    losses, targets = np.asarray(losses, dtype=np.float32), np.asarray(targets)
    right = np.zeros_like(targets, dtype=bool) if right is None else np.asarray(right, dtype=bool)
    score = (right & (targets != NO)).sum(1) / np.maximum((targets != NO).sum(1), 1)
    groups = np.zeros(len(targets), dtype=np.int64) if groups is None else np.asarray(groups)
    features, said = np.zeros((len(targets), 2)), {"losses": losses, "right": right}
    more = {} if samples is None else {"samples": samples}
    return View(features, said, targets, groups, np.asarray(forget, dtype=bool), score, **more)


def alone(view: View, test: View | None = None, model: nn.Module | None = None) -> Evidence:
    return Evidence(model or nn.Identity(), view, test or view)


def reference(original: Evidence, *retrained: Evidence) -> Reference:
    return Reference(original, retrained, (0,), classes=2, seed=0)


def test_answer_probability_is_a_geometric_mean_over_tokens() -> None:
    view = view_of(
        [[0, math.log(2), math.log(8)], [0, math.log(5), 0], [0, 0, 0]],
        [[NO, 1, 2], [NO, 1, NO], [NO, 1, 2]],
        [1, 1, 0],
    )
    found = answer_probability.measure(
        alone(view), reference(alone(view)), answer_probability.AnswerProbabilitySettings()
    )
    assert found["forget_probability"] == pytest.approx((1 / 4 + 1 / 5) / 2)
    assert found["retain_probability"] == 1.0


@pytest.mark.parametrize(
    ("right", "strength"),
    [([1, 1, 1, 1], 1), ([0, 1, 1, 1], 3 / 4), ([1, 1, 0, 1], 1 / 4), ([1, 1, 1, 0], 0), ([0, 0, 0, 0], 0), ([], 0)],
)
def test_extraction_strength_is_the_share_after_the_last_wrong_token(right: list[int], strength: float) -> None:
    assert extraction.trailing(np.array(right, dtype=bool)) == strength


def test_extraction_looks_at_the_answer_alone() -> None:
    view = view_of(np.zeros((2, 3)), [[NO, 1, 2], [NO, 1, 2]], [1, 0], right=[[0, 1, 1], [1, 0, 0]])
    found = extraction.measure(alone(view), reference(alone(view)), extraction.ExtractionSettings())
    assert found == {"forget_extraction": 1.0, "retain_extraction": 0.0}


def test_min_k_scores_are_the_least_likely_tokens() -> None:
    view = view_of([[9, 1, 4, 2, 3, 0], [9, 5, 0, 0, 0, 0]], [[NO, 1, 1, 1, 1, 1], [NO, 1, NO, NO, NO, NO]], [1, 1])
    assert min_k.scores(view, view.forget, 0.4).tolist() == [-(4 + 3) / 2, -5.0]


def test_privleak_of_a_retrained_model_against_itself_is_nothing() -> None:
    assert min_k.privleak(0.6, 0.6) == 0.0
    assert min_k.privleak(0.9, 0.6) == pytest.approx(50)
    assert min_k.privleak(0.9, 0.0) is None
    targets = [[1, 1]] * 4
    knows = alone(view_of([[0, 0]] * 4, targets, [1] * 4), view_of([[1, 1]] * 4, targets, [1] * 4))
    never = alone(
        view_of([[1, 1], [2, 2], [3, 3], [4, 4]], targets, [1] * 4),
        view_of([[1, 1], [2, 2], [3, 3], [5, 5]], targets, [1] * 4),
    )
    settings, beside = min_k.MinKSettings(), reference(knows, never)
    assert min_k.measure(never, beside, settings)["privleak"] == 0.0
    found = min_k.measure(knows, beside, settings)
    assert found["min_k_auc"] == 1.0 and found["privleak"] == pytest.approx(100 * (16 - 8.5) / 8.5)


def test_the_truth_ratio_by_hand() -> None:
    found = truth_ratio.ratio(np.array([0.5, 0.1]), np.array([[0.1, 0.3], [0.1, 0.1]]))
    assert found.tolist() == pytest.approx([0.4, 1.0])


def test_model_utility_is_a_harmonic_mean() -> None:
    assert model_utility.harmonic([0.5, 1.0, 0.25]) == pytest.approx(3 / (2 + 1 + 4))
    assert model_utility.harmonic([0.5, 0.0]) == 0.0 and model_utility.harmonic([]) is None


class Table(nn.Module):
    """Says that each row of tokens goes on as in a table of whole rows, or says nothing at all."""

    def __init__(self, rows: torch.Tensor, vocabulary: int, knows: bool = True) -> None:
        super().__init__()
        self.rows, self.vocabulary, self.knows = rows.long(), vocabulary, knows
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, inputs: Any) -> torch.Tensor:
        tokens, there = inputs["tokens"], inputs["there"]
        logits = torch.zeros(*tokens.shape, self.vocabulary) + self.weight
        if self.knows:
            for one in range(len(tokens)):
                for place in range(int(there[one].sum())):
                    same = (self.rows[:, : place + 1] == tokens[one, : place + 1]).all(1).nonzero()[:, 0]
                    if len(same):
                        logits[one, place, self.rows[same[0], place + 1]] += 20.0
        return logits


@pytest.fixture(scope="module")
def few(fictions: Dataset) -> Any:
    """`few(knows)`: evidence about six samples, the first three of them to be forgotten."""
    pytest.importorskip("rouge_score")
    split = fictions.train.at(torch.arange(6))

    def make(knows: bool) -> Evidence:
        model = Table(split.inputs["tokens"], fictions.sample.vocabulary, knows)
        samples = Samples(split.inputs, fictions.prepare, torch.device("cpu"))
        view = view_of(
            np.zeros(split.targets.shape),
            split.targets.numpy(),
            np.arange(6) < 3,
            groups=split.groups,
            samples=samples,
        )
        return alone(view, replace(view), model)

    return make


def test_an_echo_has_a_verbmem_of_100_and_silence_none(few: Any) -> None:
    settings = own_words.OwnWordsSettings()
    echo, silent = few(True), few(False)
    found = own_words.measure(echo, reference(echo), settings)
    assert found == {**dict.fromkeys(found, 100.0), "forget_rouge": 1.0, "retain_rouge": 1.0}
    assert set(own_words.measure(silent, reference(echo), settings).values()) == {0.0}


def test_who_knows_nothing_finds_true_and_false_alike(few: Any) -> None:
    silent = few(False)
    found = truth_ratio.measure(silent, reference(silent, few(False)), truth_ratio.TruthRatioSettings())
    assert found["forget_truth_ratio"] == pytest.approx(1) and found["retain_truth_ratio"] == pytest.approx(0, abs=1e-9)
    assert found["forget_ks"] == 0.0 and found["forget_quality"] == pytest.approx(1)
    only = truth_ratio.measure(silent, reference(silent, silent), truth_ratio.TruthRatioSettings())
    assert only["forget_ks"] is None, "there is no other retrained model"


def test_likelihoods_are_those_of_the_answers_tokens(few: Any, fictions: Dataset) -> None:
    from fedunlearn.audits.answering import Speaker

    raw, silent = few(False).train.samples.raw, Speaker.of(few(False))
    found = silent.likelihoods(raw["tokens"], raw["asked"])
    assert found.tolist() == pytest.approx([1 / fictions.sample.vocabulary] * 6)
    assert Speaker.of(few(True)).likelihoods(raw["tokens"], raw["asked"]).min() > 0.99


def test_a_little_training_brings_nothing_back_to_who_cannot_learn(few: Any) -> None:
    settings = answer_relearning.AnswerRelearningSettings(steps=2, seeds=1)
    echo, silent = few(True), few(False)
    assert answer_relearning.measure(echo, reference(echo), settings)["relearnt_accuracy"] == 1.0
    assert answer_relearning.measure(silent, reference(echo), settings)["relearnt_accuracy"] < 0.2
    assert torch.equal(silent.model.weight, torch.zeros(1)), "the model is left as it is"
