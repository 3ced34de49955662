"""Pictures of answers and of what a sweep varies, from numbers chosen by the test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from fedunlearn.report import answers_figure, figures, runs, style, swept_figure, tables

EXAMPLES = {
    "original": {"label": [2], "answer": [2], "sure": [0.91], "shape": [1, 1, 2, 2], "pixels": [0, 85, 170, 255]},
    "retrained_0": {"label": [2], "answer": [0], "sure": [0.5]},
    "unlearned": {"label": [2], "answer": [3], "sure": [0.4]},
}
MATRIX = np.diag([10, 10, 10, 10])
CLIENTS = {"original": {"accuracy": [0.9, 0.8, None]}, "unlearned": {"accuracy": [0.7, 0.6, None]}}


@pytest.fixture
def run(tmp_path: Path, make_run: Any) -> runs.Run:
    folder = make_run(tmp_path)
    (folder / "exhibits").mkdir()
    given = {"examples": EXAMPLES, "client_answers": CLIENTS}
    given["confusion"] = {model: {"counts": MATRIX.flatten().tolist()} for model in EXAMPLES}
    for name, content in given.items():
        (folder / "exhibits" / f"{name}.json").write_text(json.dumps(content))
    return runs.read(folder)


def drawn(figure: Figure | None) -> Figure:
    assert figure is not None
    figure.canvas.draw()
    return figure


@pytest.mark.parametrize("sheet", [style.WIDE, style.PHONE])
def test_every_sample_has_its_class_and_three_answers(run: runs.Run, sheet: style.Sheet) -> None:
    with style.styled():
        axes = drawn(answers_figure.examples(run, sheet)).axes[0]
    assert axes.get_title(loc="center") == "dress"
    said = [
        (text.get_text(), text.get_color(), text.get_fontweight()) for text in axes.texts if text.get_text().strip()
    ]
    assert said == [
        ("dress 91 %", style.ORIGINAL, "bold"),
        ("top 50 %", style.RETRAINED, "normal"),
        ("coat 40 %", style.UNLEARNED, "normal"),
    ]
    assert axes.images[0].get_array().tolist() == [[0, 85], [170, 255]]


def test_a_matrix_for_each_model(run: runs.Run) -> None:
    with style.styled():
        figure = drawn(answers_figure.confusion(run))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["original", "retrained", "unlearned"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["100"] * 4


def test_each_client_has_its_accuracies_and_its_share(run: runs.Run) -> None:
    with style.styled():
        above, below = drawn(answers_figure.clients(run)).axes
    assert above.get_ylim()[1] == 1.0
    assert above.lines[0].get_ydata()[:2].tolist() == [0.9, 0.8]
    assert [bar.get_height() for bar in below.patches] == pytest.approx([70, 0, 30])


def test_without_exhibits_there_are_no_such_figures(tmp_path: Path, make_run: Any) -> None:
    bare = runs.read(make_run(tmp_path))
    for name in ("examples", "confusion", "clients"):
        assert figures.OF_A_RUN[name](bare, style.WIDE) is None


def test_a_sweep_over_a_number_shows_it_on_a_shared_axis(tmp_path: Path, make_run: Any) -> None:
    made = [
        make_run(tmp_path / f"{method}{alpha}", method=method, changes={"partition.alpha": alpha})
        for method in ("fucrt", "head_mask")
        for alpha in (0.1, 1.0, 10.0)
    ]
    rows = tables.tidy(made)
    assert [name for name in rows if name.startswith("swept.")] == ["swept.partition.alpha"]
    with style.styled():
        figure = drawn(swept_figure.swept(rows, runs.declared([runs.read(folder) for folder in made])))
    left, kept = figure.axes
    assert left.get_shared_x_axes().joined(left, kept) and left.get_xscale() == "log"
    assert [line.lines[0].get_xdata().tolist() for line in left.containers] == [[0.1, 1.0, 10.0]] * 2
    assert kept.containers[0].lines[0].get_ydata().tolist() == pytest.approx([0.75] * 3)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["retrained", "fucrt", "head_mask"]


def test_two_numbers_that_vary_have_no_such_figure(tmp_path: Path, make_run: Any) -> None:
    changes = [{"partition.alpha": 0.1, "train.rounds": 5}, {"partition.alpha": 1.0, "train.rounds": 9}]
    rows = tables.tidy([make_run(tmp_path / str(n), changes=each) for n, each in enumerate(changes)])
    assert swept_figure.swept(rows, {}) is None


@pytest.mark.parametrize(
    ("label", "key", "left"),
    [
        ("fucrt (unlearn.rounds=5)", "unlearn.rounds", "fucrt"),
        ("fucrt (unlearn.rounds=5, lr=1)", "unlearn.rounds", "fucrt (lr=1)"),
        ("fucrt (lr=1, unlearn.rounds=5)", "unlearn.rounds", "fucrt (lr=1)"),
        ("fucrt (strength=0.5)", "method.strength", "fucrt"),
        ("fucrt", "partition.alpha", "fucrt"),
    ],
)
def test_a_label_without_what_the_axis_shows(label: str, key: str, left: str) -> None:
    assert swept_figure._without(label, key) == left
