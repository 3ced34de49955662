"""What is written is what is read, and what a stranger's file holds is checked field by field."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedunlearn.plain import flat
from fedunlearn.results import summary as summaries
from fedunlearn.results.findings import Finding
from fedunlearn.results.summary import Deployed, Partition, Summary, as_plain, from_json, to_json
from fedunlearn.results.verdict import Verdict

FULL = Summary(
    status="done",
    config={"seed": 3, "method": {"name": "finetune", "lr": None}, "list": [1, "a"]},
    command="fedunlearn method=finetune",
    models={"original": {"leak": 1.0}, "retrained": {"leak": 0.0}, "unlearned": {"leak": None}},
    retrained_seeds=({"leak": -0.5}, {"leak": 0.5}),
    noise_floor={"leak": 1.0},
    gap={"leak": None},
    details={"original": {"class_flow": (0.25, None, 0.75)}},
    findings={"leak": Finding("leak", "AUSUC leak", "what is left", "up", headline=True, counted=True, finest=0.5)},
    verdict=Verdict("suppressed", ("because",), {"leak": None}, {"leak": 2.0}, 2),
    gates={"original_learnt_task": True},
    warnings=("careful",),
    method={"votes": [[1, 2], [3, 4]]},
    class_names=("zero", "one"),
    forget_classes=(1,),
    samples={"forget_test": 7},
    partition=Partition(((1, 2), (3, 4)), (2, 4)),
    cost={"train": {"seconds": 1.5, "rounds": 3.0}},
    cached={"train": True},
    profile={"train": {"sgd": 0.5}},
    deployed={
        "int4": Deployed(
            models={"original": {"leak": 0.75}, "retrained": {"leak": 0.25}, "unlearned": {"leak": 0.5}},
            retrained_seeds=({"leak": 0.0}, {"leak": 0.5}),
            noise_floor={"leak": 0.5},
            gap={"leak": 0.25},
            details={"original": {"class_flow": (1.0, 0.0, 0.0)}},
            gates={"original_learnt_task": False},
            verdict=Verdict(None, ("a sanity gate failed",)),
            survival={"unlearned": {"flipped": 0.125, "cosine": None}},
        )
    },
    title="fine-tuning",
    headline="No verdict on fine-tuning.",
)


def test_what_is_written_is_read_as_it_was(tmp_path: Path) -> None:
    path = summaries.write(tmp_path, FULL)
    assert path == tmp_path / "summary.json"
    assert summaries.read(tmp_path) == FULL


def test_the_layout_of_the_file() -> None:
    content = json.loads(to_json(FULL))
    assert content["findings"]["leak"] == {
        "label": "AUSUC leak",
        "meaning": "what is left",
        "direction": "up",
        "scale": "",
        "headline": True,
        "stands_in_for": "",
        "counted": True,
        "finest": 0.5,
        "kind": "number",
        "drawn": "",
    }
    assert content["samples"] == {"forget_test": 7}
    assert content["verdict"]["word"] == "suppressed" and content["models"]["unlearned"] == {"leak": None}
    assert "reason" not in content
    assert {"warnings", "gates", "noise_floor"} <= set(as_plain(Summary("done"))), "there, though empty"


def test_a_summary_at_a_format_is_that_of_the_models_in_it() -> None:
    there = FULL.at("int4")
    assert there.models["unlearned"] == {"leak": 0.5} and there.gap == {"leak": 0.25}
    assert there.verdict == Verdict(None, ("a sanity gate failed",)) and not there.gates["original_learnt_task"]
    assert (there.config, there.findings, there.samples) == (FULL.config, FULL.findings, FULL.samples)
    assert FULL.at("float32") == replace(FULL, deployed={}) and FULL.formats == ("float32", "int4")
    assert "deployed" not in as_plain(replace(FULL, deployed={})), "absent where it was not asked for"


def test_a_failed_run_says_no_more_than_it_knows() -> None:
    failed = Summary("failed", {"seed": 1}, "fedunlearn", "out of memory")
    assert as_plain(failed) == {
        "status": "failed",
        "config": {"seed": 1},
        "command": "fedunlearn",
        "reason": "out of memory",
    }
    assert from_json(to_json(failed)) == failed


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_json_does_not_have_are_null(bad: float) -> None:
    odd = replace(FULL, gap={"leak": bad}, method={"loss": [bad, {"deep": bad}]}, cost={"train": {"seconds": bad}})
    text = to_json(odd)
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    read = from_json(text)
    assert read.gap == {"leak": None} and read.method == {"loss": [None, {"deep": None}]}
    assert read.cost == {"train": {"seconds": None}}


def test_bare_nan_of_an_older_version_is_read_as_null() -> None:
    assert from_json('{"status": "done", "gap": {"leak": NaN}, "cost": {"train": {"seconds": Infinity}}}').gap == {
        "leak": None
    }


def test_what_a_later_version_adds_is_passed_over() -> None:
    content = json.loads(to_json(FULL))
    content["shipped_to"] = content["deployed"]["int4"]["size"] = {"phones": 3}
    content["deployed"]["int4"]["verdict"]["mood"] = "bad"
    content["verdict"]["colour"] = content["partition"]["map"] = content["findings"]["leak"]["unit"] = "new"
    content["models"]["repaired"] = {"leak": 0.25}
    read = from_json(json.dumps(content))
    assert read.models["repaired"] == {"leak": 0.25}
    assert replace(read, models=FULL.models) == FULL


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("models", 3, "models"),
        ("models.unlearned", [1], "models.unlearned"),
        ("models.unlearned.leak", "high", "models.unlearned.leak must be a number or null, not 'high'"),
        ("models.unlearned.leak", True, "models.unlearned.leak must be a number or null, not True"),
        ("retrained_seeds", {"a": 1}, "retrained_seeds"),
        ("details.original.class_flow", ["x"], "details.original.class_flow[0] must be a number or null, not 'x'"),
        ("findings.leak", "up", "findings.leak"),
        ("findings.leak.direction", "sideways", "findings.leak.direction must be up, down, as retrained"),
        ("findings.leak.direction", "distance", "findings.leak: the verdict can count leak only if"),
        ("verdict", "erased", "verdict"),
        ("verdict.reasons", "because", "verdict.reasons must be a list"),
        ("gates.original_learnt_task", "yes", "gates.original_learnt_task must be true or false, not 'yes'"),
        ("partition.counts", [[1, "x"]], "partition.counts[0][1] must be a whole number, not 'x'"),
        ("partition.counts", [[1, True]], "partition.counts[0][1] must be a whole number, not True"),
        ("deployed", ["int4"], "deployed"),
        ("deployed.int4", 3, "deployed.int4"),
        ("deployed.int4.models.unlearned.leak", "high", "deployed.int4.models.unlearned.leak must be a number or null"),
        ("deployed.int4.survival.unlearned.flipped", "all", "deployed.int4.survival.unlearned.flipped must be a"),
        ("deployed.int4.gates.original_learnt_task", 1, "deployed.int4.gates.original_learnt_task must be true or"),
        ("class_names", [1], "class_names[0] must be text, not 1"),
        ("status", None, "status must be text, not None"),
        ("config", "seed: 1", "config"),
    ],
)
def test_a_field_that_is_not_what_it_should_be_is_named(path: str, value: Any, said: str) -> None:
    content = json.loads(to_json(FULL))
    *above, last = path.split(".")
    inner = content
    for key in above:
        inner = inner[key]
    inner[last] = value
    with pytest.raises(ValueError) as error:
        from_json(json.dumps(content))
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["[1]", '"done"', "3", "null", "{", "{}"])
def test_what_is_no_summary_is_said(text: str) -> None:
    with pytest.raises(ValueError):
        from_json(text)


values = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False))


@given(st.dictionaries(st.text(), st.dictionaries(st.text(), values)), st.lists(st.dictionaries(st.text(), values)))
def test_any_findings_come_back(models: dict[str, Any], seeds: list[dict[str, Any]]) -> None:
    made = replace(FULL, models=models, retrained_seeds=tuple(seeds))
    assert from_json(to_json(made)) == made


def test_flat_names_everything_once() -> None:
    nested = {"a": {"b": 1, "c": {}}, "d": [1, 2], "e": [{"f": 3}], "g": None}
    assert flat(nested) == {"a.b": 1, "a.c": {}, "d": [1, 2], "e[0].f": 3, "g": None}
    assert flat({}) == {}
