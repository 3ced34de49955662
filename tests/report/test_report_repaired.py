"""Runs with a repair: repaired models are told apart from the others wherever runs are read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fedunlearn.api.result import Result
from fedunlearn.errors import RequestError
from fedunlearn.report import names, tables
from fedunlearn.report.runs import Run, in_forms
from fedunlearn.results.summary import Deployed, Summary


def form(value: float, repaired: Deployed | None = None) -> Deployed:
    models = {role: {"retain_accuracy": value} for role in ("original", "retrained", "unlearned")}
    return Deployed(
        models=models, gap={"retain_accuracy": 0.0}, survival={"unlearned": {"flipped": value}}, repaired=repaired
    )


def run(repair: str = "finetune", rounds: int = 2) -> Run:
    """A run whose models have 0.1, repaired 0.2, at int4 0.3, and repaired at int4 0.4."""
    config = {
        **{section: {"name": section} for section in ("method", "dataset", "model", "partition")},
        "seed": 0,
        "repair": {"name": repair, "rounds": rounds},
    }
    deployed = {"int4": form(0.3, form(0.4))}
    summary = Summary("done", config, models=form(0.1).models, repaired=form(0.2), deployed=deployed)
    return Run(Path("run"), "done", "", summary)


def test_a_run_in_all_its_forms() -> None:
    found = in_forms([run(), replace(run(), summary=replace(run().summary, repaired=None, deployed={}))])
    told = [(each.repair, each.format, each.values("unlearned")["retain_accuracy"]) for each in found]
    assert told == [
        ("", "float32", 0.1),
        ("", "float32", 0.1),
        ("finetune", "float32", 0.2),
        ("", "int4", 0.3),
        ("finetune", "int4", 0.4),
    ]
    assert [each.as_unlearned for each in found] == [True, True, False, False, False]
    assert [each.survival.get("unlearned", {}).get("flipped") for each in found] == [None, None, None, 0.3, 0.4]


def test_a_form_in_words() -> None:
    assert names.form("float32") == ""
    assert names.form("int4", "average_logit_gap") == "repaired by average logit gap, at int4"


def test_repairs_make_settings_of_their_own_and_leave_the_others_alone() -> None:
    frame = tables.frame_of(in_forms([run(), run("climbq"), run("climbq", rounds=3)]))
    plain, repaired = frame[frame["repair"] == ""], frame[(frame["repair"] != "") & (frame["format"] == "float32")]
    assert plain[plain["format"] == "float32"]["setting"].nunique() == 1
    assert len(tables.as_unlearned(frame)) == 3
    assert [text.partition("repaired by ")[2] for text in repaired["setting"]] == [
        "finetune",
        "climbq (repair.rounds=2)",
        "climbq (repair.rounds=3)",
    ]


def test_results_of_repaired_models() -> None:
    asked = []
    result = Result(Path("run"), run().summary, lambda form: asked.append(form))  # type: ignore[arg-type, return-value]
    mended = result.after_repair()
    assert mended.findings["unlearned"] == {"retain_accuracy": 0.2}
    assert mended.at("int4").findings["unlearned"] == {"retain_accuracy": 0.4}
    assert [each.models for each in (result, mended, mended.at("int4"))] == [None] * 3
    assert asked == [("float32", False), ("float32", True), ("int4", True)]
    with pytest.raises(RequestError, match="repair=none"):
        mended.after_repair()
