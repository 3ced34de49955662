"""Glyphs: drawn from outlines, the same bytes everywhere, harder as asked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fedunlearn.data import glyphs
from fedunlearn.data.glyphs import GlyphSettings
from fedunlearn.data.sources import load
from fedunlearn.data.types import Dataset
from fedunlearn.errors import RequestError
from fedunlearn.settings import registry
from fedunlearn.settings.config import Choice, DataConfig
from fedunlearn.settings.schema import parse

FEW = {"characters": "IO", "train": 6, "test": 4}
PRINTED = """
from fedunlearn.data.glyphs import GlyphSettings
from fedunlearn.data.sources import load
from fedunlearn.settings.config import Choice, DataConfig
print(load(Choice("glyphs", GlyphSettings(characters="IO", train=6, test=4)), DataConfig(), 3).fingerprint)
"""
# The same on every machine. Another value is another dataset, and says so here.
KNOWN = "25a98c03daef7bc79f92c8ceb267118dc06d65bc55a02ab0d299a02c2e72d55e"


def draw(run: int = 0, **settings: object) -> Dataset:
    return load(Choice("glyphs", GlyphSettings(**settings)), DataConfig(), run)  # type: ignore[arg-type]


def images(dataset: Dataset) -> np.ndarray:
    return dataset.train.inputs["images"].numpy()[:, 0]


def test_the_registry_finds_it_in_a_file_of_its_own() -> None:
    assert registry.find("dataset", "glyphs") is glyphs.DATASETS["glyphs"]
    assert registry.origin("dataset", "glyphs") == "fedunlearn.data.glyphs"
    assert registry.origin("dataset", "digits") == "fedunlearn.data.sources"


def test_as_many_as_asked_for() -> None:
    made = draw(characters="xA7", train=5, test=2, size=20)
    assert (made.class_names, made.sample.shape, made.task) == (("x", "A", "7"), (1, 20, 20), "classification")
    assert made.train.targets.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert made.test.targets.tolist() == [0, 0, 1, 1, 2, 2]
    assert made.train.inputs["images"].dtype == torch.uint8


def test_the_drawing_has_a_seed_of_its_own() -> None:
    assert draw(0, **FEW).fingerprint == draw(5, **FEW).fingerprint == KNOWN
    assert draw(**FEW, seed=1).fingerprint != KNOWN


@pytest.mark.parametrize("threads", ["1", "3"])
def test_other_processes_and_threads_draw_the_same_and_no_font_cache_is_written(threads: str, tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "MPLCONFIGDIR": str(tmp_path / "matplotlib")}
    done = subprocess.run(
        [sys.executable, "-c", PRINTED], capture_output=True, text=True, check=True, timeout=120, env=environment
    )
    assert done.stdout.strip() == KNOWN
    assert not list(tmp_path.glob("**/fontlist*"))


def test_training_and_test_images_differ_and_so_do_images_of_a_class() -> None:
    made = draw(characters="IO", train=40, test=40)
    everything = torch.cat([made.train.inputs["images"], made.test.inputs["images"]]).flatten(1)
    assert len(torch.unique(everything, dim=0)) == 160


def test_more_classes_leave_the_others_as_they_are() -> None:
    assert np.array_equal(
        images(draw(characters="IO", train=3, test=1)), images(draw(characters="IOX", train=3, test=1))[:6]
    )


def test_without_variation_and_noise_only_fonts_differ() -> None:
    plain = images(draw(characters="RO", train=100, test=1, variation=0, noise=0))
    assert len(np.unique(plain[:100].reshape(100, -1), axis=0)) == len(glyphs.FONTS)
    assert plain.max() == 255 and plain[:, 0].max() == 0


def test_shapes_are_right() -> None:
    """An I is inked in the middle and an O is not; an upright O is as wide at the top as at the bottom; an L is not."""
    plain = images(draw(characters="IOL", train=60, test=1, variation=0, noise=0)).astype(int)
    bar, ring, corner = plain[:60], plain[60:120], plain[120:]
    assert (bar[:, 13:15, 13:15] > 100).all() and (ring[:, 13:15, 13:15] == 0).all()
    assert (corner[:, 18:24].sum((1, 2)) > 1.2 * corner[:, 4:10].sum((1, 2))).all()
    assert (corner[:, :, :14].sum((1, 2)) > corner[:, :, 14:].sum((1, 2))).mean() > 0.8


def test_the_stroke_is_the_outlines_area() -> None:
    """A square with a square hole that winds the other way: 3/4 of it are inked."""
    outer = np.array([[0, 0], [0, 2], [2, 2], [2, 0]]) * 1.0
    hole = np.array([[0.5, 0.5], [1.5, 0.5], [1.5, 1.5], [0.5, 1.5]])
    lines = np.concatenate([np.stack([ring, np.roll(ring, -1, 0)], 1) for ring in (outer, hole)])
    inside = glyphs._filled(lines)
    assert inside.sum() == glyphs.GLYPH**2 * 3 / 4
    assert (
        not inside[glyphs.MAP // 2, glyphs.MAP // 2]
        and inside[glyphs.MAP // 2, glyphs.MAP // 2 - glyphs.GLYPH * 3 // 8]
    )


def test_a_curve_ends_where_it_should() -> None:
    start, control, end = (np.array(point, float) for point in ([0, 0], [1, 2], [2, 0]))
    pieces = glyphs._pieces(start, control, end)
    assert len(pieces) == glyphs.PIECES and np.array_equal(pieces[0][0], start) and np.array_equal(pieces[-1][1], end)
    assert np.allclose(pieces[glyphs.PIECES // 2][0], [1, 1])  # (start + 2 control + end) / 4


def test_noise_has_the_standard_deviation_asked_for() -> None:
    grey = images(draw(characters="IO", train=200, test=1, noise=0.1, variation=0))[:, :2].astype(float) / 255
    assert grey.max() > 0.2 and abs(np.mean(grey**2) ** 0.5 - 0.1 / 2**0.5) < 0.002  # half of it is below black


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"characters": "AA"}, "dataset: characters names 'A' more than once"),
        ({"characters": "A"}, "dataset: characters takes two classes or more, not 'A'"),
        ({"characters": "Aé"}, "dataset: characters takes letters A to Z, a to z and digits, not 'é'"),
        ({"characters": 123}, "dataset.characters must be text, not 123"),
        ({"train": 0}, "dataset.train must be a whole number at least 1, not 0"),
        ({"size": 8}, "dataset.size must be a whole number at least 12 and at most 256, not 8"),
        ({"noise": 1.5}, "dataset.noise must be a number at least 0 and at most 1, not 1.5"),
    ],
)
def test_what_cannot_be_drawn(given: dict[str, object], said: str) -> None:
    with pytest.raises(RequestError) as error:
        parse(GlyphSettings, given, "dataset")
    assert str(error.value) == said
