"""The exhibits of answers, from views whose every answer is chosen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fedunlearn.audits.answers import AUDITS, LARGEST, AnswersSettings, small
from fedunlearn.audits.base import Evidence, Reference, Samples, View

IMAGES = torch.arange(4 * 1 * 2 * 2, dtype=torch.uint8).reshape(4, 1, 2, 2)


def view(answers: list[int], forget: list[bool]) -> View:
    """Four samples of the classes 0, 1, 2, 2; logits of 2 for the answer and 0 for the others."""
    labels = np.array([0, 1, 2, 2])
    logits = 2 * np.eye(3, dtype=np.float32)[answers]
    samples = Samples({"images": IMAGES}, lambda raw: raw, torch.device("cpu"))
    score = (np.array(answers) == labels).astype(float)
    return View(logits, {"logits": logits}, labels, labels, np.array(forget), score, samples)


def evidence(answers: list[int], forget: list[bool]) -> Evidence:
    return Evidence(torch.nn.Identity(), view(answers, forget), view(answers, forget))


LAST = [False, False, True, True]
ORIGINAL, RETRAINED, UNLEARNED = (evidence(answers, LAST) for answers in ([0, 1, 2, 2], [0, 1, 0, 1], [1, 1, 0, 0]))
REFERENCE = Reference(ORIGINAL, (RETRAINED, RETRAINED), (2,), 3, 0, (np.array([0, 2]), np.array([1]), np.array([3])))


def measure(subject: Evidence, reference: Reference = REFERENCE, pictures: int = 12) -> Any:
    return AUDITS["answers"].measured(subject, reference, AnswersSettings(pictures))


def test_examples_say_what_is_answered_and_how_surely() -> None:
    found = measure(UNLEARNED)["examples"]
    sure = round(np.exp(2) / (np.exp(2) + 2), 4)
    assert found == {"label": [2, 2], "answer": [0, 0], "sure": [sure, sure]}
    pictured = measure(ORIGINAL)["examples"]
    assert pictured["shape"] == [2, 1, 2, 2] and pictured["pixels"] == IMAGES[2:].flatten().tolist()
    assert len(measure(UNLEARNED, pictures=1)["examples"]["label"]) == 1


def test_below_class_level_training_samples_are_shown_and_without_images_none() -> None:
    forgotten = evidence([0, 1, 2, 2], [False, True, False, False])
    forgotten = replace(forgotten, test=replace(forgotten.test, forget=np.zeros(4, dtype=bool)))
    assert measure(forgotten, replace(REFERENCE, forget_classes=()))["examples"]["label"] == [1]
    rows = replace(UNLEARNED.test, samples=Samples({"table": torch.zeros(4, 2)}, lambda raw: raw, torch.device("cpu")))
    assert "examples" not in measure(replace(UNLEARNED, test=rows))


def test_confusion_counts_answers_by_class_and_clients_have_their_accuracy() -> None:
    found = measure(UNLEARNED)
    assert found["confusion"] == {"counts": [0, 1, 0, 0, 1, 0, 2, 0, 0]}
    first, second, nothing = found["client_answers"]["accuracy"]
    assert (first, second) == (0.0, 1.0) and np.isnan(nothing), "all that the third holds is forgotten"
    assert "confusion" not in measure(UNLEARNED, replace(REFERENCE, classes=101))


def test_one_retrained_model_stands_for_all() -> None:
    other = evidence([0, 1, 0, 1], LAST)
    reference = replace(REFERENCE, retrained=(RETRAINED, other))
    assert measure(other, reference) == {} and "examples" in measure(RETRAINED, reference)


@pytest.mark.parametrize(("shape", "made"), [((1, 48, 20), (1, 48, 20)), ((3, 96, 48), (3, 48, 24))])
def test_large_pictures_are_made_smaller(shape: tuple[int, ...], made: tuple[int, ...]) -> None:
    image = torch.full((1, *shape), 77, dtype=torch.uint8)
    assert small(image).shape[1:] == made and small(image).unique().tolist() == [77]
    assert max(made[1:]) <= LARGEST
