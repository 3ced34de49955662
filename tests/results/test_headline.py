"""The sentence on planted cases: it says what the verdict says, and never more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedunlearn.results.headline import SAID, cut, forgotten, of_run, of_runs
from fedunlearn.results.summary import Deployed, Summary
from fedunlearn.results.verdict import BLIND, Verdict

NAMES = ("top", "trouser", "pullover", "Ankle boot")
FOUR = ("leak", "probe", "prototype", "batches")
WORDS = ("erased", "suppressed", "over-erased", "not erased")


def verdict(word: str | None, above: tuple[str, ...] = (), below: tuple[str, ...] = (), **more: Any) -> Verdict:
    margins = dict.fromkeys(FOUR, -1.0)
    return Verdict(word, more.pop("reasons", ()), margins, margins, more.pop("retrained", 8), FOUR, above, below)


ERASED = Summary(
    "done",
    config={"method": {"name": "fucrt"}, "request": {"classes": ["Ankle boot"]}},
    title="FUCRT",
    class_names=NAMES,
    forget_classes=(3,),
    models={"unlearned": {"forget_accuracy": 0.0}},
    gap={"retain_accuracy": -0.004},
    cost={"unlearn": {"seconds": 1.9}, "retrain": {"seconds": 10.0}},
    gates={"original_learnt_task": True},
    verdict=verdict("erased"),
)
HIDDEN = replace(ERASED, title="masking the head", verdict=verdict("suppressed", above=FOUR[:2]))
KEPT = replace(
    ERASED, title="fine-tuning", verdict=verdict("not erased"), models={"unlearned": {"forget_accuracy": 0.634}}
)
PRICE = "in 19 % of the time and with 0.4 points less accuracy on the rest."
CLIENT = replace(
    ERASED,
    title="FedEraser",
    config={"request": {"clients": [1, 4]}},
    forget_classes=(),
    verdict=Verdict(None, ("there is no leak",), retrained=8),
    judgement=verdict("as retrained"),
)


@pytest.mark.parametrize(
    ("summary", "said"),
    [
        (ERASED, f"FUCRT forgot “Ankle boot” as thoroughly as retraining by all 4 checks that count, {PRICE}"),
        (
            HIDDEN,
            "Masking the head only hid “Ankle boot”: 2 of 4 checks that count find more left than after retraining.",
        ),
        (
            replace(ERASED, verdict=verdict("over-erased", below=FOUR[:1])),
            "FUCRT overshot: less of “Ankle boot” is left than after retraining according to 1 of 4 checks that count, "
            f"{PRICE}",
        ),
        (KEPT, "Fine-tuning did not forget “Ankle boot”: it still calls 63 % of its test samples right."),
        (
            replace(KEPT, gap={"retain_accuracy": -0.25}),
            "Fine-tuning did not forget “Ankle boot”: it still calls 63 % of its test samples right; it lost 25.0 "
            "points of accuracy on the rest.",
        ),
        (
            replace(ERASED, gates={"original_learnt_task": False, "original_learnt_forget": False}),
            "No verdict on FUCRT: the original model did not learn the task.",
        ),
        (
            replace(ERASED, gates={"original_learnt_forget": False}),
            "No verdict on FUCRT: the original model did not learn what is to be forgotten.",
        ),
        (
            replace(ERASED, verdict=Verdict(None, ("one",), retrained=1)),
            "No verdict on FUCRT: with a single retrained model, chance cannot be told from an effect.",
        ),
        (
            replace(ERASED, verdict=verdict(None, reasons=(BLIND,), retrained=2)),
            "FUCRT recognises “Ankle boot” no better than retraining does, but whether it was erased or only hidden "
            "cannot be told: with 2 retrained models, not even the original model can be told from these (eight may "
            "settle it: retrain.seeds=8).",
        ),
        (
            replace(ERASED, verdict=Verdict(None, ("there is no leak",), retrained=8)),
            "No verdict on FUCRT: the audits that it takes are switched off, or not defined here.",
        ),
        (replace(ERASED, verdict=None), "No verdict on FUCRT: there is none in its summary."),
        (
            Summary("failed", ERASED.config, reason="the loss is not finite in round 3.\nTraceback", title="FUCRT"),
            "FUCRT failed: the loss is not finite in round 3.",
        ),
        (Summary("missing"), "The method has not ended."),
        (
            CLIENT,
            f"FedEraser treats clients 1 and 4 as retraining does, as far as accuracy and membership tell, {PRICE}",
        ),
        (
            replace(CLIENT, config={"request": {"samples": {"0": 20, "3": 5}}}, judgement=verdict("more left")),
            "FedEraser still remembers more of 25 samples of clients 0 and 3 than a retrained model.",
        ),
        (
            replace(CLIENT, judgement=verdict("less left"), gap={"retain_accuracy": -0.2}),
            "FedEraser overshot: less trace of clients 1 and 4 is left than after retraining, in 19 % of the time and "
            "with 20.0 points less accuracy on the rest.",
        ),
        (
            replace(CLIENT, judgement=verdict(None, retrained=8)),
            "No judgement on FedEraser: not even the original model is clearly apart from the retrained ones.",
        ),
        (replace(CLIENT, judgement=None), "No judgement on FedEraser: verdicts are for classes."),
    ],
)
def test_a_run(summary: Summary, said: str) -> None:
    assert of_run(summary) == said


def test_a_sweep_tells_methods_that_came_to_the_same_together() -> None:
    plus = replace(ERASED, title="FUCRT+", gap={"retain_accuracy": 0.01}, cost={})
    runs = [(each.title, each) for each in (HIDDEN, ERASED, KEPT, plus)]
    assert of_runs(runs) == (
        "FUCRT (19 % of the time, \N{MINUS SIGN}0.4 points of accuracy) and FUCRT+ (+1.0 points of accuracy) forgot "
        "“Ankle boot” as thoroughly as retraining; masking the head only hid it; fine-tuning did not forget it."
    )
    alike = [(f"method {number}", replace(ERASED, gap={"retain_accuracy": 0.004 * number})) for number in range(4)]
    assert of_runs(alike) == (
        "Method 0, method 1, method 2 and method 3 forgot “Ankle boot” as thoroughly as retraining, in 19 % of the "
        "time and with 0.0 to 1.2 points more accuracy on the rest."
    )
    many = [(f"method {number}", KEPT) for number in range(6)]
    assert of_runs(many) == "Method 0, method 1, method 2 and 3 other methods did not forget “Ankle boot”."
    assert of_runs([]) == ""
    assert of_runs([("FUCRT", ERASED)]) == of_run(ERASED)


def test_seeds_that_disagree_are_counted() -> None:
    none = replace(ERASED, verdict=verdict(None))
    runs = [("FUCRT", each) for each in (ERASED, HIDDEN, ERASED, none)]
    assert of_runs(runs) == (
        "FUCRT forgot “Ankle boot” as thoroughly as retraining in 2 of 4 runs, only hid “Ankle boot” in 1 of 4 runs "
        "and came to no verdict in 1 of 4 runs."
    )


def test_several_classes_and_names_in_any_script() -> None:
    assert forgotten(replace(ERASED, forget_classes=(0, 3))) == "“top” and “Ankle boot”"
    assert forgotten(replace(ERASED, forget_classes=(0, 1, 2, 3))) == "4 classes"
    digits = replace(ERASED, class_names=tuple("0123"))
    assert forgotten(digits) == "class 3"
    assert forgotten(replace(digits, forget_classes=(1, 3))) == "classes 1 and 3"
    assert forgotten(replace(ERASED, class_names=("猫", "🐈\u200d⬛", "ä", "a\n<b>\u202e"))) == "“a <b>”"
    assert (
        forgotten(replace(ERASED, class_names=("猫", "🐈\u200d⬛"), forget_classes=(0, 1))) == "“猫” and “🐈\u200d⬛”"
    )
    assert forgotten(replace(ERASED, class_names=())) == "class 3"
    assert cut("x" * 50) == "x" * 39 + "…"
    two = [("a", replace(each, forget_classes=(0, 3))) for each in (ERASED,)]
    assert of_runs([*two, ("b", replace(HIDDEN, forget_classes=(0, 3)))]).endswith("; b only hid them.")


summaries = st.builds(
    lambda word, gates, level, status: replace(
        ERASED,
        status=status,
        gates={"g": gates},
        verdict=verdict(word),
        judgement=verdict(word),
        forget_classes=(3,) if level else (),
    ),
    st.sampled_from([*SAID, None, "perfect"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["done", "done", "done", "failed", "running"]),
)


@given(st.lists(st.tuples(st.sampled_from("ab"), summaries), min_size=1, max_size=4))
def test_it_never_claims_more_than_the_verdict(runs: list[tuple[str, Summary]]) -> None:
    said = of_runs(runs)
    good = [s for _, s in runs if s.status == "done" and all(s.gates.values()) and s.forget_classes]
    assert ("as thoroughly as retraining" in said) <= any(s.verdict and s.verdict.word == "erased" for s in good)
    assert "perfect" not in said and said.endswith(".") and "\n" not in said
    for word in WORDS:
        only = all(s in good and s.verdict and s.verdict.word == word for _, s in runs)
        assert not only or SAID[word].partition("{")[0] in said


def at(**verdicts: Verdict) -> dict[str, Deployed]:
    return {name: Deployed(gates={"original_learnt_task": True}, verdict=found) for name, found in verdicts.items()}


def test_a_second_sentence_says_what_becomes_of_it_in_other_formats() -> None:
    def second(summary: Summary) -> str:
        whole, alone = of_run(summary), of_run(replace(summary, deployed={}))
        assert whole.startswith(f"{alone} ")
        return whole.removeprefix(f"{alone} ")

    same = replace(ERASED, deployed=at(int8=verdict("erased"), int4=verdict("erased")))
    assert second(same) == "At int8 and int4 the verdict is the same."
    back = replace(ERASED, deployed=at(int8=verdict("erased"), int4=verdict("not erased"), int3=verdict(None)))
    assert second(back).startswith(
        "At int8 the verdict is the same; at int4 FUCRT did not forget it; at int3 there is no verdict: "
    )
    lost = {
        **at(int3=verdict("erased")),
        "int2": Deployed(gates={"original_learnt_task": False}, verdict=verdict("erased")),
    }
    assert second(replace(ERASED, deployed=lost)) == (
        "At int3 the verdict is the same; at int2 there is no verdict: the original model does not know the task any "
        "more."
    )
    without = replace(ERASED, verdict=None, deployed=at(int8=verdict(None)))
    assert second(without) == "At int8 there is no verdict either."
    client = {"int8": Deployed(verdict=CLIENT.verdict, judgement=verdict("more left"))}
    assert second(replace(CLIENT, deployed=client)) == (
        "At int8 FedEraser still remembers more of them than a retrained model."
    )


def test_a_sentence_says_what_a_repair_makes_of_it() -> None:
    def second(word: str | None) -> str:
        mended = Deployed(models=ERASED.models, verdict=verdict(word))
        summary = replace(ERASED, config={**ERASED.config, "repair": {"name": "average_logit_gap"}}, repaired=mended)
        return of_run(summary).removeprefix(f"{of_run(ERASED)} ")

    assert second("erased") == "Repaired by average logit gap, the verdict is the same."
    assert second("suppressed") == "Repaired by average logit gap, FUCRT only hid it."
    assert second(None).startswith("Repaired by average logit gap, there is no verdict: ")


def test_a_sentence_says_what_becomes_of_repaired_models_in_other_formats() -> None:
    mended = Deployed(models=ERASED.models, verdict=verdict("erased"))
    hidden = replace(mended, verdict=verdict("suppressed"))
    formats = {"int8": replace(mended, repaired=mended), "int4": replace(mended, repaired=hidden)}
    config = {**ERASED.config, "repair": {"name": "finetune"}}
    summary = replace(ERASED, config=config, repaired=mended, deployed=formats)
    assert of_run(summary).removeprefix(f"{of_run(ERASED)} ") == (
        "Repaired by finetune, the verdict is the same. At int8 and int4 the verdict is the same. "
        "Repaired, at int8 the verdict is the same; repaired, at int4 FUCRT only hid it."
    )
