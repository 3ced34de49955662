"""What ends a run, or is said, before much has been computed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

TINY = ["data.limit=100", "train.rounds=1", "unlearn.rounds=1", "retrain.seeds=1", "audit=quick", "partition.clients=2"]
TINY += ["report.figures=false"]


@pytest.fixture
def tiny(fedunlearn, tmp_path: Path):
    """A run of seconds in a folder and store of its own: (exit status, stdout, stderr)."""
    return lambda *words: fedunlearn(*TINY, f"output.dir={tmp_path / 'run'}", f"store.dir={tmp_path / 'store'}", *words)


def test_nothing_is_retrained_after_an_original_that_learnt_nothing(tiny, tmp_path: Path) -> None:
    status, _, said = tiny("train.lr=1e-6")
    assert status == 1
    assert "the original model did not learn the task: its accuracy there is 0." in said
    assert "train.rounds=1, train.lr=1e-06" in said and "gates=warn" in said
    assert "goes on from the last round" not in said
    assert (tmp_path / "store" / "train").is_dir() and not (tmp_path / "store" / "retrain").exists()
    status, _, said = tiny("train.lr=1e-6", "gates=warn", "output.overwrite=true")
    assert status == 0, said
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert not summary["gates"]["original_learnt_task"]
    assert (tmp_path / "store" / "retrain").is_dir()


def test_gates_are_no_other_run(tiny) -> None:
    assert tiny("gates=warn")[0] == 0
    status, shown, _ = tiny("gates=warn")
    assert status == 0 and "finished already" in shown
    assert "finished already" in tiny()[1]


def test_a_diverging_run_names_its_rate_and_promises_nothing(tiny) -> None:
    status, _, said = tiny("train.lr=1e12")
    assert status == 1
    assert "The steps are too long: try a smaller train.lr=1e+12" in said
    assert "goes on from the last round" not in said


def test_no_round_for_a_method_that_trains_is_said(tiny) -> None:
    said = "trains, but unlearn.rounds=0 leaves it no round to train in"
    assert f"method finetune {said}" in tiny("gates=warn", "unlearn.rounds=0", "method=finetune")[1]
    assert said not in tiny("gates=warn", "unlearn.rounds=0", "method=head_mask", "output.overwrite=true")[1]


def test_a_batch_above_the_data_is_said(tiny) -> None:
    said = tiny("gates=warn", "unlearn.batch_size=500", "train.batch_size=50")[1]
    assert "unlearn.batch_size=500 is more than any client holds (at most" in said
    assert "train.batch_size" not in said
