"""Every word of the verdict from numbers chosen for it, and when there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fedunlearn.results.findings import Finding, by_name
from fedunlearn.results.verdict import FAR, FAR_WIDTHS, WIDTHS, Compared, Verdict, judge

DECLARED = by_name(
    [
        Finding("forget_accuracy", "forget accuracy", "", "up", finest="forget sample"),
        Finding("retain_accuracy", "retain accuracy", ""),
        Finding("flow_tv", "flow TV", "", "distance"),
        Finding("leak", "leak", "", "up", counted=True),
        Finding("gamma_recovered", "one scalar", "", "up", counted=True, finest="forget sample"),
        Finding("probe_forget_accuracy", "probe", "", "up", counted=True, finest="forget sample"),
        Finding("prototype_forget_accuracy", "prototype", "", "up", counted=True, finest="forget sample"),
        Finding("relearn_batches", "relearning", "", "down", counted=True, finest=1.0),
    ]
)
CRITERIA = [name for name, finding in DECLARED.items() if finding.counted]

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
    changes: dict[str, Any] | None = None,
    retrained: Any = RETRAINED,
    gates: Any = GATES,
    original: Any = ORIGINAL,
    **more: Any,
) -> Verdict:
    models = Compared(original, {**INSIDE, **(changes or {})}, retrained)
    return judge(models, more.pop("declared", DECLARED), gates, **{"chance": 0.1, "samples": 200, **more})


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "erased"),
        ({"leak": 0.29}, "suppressed"),
        ({"probe_forget_accuracy": 0.83}, "suppressed"),
        ({"gamma_recovered": 0.35}, "suppressed"),
        ({"prototype_forget_accuracy": 0.7}, "suppressed"),
        ({"prototype_forget_accuracy": 0.1}, "over-erased"),
        ({"relearn_batches": 4.0}, "suppressed"),
        ({"relearn_batches": 16.0}, "over-erased"),
        ({"leak": -0.3}, "over-erased"),
        ({"leak": -0.3, "relearn_batches": 4.0}, "suppressed"),
        ({"leak": 0.21}, None),  # one finding, and not beyond 0.28
        ({"leak": -0.21}, None),
        ({"relearn_batches": 5.0}, None),
        ({"leak": 0.21, "relearn_batches": 5.0}, "suppressed"),  # two
        ({"leak": -0.21, "relearn_batches": 15.0}, "over-erased"),
        ({"leak": -0.3, "relearn_batches": 5.0}, None),  # nothing can be said where one may be above
        ({"forget_accuracy": 0.1}, "erased"),  # chance
        ({"forget_accuracy": 0.11}, "not erased"),
        ({"forget_accuracy": 0.11, "leak": 1.0}, "not erased"),
    ],
)
def test_words(changes: dict[str, float], word: str | None) -> None:
    assert judged(changes).word == word


def test_one_finding_that_is_just_outside_its_band_is_named_and_decides_nothing() -> None:
    found = judged({"leak": 0.21})
    assert found.reasons[0].startswith(
        "only one finding is above its band, and by no more than a retrained model may be"
    )
    assert found.above == ("leak",) and found.margins["leak"] == pytest.approx(0.05)
    assert judged({"leak": -0.21}).reasons[0].startswith("only one finding is below its band")
    blind = {**ORIGINAL, "probe_forget_accuracy": 0.8}
    assert judged({"leak": 0.21, "probe_forget_accuracy": 0.9}, original=blind).word is None, "the probe does not count"


def test_margins_are_half_widths_from_the_edge_where_more_is_left() -> None:
    found = judged({"leak": 0.4, "probe_forget_accuracy": 0.8, "relearn_batches": 16.0})
    some = {"leak": 1.0, "probe_forget_accuracy": -1.0, "relearn_batches": -2.5}
    assert found.margins == pytest.approx({**some, "gamma_recovered": -1.0, "prototype_forget_accuracy": -1.75})
    before = {"leak": 4.0, "gamma_recovered": 6.0, "probe_forget_accuracy": 0.5, "relearn_batches": 1.5}
    assert found.original_margins == pytest.approx({**before, "prototype_forget_accuracy": 0.5})


def test_reasons_say_the_numbers() -> None:
    found = judged({"leak": 0.4, "relearn_batches": 20.0, "retain_accuracy": 0.6}).reasons
    assert found[0] == "forget accuracy 0.050 is at chance (0.100)"
    assert found[1] == "leak 0.400 is above the band, more is left (-0.200 to 0.200)"
    assert all("inside the band" in reason for reason in found[2:5])
    assert found[5] == "relearning 20.000 is below the band, less is left (6.000 to 14.000)"
    assert any("the rest was damaged" in reason for reason in found)
    assert not any("damaged" in reason for reason in judged().reasons)


def test_fewer_than_eight_retrained_models_make_wider_bands() -> None:
    found = judged({"leak": 0.6}, retrained=PAIR * 2)
    assert found.margins["leak"] == pytest.approx(0.5), "0.2 twice to either side"
    assert "the bands reach 2 noise floors to either side, as only 4 models were retrained: with eight" in " ".join(
        found.reasons
    )
    assert judged(retrained=PAIR).word is None
    known = {**ORIGINAL, "leak": 20.0}
    assert judged({"leak": 14.9}, retrained=PAIR, original=known).word == "suppressed"
    assert judged({"leak": 14.7}, retrained=PAIR, original=known).above == ("leak",)
    assert judged({"leak": 14.7}, retrained=PAIR, original=known).word is None
    assert judged({"leak": 3.6}, retrained=PAIR, original=known).word == "erased", "3.7 to either side"
    assert not any("bands reach" in reason for reason in judged(retrained=RETRAINED).reasons)


@pytest.mark.parametrize("models", [*WIDTHS, 8])
def test_one_more_retrained_model_is_above_a_band_of_others_in_three_cases_of_two_hundred(models: int) -> None:
    stream = np.random.default_rng(models)
    others, one = stream.normal(size=(400_000, models)), stream.normal(size=400_000)
    half = WIDTHS.get(models, 1.0) * np.ptp(others, axis=1)
    assert 0.0137 < (one > others.mean(axis=1) + half).mean() < 0.0157
    far = FAR_WIDTHS.get(models, FAR) * np.ptp(others, axis=1)
    assert 0.003 < (one > others.mean(axis=1) + far).mean() < 0.0042, "of four findings, one in as many cases"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"gates": {**GATES, "retrained_at_chance": False}},
            "the retrained model is not at chance on what it never saw",
        ),
        ({"retrained": RETRAINED[:1]}, "one retrained model"),
        ({"changes": {"leak": None}}, "there is no leak:"),
        ({"changes": {"relearn_batches": None}}, "there is no relearning:"),
        ({"original": {**ORIGINAL, "leak": None}}, "there is no leak:"),
        ({"changes": {"leak": None, "forget_accuracy": None}}, "there is no forget accuracy or leak:"),
        ({"retrained": [{**RETRAINED[0], "probe_forget_accuracy": None}, *RETRAINED[1:]]}, "there is no probe:"),
    ],
)
def test_no_verdict(given: dict[str, Any], said: str) -> None:
    found = judged(**given)
    assert found.word is None
    assert said in " ".join(found.reasons)
    assert found.margins == {}


def without(name: str, *models: Any) -> list[dict[str, Any]]:
    return [{**model, name: None} for model in models]


def test_a_finding_that_is_not_defined_for_the_run_is_not_counted() -> None:
    original, unlearned, *retrained = without("leak", ORIGINAL, INSIDE, *RETRAINED)
    found = judge(Compared(original, unlearned, retrained), DECLARED, GATES, chance=0.1, samples=200)
    assert found.word == "erased" and list(found.margins) == CRITERIA[1:]
    assert "does not count, as it is not defined for this run: leak" in found.reasons
    left = {**unlearned, "relearn_batches": 1.0}
    assert judge(Compared(original, left, retrained), DECLARED, GATES, chance=0.1, samples=200).word == "suppressed"


def test_where_no_finding_that_counts_is_there_all_are_named() -> None:
    few = {name: DECLARED[name] for name in ("forget_accuracy", "retain_accuracy", "leak")}
    models = without("leak", ORIGINAL, INSIDE, *RETRAINED)
    found = judge(Compared(models[0], models[1], models[2:]), few, GATES, chance=0.1, samples=200)
    assert (found.word, found.reasons) == (None, ("there is no leak: switched off, or not defined for this run",))
    del few["leak"]
    assert judged(declared=few).reasons == ("no audit of this run has a finding that the verdict counts",)


def test_an_audit_that_was_switched_off_is_not_known() -> None:
    declared = {name: finding for name, finding in DECLARED.items() if name != "relearn_batches"}
    assert judged(declared=declared).word == "erased", "of a task for which it is not defined"
    found = judged(declared=declared, expected=["leak", "relearn_batches"])
    assert found.word is None
    assert found.reasons == ("there is no relearn batches: switched off, or not defined for this run",)


@pytest.mark.parametrize(("accuracy", "word"), [(0.3, "erased"), (0.31, "not erased"), (0.0, "erased")])
def test_without_a_chance_level_the_accuracy_is_held_against_the_retrained_models(accuracy: float, word: str) -> None:
    """Of retrained models at 0.1 and 0.2 the band is 0.05 to 0.25; with a sample worth 0.15, 0 to 0.3."""
    retrained = [{**seed, "forget_accuracy": 0.1 + 0.1 * (n % 2)} for n, seed in enumerate(RETRAINED)]
    band = {"chance": None, "samples": 1 / 0.15}
    found = judged({"forget_accuracy": accuracy}, retrained, **band)
    assert found.word == word
    where = "above the band, more is left" if word == "not erased" else "inside the band"
    assert found.reasons[0] == f"forget accuracy {accuracy:.3f} is {where} (0.000 to 0.300)"


def test_a_finding_of_another_package_is_judged_like_ours() -> None:
    declared = {**DECLARED, "theirs": Finding("theirs", "theirs", "", "down", counted=True)}
    retrained = [{**seed, "theirs": 5.0 + n % 2} for n, seed in enumerate(RETRAINED)]  # 4.5 to 6.5
    for value, word in ((5.0, "erased"), (4.0, "suppressed"), (4.3, None), (7.0, "over-erased")):
        found = judged({"theirs": value}, retrained, original={**ORIGINAL, "theirs": 1.0}, declared=declared)
        assert found.word == word and list(found.margins) == [*CRITERIA, "theirs"]
    assert found.margins["theirs"] == pytest.approx(-2.5)


def test_where_the_original_model_is_not_clear_of_any_band_nothing_is_called_erased() -> None:
    near = {**INSIDE, "leak": 0.39}  # not one noise floor above the band
    found = judged(original=near)
    assert found.word is None and "not far above any band" in found.reasons[0]
    assert list(found.margins) == list(found.original_margins) == CRITERIA
    assert judged(original={**near, "leak": 0.41}).word == "erased"
    assert judged(original={**near, "relearn_batches": 1.9}).word == "erased", "2.03 floors from the mean"
    assert judged({"leak": 0.3}, original=near).word == "suppressed", "which is seen all the same"
    assert judged({"leak": -0.3}, original=near).word == "over-erased"
    assert judged({"forget_accuracy": 0.5}, original=near).word == "not erased"


def test_a_finding_on_which_the_original_model_is_inside_the_band_does_not_count() -> None:
    blind = {**ORIGINAL, "probe_forget_accuracy": 0.8}
    for value in (0.9, 0.7):
        found = judged({"probe_forget_accuracy": value}, original=blind)
        assert found.word == "erased"
        assert "does not count, as the original model is not above the band: probe" in found.reasons
    assert judged({"probe_forget_accuracy": 0.9, "leak": -0.3}, original=blind).word == "over-erased"
    assert judged({"probe_forget_accuracy": 0.9}, original=INSIDE).word is None
    assert not any("does not count" in reason for reason in judged().reasons)


def test_what_counts_and_on_which_side_of_its_band_it_is() -> None:
    blind = {**ORIGINAL, "probe_forget_accuracy": 0.8}
    found = judged({"leak": 0.3, "probe_forget_accuracy": 0.9, "relearn_batches": 20.0}, original=blind)
    assert found.counts == ("leak", "gamma_recovered", "prototype_forget_accuracy", "relearn_batches")
    assert (found.above, found.below) == (("leak",), ("relearn_batches",)), "the probe is above, and does not count"
    assert judged(gates={"original_learnt_task": False}).counts == ()


def test_where_retrained_models_agree_entirely_one_sample_and_one_batch_are_no_difference() -> None:
    agreed = {"leak": 0.0, "gamma_recovered": 0.2, "prototype_forget_accuracy": 0.25}
    same = [{**RETRAINED[0], **agreed}] * 8  # prototype and one scalar: 0.005 to either side
    assert judged({"leak": 0.0, "probe_forget_accuracy": 0.795, "relearn_batches": 7.0}, same).word == "erased"
    assert judged({"leak": 0.0, "probe_forget_accuracy": 0.8, "relearn_batches": 7.0}, same).word == "suppressed"
    assert judged({"leak": 0.0, "probe_forget_accuracy": 0.79, "gamma_recovered": 0.208}, same).word == "suppressed"
    assert judged({"leak": 0.0, "probe_forget_accuracy": 0.79, "gamma_recovered": 0.206}, same).word is None, (
        "half a sample"
    )
    strict = judged({"leak": 0.01, "probe_forget_accuracy": 0.79, "relearn_batches": 8.0}, same)
    assert strict.word == "suppressed"
    assert strict.margins["leak"] is None  # in units of nothing


@given(st.dictionaries(st.sampled_from(CRITERIA), st.floats(-30, 30), min_size=3))
def test_margin_and_word_agree(values: dict[str, float]) -> None:
    margins = judged(values).margins.values()
    above, below = ([m for m in margins if m > 1e-6], [m for m in margins if m < -2 - 1e-6])
    if above:
        word = "suppressed" if len(above) > 1 or above[0] > 0.4 else None
    elif below:
        word = "over-erased" if len(below) > 1 or below[0] < -2.4 else None
    else:
        word = "erased"
    assume(not any(abs(margin - edge) < 1e-5 for margin in margins for edge in (0, 0.4, -2, -2.4)))
    assert judged(values).word == word
