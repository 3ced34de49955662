"""Reading run folders, good and bad."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fedunlearn.errors import RequestError
from fedunlearn.report import runs


def test_a_finished_run_is_done_and_says_nothing(tmp_path: Path, make_run: Any) -> None:
    run = runs.read(make_run(tmp_path / "a"))
    assert (run.status, run.reason) == ("done", "")
    assert (run.chosen("method"), run.chosen("seed"), run.seed) == ("fucrt", "", 0)


def test_numbers_leave_out_what_is_no_finite_number(tmp_path: Path, make_run: Any) -> None:
    values = {"forget_accuracy": 0.5, "leak": None, "flow_tv": float("nan")}
    run = runs.read(make_run(tmp_path, unlearned=values))
    assert run.values("unlearned") == {"forget_accuracy": 0.5}
    assert run.values("nobody") == {}


def test_what_stands_in_for_a_finding_is_shown_where_that_is_not_there(tmp_path: Path, make_run: Any) -> None:
    both = runs.read(make_run(tmp_path / "a", unlearned={"forget_accuracy_train": 0.5, "forget_accuracy": 0.1}))
    other = runs.read(make_run(tmp_path / "b", unlearned={"forget_accuracy_train": 0.5, "leak": 0.1}))
    neither = runs.read(make_run(tmp_path / "c", unlearned={"leak": 0.1}))
    said = [run.present("forget_accuracy") for run in (both, other, neither)]
    assert said == ["forget_accuracy", "forget_accuracy_train", "forget_accuracy"]


def test_a_field_of_the_wrong_type_is_named(tmp_path: Path, make_run: Any) -> None:
    folder = make_run(tmp_path)
    content = json.loads((folder / "summary.json").read_text())
    content["models"]["unlearned"]["leak"] = "high"
    (folder / "summary.json").write_text(json.dumps(content))
    run = runs.read(folder)
    assert run.status == "failed"
    assert run.reason == "summary.json cannot be read: models.unlearned.leak must be a number or null, not 'high'"


def test_retrained_lists_every_model(tmp_path: Path, make_run: Any) -> None:
    run = runs.read(make_run(tmp_path))
    assert run.retrained("retain_accuracy") == [0.78, 0.80]
    assert run.retrained("unheard_of") == []


def test_failed_gates_are_those_that_are_false_not_those_left_out(tmp_path: Path, make_run: Any) -> None:
    run = runs.read(make_run(tmp_path, gates={"original_learnt_task": True, "retrained_at_chance": False}))
    assert run.failed_gates() == ["retrained_at_chance"]


@pytest.mark.parametrize(
    ("text", "status", "reason"),
    [
        ('{"status": "done"', "failed", "summary.json cannot be read"),
        ("[1, 2]", "failed", "holds no summary"),
        ('{"status": "done", "models": {}}', "failed", "no config.method.name"),
        ('{"status": "done", "config": {"partition": 3}}', "failed", "summary.json cannot be read"),
        ('{"status": "failed", "reason": "out of memory"}', "failed", "out of memory"),
        ('{"status": "failed"}', "failed", "no reason given"),
        ('{"status": "running"}', "missing", "'running'"),
    ],
)
def test_a_bad_summary_is_a_reason_not_an_error(tmp_path: Path, text: str, status: str, reason: str) -> None:
    (tmp_path / "summary.json").write_text(text)
    run = runs.read(tmp_path)
    assert run.status == status
    assert reason in run.reason


def test_a_finished_summary_without_a_model_is_incomplete(tmp_path: Path, make_run: Any) -> None:
    folder = make_run(tmp_path)
    content = json.loads((folder / "summary.json").read_text())
    del content["models"]["unlearned"]
    (folder / "summary.json").write_text(json.dumps(content))
    assert runs.read(folder).reason == "summary.json is incomplete: no models.unlearned"


def test_find_sorts_two_before_ten_and_passes_over_hidden_folders(tmp_path: Path, make_run: Any) -> None:
    for name in ("run10", "run2", "deeper/run1", ".hidden/run"):
        make_run(tmp_path / name)
    assert [runs.relative(run, tmp_path) for run in runs.find(tmp_path)] == ["deeper/run1", "run2", "run10"]


def test_find_accepts_a_run_folder_itself(tmp_path: Path, make_run: Any) -> None:
    make_run(tmp_path / "run")
    assert [runs.relative(run, tmp_path / "run") for run in runs.find(tmp_path / "run")] == ["."]


def test_a_configured_run_without_summary_is_missing(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("seed: 0\n")
    (run,) = runs.find(tmp_path)
    assert (run.status, run.reason) == ("missing", "unfinished: there is no summary.json")


def test_jobs_of_a_sweep_that_have_not_started_are_missing_with_their_overrides(tmp_path: Path, make_run: Any) -> None:
    make_run(tmp_path / "0")
    jobs = [{"dir": "0", "overrides": ["seed=0"]}, {"dir": "1", "overrides": ["method=fucrt", "seed=1"]}, {"dir": "2"}]
    (tmp_path / "sweep.json").write_text(json.dumps({"jobs": jobs}))
    found = [(runs.relative(run, tmp_path), run.status, run.reason) for run in runs.find(tmp_path)]
    assert found == [
        ("0", "done", ""),
        ("1", "missing", "not started (method=fucrt seed=1)"),
        ("2", "missing", "not started"),
    ]


def test_a_job_that_was_begun_is_listed_once_and_says_what_it_was(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "config.yaml").write_text("seed: 0\n")
    (tmp_path / "sweep.json").write_text(json.dumps({"jobs": [{"dir": "0", "overrides": ["seed=0"]}]}))
    (run,) = runs.find(tmp_path)
    assert run.reason == "unfinished: there is no summary.json (seed=0)"


@pytest.mark.parametrize("text", ["{", "[]", '{"jobs": [{}]}', '{"jobs": 3}'])
def test_an_unreadable_sweep_plan_is_listed_and_stops_nothing(tmp_path: Path, make_run: Any, text: str) -> None:
    make_run(tmp_path / "run")
    (tmp_path / "sweep.json").write_text(text)
    assert sorted(run.status for run in runs.find(tmp_path)) == ["done", "failed"]


def test_no_folder_and_no_runs_are_mistakes_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="there is no folder"):
        runs.find(tmp_path / "nothing")
    with pytest.raises(RequestError, match="holds no runs"):
        runs.find(tmp_path)


def test_relative_names_a_folder_elsewhere_in_full(tmp_path: Path) -> None:
    assert runs.relative(runs.Run(Path("/elsewhere/run"), "done"), tmp_path) == "/elsewhere/run"


def test_curve_takes_the_last_of_a_round_and_passes_over_half_a_line(tmp_path: Path) -> None:
    lines = [
        {"stage": "unlearn", "round": 1, "name": "forget_accuracy", "value": 0.5},
        {"stage": "unlearn", "round": 0, "name": "forget_accuracy", "value": 0.9},
        {"stage": "unlearn", "round": 1, "name": "forget_accuracy", "value": 0.4},
        {"stage": "unlearn", "round": 2, "name": "forget_accuracy", "value": None},
        {"stage": "train", "round": 3, "name": "forget_accuracy", "value": 0.1},
        {"stage": "unlearn", "round": 3, "name": "retain_accuracy", "value": 0.1},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"stage": "unl')
    assert list(runs.curve(tmp_path, "unlearn", "forget_accuracy").items()) == [(0, 0.9), (1, 0.4)]
    assert runs.curve(tmp_path / "nowhere", "unlearn", "forget_accuracy") == {}
