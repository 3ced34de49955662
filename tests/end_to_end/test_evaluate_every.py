"""`train.evaluate_every`: the same models, tested less often, also where a run was interrupted between two tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fedunlearn.cli import command_line
from fedunlearn.cli.main import conf_dir
from fedunlearn.federation.evaluation import is_due
from fedunlearn.runs import pipeline, runner
from fedunlearn.runs.console import Console
from fedunlearn.runs.pipeline import Outcome
from fedunlearn.store import Artifact, Checkpoint

WORDS = ["gates=warn", "audit=quick", "method=finetune", "data.limit=150", "retrain.seeds=1", "partition.clients=2"]
ROUNDS = ["train.rounds=5", "unlearn.rounds=2"]
Run = Callable[..., Outcome]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def of(*words: str) -> Outcome:
        config = command_line.read([*WORDS, *ROUNDS, f"store.dir={tmp_path / 'store'}", *words], conf_dir())
        return pipeline.run(config, Console())

    return of


def rounds_of(outcome: Outcome) -> dict[str, list[int]]:
    return {
        each.step.label: [entry["round"] for entry in each.model.history if "scores" in entry]
        for each in outcome.models
    }


def test_rounds_that_are_due() -> None:
    assert [number for number in range(8) if is_due(number, 7, 3)] == [0, 3, 6, 7]
    assert [number for number in range(8) if is_due(number, 7, 1)] == list(range(8))
    assert [number for number in range(8) if is_due(number, 7, 0)] == [7]
    assert is_due(0, 0, 0)


def test_models_are_shared_and_show_the_rounds_asked_for(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    every = run()
    assert rounds_of(every) == {"original": [0, 1, 2, 3, 4, 5], "retrained_0": list(range(8)), "unlearned": [0, 1, 2]}
    rare = run("train.evaluate_every=3")
    assert rounds_of(rare) == {"original": [0, 3, 5], "retrained_0": [0, 3, 6, 7], "unlearned": [0, 2]}
    assert all(each.model.cached for each in rare.models)
    assert rare.findings == every.findings
    assert "not tested" not in capsys.readouterr().out


def test_fewer_tests_change_no_model_and_a_run_that_wants_more_is_told(
    run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    last = run("train.evaluate_every=0")
    assert rounds_of(last) == {"original": [5], "retrained_0": [7], "unlearned": [2]}
    assert all(len(each.model.history) == rounds for each, rounds in zip(last.models, (6, 8, 3), strict=True))
    assert all("loss" in entry for entry in last.original.history[1:])
    assert rounds_of(run()) == rounds_of(last)
    assert "train: found in the store" in (out := capsys.readouterr().out)
    assert "5 of the rounds asked for were not tested when it was trained" in out
    alone = run(f"store.dir={tmp_path / 'other'}")
    for one, other in zip(last.models, alone.models, strict=True):
        assert all(torch.equal(value, other.model.tensors[name]) for name, value in one.model.tensors.items())


def test_it_goes_on_after_a_round_that_was_not_tested(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = run("train.evaluate_every=3", f"store.dir={tmp_path / 'other'}")
    save = Checkpoint.save

    def once(self: Checkpoint, artifact: Artifact) -> None:
        save(self, artifact)
        if artifact.data["history"][-1]["round"] == 4:
            monkeypatch.setattr(Checkpoint, "save", save)
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", once)
    monkeypatch.setattr(runner, "SAVE_EVERY", 0)
    with pytest.raises(KeyboardInterrupt):
        run("train.evaluate_every=3")
    resumed = run("train.evaluate_every=3")
    assert rounds_of(resumed) == rounds_of(whole)
    assert resumed.original.history == whole.original.history
    assert all(torch.equal(value, whole.original.tensors[name]) for name, value in resumed.original.tensors.items())


def test_figures_page_and_table_of_a_run_tested_at_the_end_alone(fedunlearn: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    status, out, _ = fedunlearn(
        *WORDS, *ROUNDS, "train.evaluate_every=0", f"output.dir={folder}", f"store.dir={tmp_path / 'store'}"
    )
    assert status == 0, out
    assert (folder / "report.html").is_file()
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    curve = {line["round"] for line in lines if (line["stage"], line["name"]) == ("unlearn", "forget_accuracy")}
    assert curve == {2}
