"""Every word of the verdict from numbers chosen for it, and when there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedunlearn.results.verdict import CRITERIA, WIDTHS, excess, judge

# bands: leak -0.2 to 0.2, one scalar 0.1 to 0.3, probe 0.78 to 0.82, prototype 0.2 to 0.6, batches 6 to 14
PAIR = [
    {
        "forget_accuracy": 0.0,
        "retain_accuracy": 0.9,
        "leak": -0.1,
        "gamma_recovered": 0.15,
        "probe_forget_accuracy": 0.79,
        "prototype_forget_accuracy": 0.3,
        "relearn_batches": 8.0,
    },
    {
        "forget_accuracy": 0.0,
        "retain_accuracy": 0.8,
        "leak": 0.1,
        "gamma_recovered": 0.25,
        "probe_forget_accuracy": 0.81,
        "prototype_forget_accuracy": 0.5,
        "relearn_batches": 12.0,
    },
]
RETRAINED = PAIR * 4  # eight models, whose bands are one noise floor wide to either side
INSIDE = {
    "forget_accuracy": 0.05,
    "retain_accuracy": 0.85,
    "leak": 0.19,
    "gamma_recovered": 0.2,
    "probe_forget_accuracy": 0.8,
    "prototype_forget_accuracy": 0.25,
    "relearn_batches": 7.0,
}
ORIGINAL = {  # above all bands
    "forget_accuracy": 0.9,
    "retain_accuracy": 0.85,
    "leak": 1.0,
    "gamma_recovered": 0.9,
    "probe_forget_accuracy": 0.83,
    "prototype_forget_accuracy": 0.7,
    "relearn_batches": 0.0,
}
GATES = {"original_learnt_task": True, "retrained_at_chance": True}


def judged(
    changes: dict[str, Any] | None = None, retrained: Any = RETRAINED, gates: Any = GATES, original: Any = ORIGINAL
) -> Any:
    return judge(original, {**INSIDE, **(changes or {})}, retrained, gates, classes=10, samples=200)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "erased"),
        ({"leak": 0.21}, "suppressed"),
        ({"probe_forget_accuracy": 0.83}, "suppressed"),
        ({"gamma_recovered": 0.31}, "suppressed"),
        ({"prototype_forget_accuracy": 0.61}, "suppressed"),
        ({"prototype_forget_accuracy": 0.1}, "over-erased"),
        ({"relearn_batches": 5.0}, "suppressed"),
        ({"relearn_batches": 15.0}, "over-erased"),
        ({"leak": -0.3}, "over-erased"),
        ({"leak": -0.3, "relearn_batches": 5.0}, "suppressed"),
        ({"forget_accuracy": 0.1}, "erased"),  # chance
        ({"forget_accuracy": 0.11}, "not erased"),
        ({"forget_accuracy": 0.11, "leak": 1.0}, "not erased"),
    ],
)
def test_words(changes: dict[str, float], word: str) -> None:
    assert judged(changes)["word"] == word


def test_margins_are_half_widths_from_the_edge_where_more_is_left() -> None:
    found = judged({"leak": 0.4, "probe_forget_accuracy": 0.8, "relearn_batches": 16.0})
    some = {"leak": 1.0, "probe_forget_accuracy": -1.0, "relearn_batches": -2.5}
    assert found["margins"] == pytest.approx({**some, "gamma_recovered": -1.0, "prototype_forget_accuracy": -1.75})
    before = {"leak": 4.0, "gamma_recovered": 6.0, "probe_forget_accuracy": 0.5, "relearn_batches": 1.5}
    assert found["original_margins"] == pytest.approx({**before, "prototype_forget_accuracy": 0.5})


def test_reasons_say_the_numbers() -> None:
    found = judged({"leak": 0.4, "relearn_batches": 20.0, "retain_accuracy": 0.6})["reasons"]
    assert found[0] == "forget_accuracy 0.050 is at chance (0.100)"
    assert found[1] == "leak 0.400 is above the band, more is left (-0.200 to 0.200)"
    assert all("inside the band" in reason for reason in found[2:5])
    assert found[5] == "relearn_batches 20.000 is below the band, less is left (6.000 to 14.000)"
    assert any("the rest was damaged" in reason for reason in found)
    assert not any("damaged" in reason for reason in judged()["reasons"])


def test_fewer_than_eight_retrained_models_make_wider_bands() -> None:
    found = judged({"leak": 0.6}, retrained=PAIR * 2)
    assert found["margins"]["leak"] == pytest.approx(0.5), "0.2 twice to either side"
    assert "the bands reach 2 noise floors to either side, as only 4 models were retrained: with eight" in " ".join(
        found["reasons"]
    )
    assert judged(retrained=PAIR)["word"] is None
    known = {**ORIGINAL, "leak": 4.0}
    assert judged({"leak": 3.8}, retrained=PAIR, original=known)["word"] == "suppressed"
    assert judged({"leak": 3.6}, retrained=PAIR, original=known)["word"] is None
    assert not any("bands reach" in reason for reason in judged(retrained=RETRAINED)["reasons"])


@pytest.mark.parametrize("models", [*WIDTHS, 8])
def test_one_more_retrained_model_is_above_a_band_of_others_in_three_cases_of_two_hundred(models: int) -> None:
    stream = np.random.default_rng(models)
    others, one = stream.normal(size=(400_000, models)), stream.normal(size=400_000)
    half = WIDTHS.get(models, 1.0) * np.ptp(others, axis=1)
    assert 0.0137 < (one > others.mean(axis=1) + half).mean() < 0.0157


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"gates": {**GATES, "retrained_at_chance": False}}, "retrained_at_chance"),
        ({"retrained": RETRAINED[:1]}, "one retrained model"),
        ({"changes": {"leak": None}}, "there is no leak:"),
        ({"changes": {"relearn_batches": None}}, "there is no relearn_batches:"),
        ({"original": {**ORIGINAL, "leak": None}}, "there is no leak:"),
        ({"changes": {"leak": None, "forget_accuracy": None}}, "there is no forget_accuracy or leak:"),
        ({"retrained": [{**RETRAINED[0], "probe_forget_accuracy": None}, *RETRAINED[1:]]}, "probe_forget_accuracy"),
    ],
)
def test_no_verdict(given: dict[str, Any], said: str) -> None:
    found = judged(**given)
    assert found["word"] is None
    assert said in " ".join(found["reasons"])
    assert found["margins"] == {}


def test_an_audit_that_was_switched_off_is_not_known() -> None:
    unlearned = {name: value for name, value in INSIDE.items() if name != "relearn_batches"}
    assert judge(ORIGINAL, unlearned, RETRAINED, GATES, classes=10, samples=200)["word"] is None


def test_where_the_original_model_is_not_clear_of_any_band_nothing_is_called_erased() -> None:
    near = {**INSIDE, "leak": 0.39}  # not one noise floor above the band
    found = judged(original=near)
    assert found["word"] is None and "not far above any band" in found["reasons"][0]
    assert found["margins"].keys() == found["original_margins"].keys() == CRITERIA.keys()
    assert judged(original={**near, "leak": 0.41})["word"] == "erased"
    assert judged(original={**near, "relearn_batches": 1.9})["word"] == "erased", "2.03 floors from the mean"
    assert judged({"leak": 0.3}, original=near)["word"] == "suppressed", "which is seen all the same"
    assert judged({"leak": -0.3}, original=near)["word"] == "over-erased"
    assert judged({"forget_accuracy": 0.5}, original=near)["word"] == "not erased"


def test_a_finding_on_which_the_original_model_is_inside_the_band_does_not_count() -> None:
    blind = {**ORIGINAL, "probe_forget_accuracy": 0.8}
    for value in (0.9, 0.7):
        found = judged({"probe_forget_accuracy": value}, original=blind)
        assert found["word"] == "erased"
        assert "does not count, as the original model is not above the band: probe_forget_accuracy" in found["reasons"]
    assert judged({"probe_forget_accuracy": 0.9, "leak": -0.3}, original=blind)["word"] == "over-erased"
    assert judged({"probe_forget_accuracy": 0.9}, original=INSIDE)["word"] is None
    assert not any("does not count" in reason for reason in judged()["reasons"])


def test_where_retrained_models_agree_entirely_one_sample_and_one_batch_are_no_difference() -> None:
    agreed = {"leak": 0.0, "gamma_recovered": 0.2, "prototype_forget_accuracy": 0.25}
    same = [{**RETRAINED[0], **agreed}] * 8  # prototype and one scalar: 0.005 to either side
    assert judged({"leak": 0.0, "probe_forget_accuracy": 0.795, "relearn_batches": 7.0}, same)["word"] == "erased"
    assert judged({"leak": 0.0, "probe_forget_accuracy": 0.8, "relearn_batches": 7.0}, same)["word"] == "suppressed"
    assert judged({"leak": 0.0, "probe_forget_accuracy": 0.79, "gamma_recovered": 0.206}, same)["word"] == "suppressed"
    strict = judged({"leak": 0.01, "probe_forget_accuracy": 0.79, "relearn_batches": 8.0}, same)
    assert strict["word"] == "suppressed"
    assert strict["margins"]["leak"] is None  # in units of nothing


@given(st.dictionaries(st.sampled_from(sorted(CRITERIA)), st.floats(-30, 30), min_size=3))
def test_margin_and_word_agree(values: dict[str, float]) -> None:
    found = judged(values)
    above = any(margin > 1e-6 for margin in found["margins"].values())
    below = any(margin < -2 - 1e-6 for margin in found["margins"].values())
    assert found["word"] in (
        {"suppressed"} if above else {"over-erased", "suppressed"} if below else {"erased", "suppressed", "over-erased"}
    )
    if not above and not below and all(-2 + 1e-6 < margin < -1e-6 for margin in found["margins"].values()):
        assert found["word"] == "erased"


def test_distances_and_similarities_cannot_be_too_good() -> None:
    assert (excess("leak", -0.2), excess("leak", 0.2)) == (0.2, 0.2)
    assert (excess("flow_tv", -0.2), excess("flow_tv", 0.2)) == (0.0, 0.2)
    assert (excess("cka_forget", -0.2), excess("cka_forget", 0.2)) == (0.2, 0.0)
