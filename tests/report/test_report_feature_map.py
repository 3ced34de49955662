"""The map of features: drawn from its file, and only where there is one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedunlearn.report import feature_map_figure, figures, runs, style


def maps(classes: int, models: tuple[str, ...] = ("unlearned", "original", "retrained_0")) -> dict[str, Any]:
    """Ten samples of every class around a place of its own."""
    stream, label = np.random.default_rng(0), np.repeat(np.arange(classes), 10)
    found = {}
    for model in models:
        x, y = (stream.normal(0, 30, classes)[label] + stream.normal(size=len(label)) for _ in range(2))
        found[model] = {"x": x.tolist(), "y": y.tolist(), "label": label.tolist()}
    return found


def put(folder: Path, content: Any) -> None:
    (folder / "exhibits").mkdir(parents=True, exist_ok=True)
    (folder / "exhibits" / "feature_map.json").write_text(json.dumps(content))


def test_one_panel_per_model_in_order_with_forgotten_samples_crossed(tmp_path: Path, make_run: Any) -> None:
    folder, content = make_run(tmp_path), maps(4)
    put(folder, content)
    with style.styled():
        figure = feature_map_figure.feature_map(runs.read(folder))
        assert figure is not None
        figure.canvas.draw()
        inside = figure.bbox.padded(1)
        for text in [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]:
            box = text.get_window_extent()
            assert inside.x0 <= box.x0 and box.x1 <= inside.x1, text
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["original", "retrained", "unlearned"]
    for axes, model in zip(figure.axes, ("original", "retrained_0", "unlearned"), strict=True):
        dots, crosses = axes.lines
        assert (dots.get_marker(), crosses.get_marker()) == (".", "x")
        assert crosses.get_xdata().tolist() == content[model]["x"][20:30]  # class 2
        assert len(dots.get_xdata()) == 30
        assert [text.get_text() for text in axes.texts] == ["top", "trouser", "coat"]


def test_many_classes_are_not_named(tmp_path: Path, make_run: Any) -> None:
    folder = make_run(tmp_path, class_names=[str(c) for c in range(30)])
    put(folder, maps(30))
    figure = feature_map_figure.feature_map(runs.read(folder))
    assert figure is not None
    assert not any(axes.texts for axes in figure.axes)


@pytest.mark.parametrize("content", [None, [], {}, "half a fi"])
def test_no_map_no_figure(tmp_path: Path, make_run: Any, content: Any) -> None:
    folder = make_run(tmp_path)
    if content is not None:
        put(folder, content)
    assert feature_map_figure.feature_map(runs.read(folder)) is None


def test_it_is_among_the_figures_of_a_run(tmp_path: Path, make_run: Any) -> None:
    folder = make_run(tmp_path)
    put(folder, maps(4))
    assert "feature_map.svg" in {path.name for path in figures.draw(runs.read(folder))}
