"""Runs whose models are in several formats, as tables, page, sentences and figure show them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fedunlearn.report import headlines, page, page_facts, runs, style, survival_figure, sweep, tables
from fedunlearn.report.runs import Run

MakeRun = Callable[..., Path]

FORMATS = ("int4", "nf4", "int8")


def deployed(shift: float, verdict: dict[str, Any] | None = None) -> dict[str, Any]:
    """A format in which every model has other numbers, by `shift`."""
    retrained = [{"forget_accuracy": x + shift, "retain_accuracy": 0.8 - shift, "leak": x} for x in (0.0, 0.1)]
    return {
        "models": {
            "original": {"forget_accuracy": 0.9, "retain_accuracy": 0.8, "leak": 1.0},
            "retrained": {"forget_accuracy": 0.05 + shift, "retain_accuracy": 0.8 - shift, "leak": 0.05},
            "unlearned": {"forget_accuracy": 0.5 + shift, "retain_accuracy": 0.7, "leak": 0.4},
        },
        "retrained_seeds": retrained,
        "noise_floor": {"forget_accuracy": 0.1, "retain_accuracy": 0.0, "leak": 0.1},
        "gap": {"forget_accuracy": 0.45, "retain_accuracy": shift - 0.1, "leak": 0.35},
        "gates": {"original_learnt_task": True},
        "verdict": verdict or {"word": "not erased", "retrained": 2},
        "survival": {"unlearned": {"reversion.forget_accuracy": 0.48, "flipped": 0.25, "cosine": None}},
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_run: MakeRun) -> Path:
    """A sweep of two runs, one of them in three further formats."""
    root = tmp_path_factory.mktemp("deployed")
    found = {name: deployed(0.01 * number) for number, name in enumerate(FORMATS, start=1)}
    make_run(root / "a", deployed=found)
    make_run(root / "b", method="finetune")
    return root


def of(folder: Path) -> Run:
    return runs.read(folder / "a")


def test_a_table_has_a_row_for_each_run_and_format_below_those_of_the_runs(folder: Path) -> None:
    frame = tables.tidy([folder / "a", folder / "b"])
    assert frame["format"].tolist() == ["float32", "float32", *FORMATS]
    int4 = frame[frame["format"] == "int4"].iloc[0]
    assert int4["unlearned.forget_accuracy"] == pytest.approx(0.51) and int4["verdict"] == "not erased"
    assert int4["retrained_high.forget_accuracy"] == pytest.approx(0.11) and int4["noise.leak"] == 0.1
    assert int4["setting"] == f"{frame['setting'][0]}, at int4"
    blocks = tables.summary_table(frame, runs.declared([of(folder)]))
    assert blocks["setting"].nunique() == 4
    methods = blocks[blocks["kind"] == "method"]
    assert methods["row"].tolist() == ["fucrt", "finetune", "fucrt", "fucrt", "fucrt"]


def test_a_sweep_says_each_format_once_and_counts_its_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep.figures, "draw_sweep", lambda rows, declared, folder, titled: [])
    everything = runs.in_forms(runs.find(folder))
    assert [run.format for run in everything] == ["float32", "float32", *FORMATS]
    said = headlines.of_sweep(everything, tables.frame_of(everything))
    assert [text.startswith("At ") for text in said] == [False, True, True, True]
    assert said[1].startswith("At int4: ") and "did not forget" in said[1]
    report = sweep.build(folder)
    assert pd.read_csv(folder / "runs.csv")["format"].value_counts()["float32"] == 2
    shown = (folder / "report.html").read_text("utf-8")
    assert shown.count("As it ships") == 1 and "At nf4" in shown
    assert not report.problems


def test_the_page_of_a_run_has_a_column_and_a_part_for_each_format(folder: Path) -> None:
    facts = page_facts.facts(of(folder))
    assert facts.shipped is not None
    assert facts.shipped.names == ["float32", *FORMATS]
    assert facts.shipped.words[1:] == ["not erased"] * 3
    cells = dict(facts.shipped.rows)["forget accuracy"]
    assert [value for value, _ in cells] == ["0.020", "0.510", "0.520", "0.530"] and cells[1][1] == "+0.450"
    (int4, *_) = facts.forms
    assert (int4.title, int4.format) == ("At int4", "int4")
    assert {row.name for row in int4.audits} >= {"forget accuracy", "AUSUC leak"}
    assert [(label, value) for label, value, _ in int4.survival] == [
        ("forget accuracy: comes back", "+0.480"),
        ("codes that differ", "0.250"),
    ]
    assert page_facts.facts(runs.read(folder / "b")).shipped is None


def test_the_figure_is_in_the_order_of_bits_with_the_band_of_each(folder: Path) -> None:
    with style.styled():
        figure = survival_figure.survival(of(folder))
    assert figure is not None
    forget = figure.axes[0]
    assert [tick.get_text() for tick in forget.get_xticklabels()] == ["float32", "int8", "int4", "nf4"]
    unlearned = next(line for line in forget.lines if line.get_color() == style.UNLEARNED)
    assert np.asarray(unlearned.get_ydata()).tolist() == pytest.approx([0.02, 0.53, 0.51, 0.52])
    (band,) = forget.collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert heights.max() == pytest.approx(0.13) and heights.min() == pytest.approx(0.01)
    assert survival_figure.survival(runs.read(folder / "b")) is None


def test_files_of_others_are_refused_in_one_sentence(tmp_path: Path, make_run: MakeRun) -> None:
    made = make_run(tmp_path / "run", deployed={"int4": {**deployed(0.0), "gap": 3}})
    read = runs.read(made)
    assert read.status == "failed" and "deployed.int4.gap" in read.reason
    odd = make_run(tmp_path / "odd", deployed={"<b>": deployed(0.0)})
    assert "&lt;b&gt;" in page_of(odd) and "<b>" not in page_of(odd)


def page_of(folder: Path) -> str:
    return page.write_run(runs.read(folder)).read_text("utf-8")
