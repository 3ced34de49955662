"""The figure of attention: every image beside every model's map, for both questions, as wide as a page or a phone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedunlearn.report import attention_figure, figures, page, runs, style

MODELS = ("original", "retrained_0", "unlearned")


def exhibit(channels: int = 1, images: int = 2) -> dict[str, Any]:
    """Maps of 2x3 whose values tell models and images apart, of images of 4x6."""
    maps = {model: np.linspace(-1, 1, images * 6) * (number + 1) / 3 for number, model in enumerate(MODELS)}
    found: dict[str, Any] = {
        model: {
            "label": [2] * images,
            "answer": [number] * images,
            "side": [2, 3],
            "forgotten": values.tolist(),
            "predicted": (-values).tolist(),
        }
        for number, (model, values) in enumerate(maps.items())
    }
    shape = [images, channels, 4, 6]
    found["original"] |= {"shape": shape, "pixels": (np.arange(np.prod(shape)) % 256).tolist()}
    return found


def put(folder: Path, content: Any) -> runs.Run:
    (folder / "exhibits").mkdir(parents=True, exist_ok=True)
    (folder / "exhibits" / "attention.json").write_text(json.dumps(content))
    return runs.read(folder)


@pytest.mark.parametrize("sheet", [style.WIDE, style.PHONE])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_maps_and_what_is_said_are_where_they_belong(
    tmp_path: Path, make_run: Any, sheet: style.Sheet, channels: int
) -> None:
    run = put(make_run(tmp_path), exhibit(channels))
    with style.styled():
        figure = attention_figure.attention(run, sheet)
        assert figure is not None
        figure.canvas.draw()
        inside = figure.bbox.padded(1)
        for text in [*figure.texts, *(axes.xaxis.label for axes in figure.axes)]:
            box = text.get_window_extent()
            assert inside.x0 <= box.x0 and box.x1 <= inside.x1, text
    assert len(figure.axes) == 2 * 2 * 4
    titles = [axes.get_title(loc="center") for axes in figure.axes if axes.get_title(loc="center")]
    assert titles == ["original", "retrained", "unlearned"] * 2
    said = [axes.get_xlabel().strip() for axes in figure.axes]
    assert said == ["dress", "", "", ""] * 2 + ["dress", "top", "trouser", "dress"] * 2
    pixels = np.array(figure.axes[0].images[0].get_array())
    assert pixels.shape == (4, 6, 3) and 255 * pixels[0, 1, 0] == pytest.approx(1)
    first = np.array(figure.axes[1].images[1].get_array())  # forgotten, first image, original: all below zero
    assert first[0, 0, 3] == pytest.approx(attention_figure.STRONGEST / 3) and first[0, 0, 2] > first[0, 0, 1]


def test_a_layer_that_did_not_move_is_said_so(tmp_path: Path, make_run: Any) -> None:
    moved, still = (
        put(make_run(tmp_path / str(change), unlearned={"attention_layer_change": change}), exhibit())
        for change in (0.4, 0.0)
    )
    for run, said in ((moved, False), (still, True)):
        figure = attention_figure.attention(run)
        assert figure is not None
        assert (attention_figure.UNMOVED[:40] in " ".join(figure._supxlabel.get_text().split())) is said


@pytest.mark.parametrize("content", [None, {}, {model: {"label": [2]} for model in MODELS}])
def test_without_pictures_there_is_no_figure(tmp_path: Path, make_run: Any, content: Any) -> None:
    assert attention_figure.attention(put(make_run(tmp_path), content)) is None


def test_it_is_among_the_figures_and_has_a_caption() -> None:
    assert "attention" in figures.OF_A_RUN and "attention" in page.CAPTIONS
