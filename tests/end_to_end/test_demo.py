"""Letters drawn on the spot: classes asked for by name, and what `make demo` says of its methods."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from fedunlearn.cli import main

TINY = ["+experiment=demo", "dataset.train=20", "dataset.test=10", "gates=warn", "train.rounds=1", "unlearn.rounds=1"]
TINY += [
    "retrain.seeds=1",
    "audit=quick",
    "model.width=2",
    "partition.clients=2",
    "partition.alpha=5",
    "report.figures=false",
]


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["fedunlearn", *words])
    try:
        main.main()
    except SystemExit as stop:
        assert not stop.code


def summary_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


def test_a_class_by_name_is_the_same_run_and_runs_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = f"store.dir={tmp_path / 'store'}"
    run(monkeypatch, *TINY, store, "request.classes=[Q]", f"output.dir={tmp_path / 'name'}")
    assert "forgetting class 8 (Q)" in capsys.readouterr().out
    named = summary_of(tmp_path / "name")
    assert named["forget_classes"] == [8] and not any(named["cached"].values())
    assert yaml.safe_load((tmp_path / "name" / "config.yaml").read_text())["request"]["classes"] == ["Q"]
    assert "8 (Q)" in (tmp_path / "name" / "report.html").read_text()

    again = ["--rerun", str(tmp_path / "name" / "config.yaml"), f"output.dir={tmp_path / 'again'}"]
    number = [*TINY, store, "request.classes=[8]", f"output.dir={tmp_path / 'number'}"]
    for folder, words in (("again", again), ("number", number)):
        run(monkeypatch, *words)
        found = summary_of(tmp_path / folder)
        assert all(found["cached"].values()), "the store's keys are made of numbers"
        assert found["models"] == named["models"]


@pytest.mark.slow
def test_the_demos_verdicts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On another class and another seed than `make demo` itself, and than those that its settings were chosen on."""
    shared = ["request.classes=[F]", "seed=4", f"output.dir={tmp_path}", f"store.dir={tmp_path / 'store'}"]
    run(monkeypatch, "-m", "+experiment=demo", "method=fucrt,head_mask,retrain", *shared)
    words = {path.parent.name: summary_of(path.parent)["verdict"]["word"] for path in tmp_path.glob("*/summary.json")}
    assert (words["1_head_mask_s4"], words["2_retrain_s4"]) == ("suppressed", "erased")
    assert words["0_fucrt_s4"] in ("erased", "over-erased", "suppressed"), "forgetting and a verdict on it"
