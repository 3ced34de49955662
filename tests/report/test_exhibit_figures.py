"""Figures that audits ask for by declaration: curves with the retrained range, strips of images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fedunlearn.report import exhibit_figures, figures, runs, style
from fedunlearn.report.runs import Run
from fedunlearn.results.findings import Finding
from fedunlearn.settings.schema import plain

CURVE = Finding("roc", "ROC", "true against false accept rates", kind="figure", drawn="curves")
STRIPS = Finding("strips", "strips", "the images nearest to some", kind="figure", drawn="strips")
FAR = [0.01, 0.1, 1.0]
CURVES = {
    "original": {"far": FAR, "forgotten": [0.9, 1.0, 1.0], "strangers": [0.2, 0.4, 1.0]},
    "retrained_0": {"far": FAR, "forgotten": [0.1, 0.5, 1.0], "strangers": [0.2, 0.4, 1.0]},
    "retrained_1": {"far": FAR, "forgotten": [0.3, 0.4, 1.0], "strangers": [0.2, 0.4, 1.0]},
    "unlearned": {"far": FAR, "forgotten": [0.2, 0.5, 1.0], "strangers": [0.2, 0.4, 1.0]},
}
STRIP = {"shape": [2, 3, 1, 2, 2], "pixels": list(range(24)), "right": [1, 0, 0, 0]}


def run_with(make_run: Any, folder: Path, finding: Finding, content: Any) -> Run:
    made = make_run(folder, findings={finding.name: plain(finding)})
    (made / "exhibits").mkdir(exist_ok=True)
    (made / "exhibits" / f"{finding.name}.json").write_text(json.dumps(content))
    return runs.read(made)


def test_a_panel_for_each_curve_with_the_range_of_the_retrained_models(tmp_path: Path, make_run: Any) -> None:
    run = run_with(make_run, tmp_path, CURVE, CURVES)
    with style.styled():
        figure = exhibit_figures.curves(CURVE, run)
        assert figure is not None
        figure.canvas.draw()
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["forgotten", "strangers"]
    first = figure.axes[0]
    (band,) = first.collections
    low, high = band.get_paths()[0].vertices.min(axis=0)[1], band.get_paths()[0].vertices.max(axis=0)[1]
    assert (low, high) == (0.1, 1.0)
    mean, unlearned, original = (line.get_ydata().tolist() for line in first.lines)
    assert mean == pytest.approx([0.2, 0.45, 1.0])
    assert original == CURVES["original"]["forgotten"] and unlearned == CURVES["unlearned"]["forgotten"]
    assert first.get_xscale() == "log" and first.get_xlabel() == "far"


def test_rounds_and_layers_are_whole_numbers(tmp_path: Path, make_run: Any) -> None:
    by_layer = {model: {"layer": [1, 2, 3], "bits": [0.1, 0.2, 0.3]} for model in CURVES}
    with style.styled():
        figure = exhibit_figures.curves(CURVE, run_with(make_run, tmp_path, CURVE, by_layer))
        assert figure is not None
        figure.canvas.draw()
    assert all(float(tick).is_integer() for tick in figure.axes[0].get_xticks())


def test_a_list_that_a_model_lacks_is_not_drawn(tmp_path: Path, make_run: Any) -> None:
    less = {**CURVES, "original": {"far": FAR, "strangers": [0.2, 0.4, 1.0]}}
    with style.styled():
        figure = exhibit_figures.curves(CURVE, run_with(make_run, tmp_path, CURVE, less))
    assert figure is not None and [axes.get_title(loc="left") for axes in figure.axes] == ["strangers"]


def test_strips_hold_what_was_looked_for_and_what_was_found(tmp_path: Path, make_run: Any) -> None:
    run = run_with(make_run, tmp_path, STRIPS, {"original": STRIP, "retrained_0": STRIP, "unlearned": STRIP})
    figure = exhibit_figures.strips(STRIPS, run)
    assert figure is not None and len(figure.axes) == 3 * 2 * 3
    assert figure.axes[4].images[0].get_array().tolist() == [[16, 17], [18, 19]]
    edges = [axes.spines["top"].get_linestyle() for axes in figure.axes[:6] if axes.spines["top"].get_visible()]
    assert edges == ["-", ":", ":", ":"]
    assert [part.get_suptitle() for part in figure.subfigs] == ["original", "retrained", "unlearned"]


@pytest.mark.parametrize("content", [None, [], {}, {"original": 3}])
def test_nothing_is_drawn_of_nothing(tmp_path: Path, make_run: Any, content: Any) -> None:
    for finding, draw in ((CURVE, exhibit_figures.curves), (STRIPS, exhibit_figures.strips)):
        assert draw(finding, run_with(make_run, tmp_path / finding.name, finding, content)) is None


def test_a_run_draws_what_its_audits_declare(tmp_path: Path, make_run: Any) -> None:
    run = run_with(make_run, tmp_path, CURVE, CURVES)
    assert "roc" in figures.of_a_run(run) and "strips" not in figures.of_a_run(run)
    assert {path.name for path in figures.draw(run, ["roc"])} == {"roc.png", "roc.svg", "roc.pdf"}


@pytest.mark.parametrize("name", ["../../roc", "a/b", ""])
def test_what_cannot_name_a_file_is_not_drawn(tmp_path: Path, make_run: Any, name: str) -> None:
    made = make_run(tmp_path, findings={name: plain(CURVE) | {"name": name}})
    assert not exhibit_figures.asked_for(runs.read(made))
