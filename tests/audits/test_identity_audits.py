"""Verification, retrieval, re-enrolment and false matches on planted truth: embeddings put where they should be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fedunlearn.audits import false_matches, re_enrolment, retrieval, verification
from fedunlearn.audits.base import Evidence, Findings, Reference, Samples, View
from fedunlearn.audits.matching import Shown

FORGOTTEN, KNOWN, STRANGERS, IMAGES = 0, 6, 5, 12


def view(spread: dict[int, float], numbers: range, seed: int, places: dict[int, int] | None = None) -> View:
    """Images of individuals around corners of a cube, `spread` apart (0.1 unless said); `places`: at whose corner."""
    stream = np.random.default_rng(seed)
    who = np.repeat(np.array(numbers), IMAGES)
    corners = np.eye(16)[[(places or {}).get(int(number), int(number)) for number in who]]
    widths = np.array([spread.get(int(number), 0.1) for number in who])[:, None]
    features = (corners + widths * stream.normal(size=corners.shape)).astype(np.float32)
    pixels = torch.arange(len(who) * 12, dtype=torch.uint8).reshape(-1, 3, 2, 2)
    shown = Samples({"images": pixels}, lambda raw: raw, torch.device("cpu"))
    return View(features, {}, who, who, who == FORGOTTEN, np.ones(len(who)), shown)


def model(spread: dict[int, float], places: dict[int, int] | None = None, strangers: bool = True) -> Evidence:
    known, unseen = range(KNOWN), range(KNOWN, KNOWN + STRANGERS)
    test = view(spread, known, 1, places)
    return Evidence(
        nn.Identity(), view(spread, known, 0, places), test, unseen=view(LOOSE, unseen, 2) if strangers else None
    )


LOOSE = {KNOWN + number: 0.2 + 0.06 * number for number in range(STRANGERS)}  # strangers lie less close
ORIGINAL = model({})
RETRAINED = model({FORGOTTEN: 0.3})
DISPERSED = model({FORGOTTEN: 3.0})
MERGED = model({}, {FORGOTTEN: 3})
REFERENCE = Reference(ORIGINAL, (RETRAINED,), (FORGOTTEN,), KNOWN, seed=0)


def found(audit: object, evidence: Evidence, reference: Reference = REFERENCE) -> Findings:
    (plug_in,) = audit.AUDITS.values()  # type: ignore[attr-defined]
    return plug_in.measured(evidence, reference, plug_in.settings())


def test_a_retrained_model_verifies_the_forgotten_as_it_does_strangers_and_the_original_better() -> None:
    original, retrained, dispersed = (found(verification, each) for each in (ORIGINAL, RETRAINED, DISPERSED))
    assert original["forget_tar_1"] == original["retain_tar_1"] == 1 > original["unseen_tar_most"]
    assert retrained["unseen_tar_least"] <= retrained["forget_tar_1"] <= retrained["unseen_tar_most"]
    assert retrained["unseen_tar_low"] <= retrained["unseen_tar_1"] <= retrained["unseen_tar_high"]
    assert dispersed["forget_tar_1"] < retrained["forget_tar_1"]
    assert original["forget_d_prime"] > retrained["forget_d_prime"] > dispersed["forget_d_prime"]
    assert original["forget_eer"] < retrained["forget_eer"] < dispersed["forget_eer"]
    assert original["forget_spread"] < retrained["forget_spread"] < dispersed["forget_spread"]
    assert original["forget_tar_train"] == 1 > retrained["forget_tar_train"]


def test_pairs_are_counted_and_a_rate_that_needs_more_of_them_is_none() -> None:
    says = found(verification, ORIGINAL)
    of_one, images = IMAGES * (IMAGES - 1) // 2, (KNOWN + STRANGERS) * IMAGES
    assert (says["forget_pairs"], says["retain_pairs"]) == (of_one, 5 * of_one)
    assert says["impostor_pairs"] == images * (images - 1) // 2 - (KNOWN + STRANGERS) * of_one
    assert says["forget_tar_01"] is None, "7,920 pairs hold no ten impostors at one in a thousand"
    assert says["forget_tar_10"] >= says["forget_tar_1"]
    curve = says["accept_rates"]
    assert len(curve["false accept rate"]) == len(curve["forgotten individuals"]) == 33
    assert curve["individuals never seen"][-1] == 1


def test_without_strangers_or_forgotten_individuals_nothing_is_said_of_them() -> None:
    alone = found(verification, model({}, strangers=False), Reference(ORIGINAL, (), (), KNOWN, seed=0))
    assert alone["unseen_tar_1"] is alone["unseen_tar_most"] is alone["forget_tar_1"] is alone["forget_eer"] is None
    assert alone["retain_tar_1"] == 1 and alone["forget_pairs"] == 0


def test_searches_find_what_lies_together() -> None:
    original, dispersed = found(retrieval, ORIGINAL), found(retrieval, DISPERSED)
    assert original["forget_rank1"] == original["retain_rank1"] == original["forget_map"] == 1
    assert dispersed["forget_rank1"] < 0.5 and dispersed["retain_rank1"] > 0.9
    assert 0 < dispersed["unseen_map"] < 1
    strips = original["nearest_images"]
    assert strips["shape"] == [4, 6, 3, 2, 2] and len(strips["pixels"]) == 4 * 6 * 12
    assert strips["right"] == [1] * 20 and 0 in dispersed["nearest_images"]["right"]
    probes = np.array(strips["pixels"]).reshape(4, 6, 12)[:, 0]
    assert (probes[:, 0] % 256 < IMAGES * 12).all(), "the first image of a strip is one of the forgotten individual"
    assert "nearest_images" not in retrieval.measure(ORIGINAL, REFERENCE, retrieval.RetrievalSettings(strips=0))


def test_names_by_anchors_are_those_of_the_nearest_first_training_image() -> None:
    test = Shown(np.array([[0.0], [0.2], [0.9], [0.4], [2.1]]), np.array([0, 0, 0, 1, 2]))
    train = Shown(np.array([[2.0], [0.0], [1.0], [0.3]]), np.array([2, 0, 1, 0]))  # 0 at 0.0, 1 at 1.0, 2 at 2.0
    says = retrieval._named_by_anchors(train, test)
    assert says["anchor_accuracy"] == 3 / 5  # called 0, 0, 1, 0, 2
    assert says["anchor_f1"] == pytest.approx((3 * 2 / 3 + 0 + 1) / 5)  # F1 of 0: precision 2/3, recall 2/3


def test_who_is_enrolled_again_is_known_unless_dispersed() -> None:
    original, dispersed = found(re_enrolment, ORIGINAL), found(re_enrolment, DISPERSED)
    assert original["forget_enrolled_1"] == original["forget_enrolled_5"] == 1
    assert dispersed["forget_enrolled_5"] < 0.7
    retrained = found(re_enrolment, RETRAINED)
    assert retrained["unseen_enrolled_1"] < retrained["unseen_enrolled_5"], "more images, better known"


def test_who_is_moved_onto_another_is_taken_for_it_and_strangers_are_not() -> None:
    original, merged = found(false_matches, ORIGINAL), found(false_matches, MERGED)
    assert original["false_match_any"] < 0.1 and merged["false_match_any"] > 0.9
    reference = Reference(model({}, {FORGOTTEN: 3}), (RETRAINED,), (FORGOTTEN,), KNOWN, seed=0)
    assert found(false_matches, MERGED, reference)["false_match_forget"] > 0.9, "number 3 was the most similar"
    assert merged["false_match_unseen"] < 0.1
    assert set(found(false_matches, ORIGINAL, Reference(ORIGINAL, (), (), KNOWN, seed=0)).values()) == {None}


@pytest.mark.parametrize("audit", [verification, retrieval, re_enrolment, false_matches])
def test_the_same_evidence_has_the_same_findings(audit: object) -> None:
    assert found(audit, RETRAINED) == found(audit, RETRAINED)
