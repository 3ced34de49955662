"""Glyphs: letters and digits drawn from the fonts that matplotlib ships. Nothing to download, as many as asked for.

An outline is read from its font file in the font's own units, once, and turned into a map of distances to its edge.
An image looks that map up at its own pixels: turned, slanted, scaled and moved, the stroke thicker or thinner, with a
contrast and noise of its own. All of it is whole numbers, additions, multiplications and divisions, which IEEE 754
rounds alike everywhere (no sine, no matrix product, no FreeType rasteriser), so that the same settings make the same
bytes on every machine, and matplotlib's state and its font cache are never touched.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt

from fedunlearn.data.sources import DatasetSource
from fedunlearn.data.splits import Splits
from fedunlearn.data.types import Split, labelled_images
from fedunlearn.randomness import numpy_stream
from fedunlearn.settings.schema import AtLeast, AtMost, Count, Fraction, Seed

FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSansMono", "DejaVuSerif-Italic"),
    *("cmr10", "cmss10", "cmtt10", "cmb10", "STIXGeneral", "STIXGeneralItalic"),
)
MAP, GLYPH = 128, 80  # side of a map of distances, and longest side of the glyph in it, in cells
PIECES = 6  # straight lines that stand for a curve
SUBPIXELS = 2  # looked up along each side of a pixel and averaged: no stairs
LONGEST, SCALES = 0.68, (0.8, 1.05)  # longest side of a glyph as a share of the image's, before it is scaled
# With `variation` 1, each drawn evenly between minus and plus:
TURN = 0.18  # tangent of half the angle: 20 degrees
SLANT = 0.25  # sideways per pixel upwards
SHIFT = 0.1  # of the image's side
STROKE = 0.02  # of the image's side, added to the edge all round
DIMMEST = 0.4  # contrast of the palest image


@dataclass(frozen=True)
class GlyphSettings:
    """Letters and digits in many fonts. Classes look alike in groups: E and F, C and G, D, O and Q, B, P and R."""

    characters: str = "BCDEFGOPQR"  # the classes, two or more of A to Z, a to z and 0 to 9, numbered in this order
    train: Count = 300  # training images of each class
    test: Count = 100  # test images of each class
    size: Annotated[int, AtLeast(12), AtMost(256)] = 28  # height and width, pixels
    variation: Fraction = 0.5  # of angle, slant, size, place, stroke and contrast; 0: only fonts differ
    noise: Fraction = 0.15  # standard deviation of every pixel's noise; 1 is the range from black to white
    seed: Seed = 0  # of the drawing; the run's own seed does not change it, so that seeds share one test set

    def __post_init__(self) -> None:
        allowed = string.ascii_letters + string.digits
        for number, character in enumerate(self.characters):
            if character not in allowed:
                raise ValueError(f"characters takes letters A to Z, a to z and digits, not {character!r}")
            if character in self.characters[:number]:
                raise ValueError(f"characters names {character!r} more than once")
        if len(self.characters) < 2:
            raise ValueError(f"characters takes two classes or more, not {self.characters!r}")


def read(settings: GlyphSettings, root: Path, download: bool, seed: int) -> Splits:
    """Grey images of `settings.characters`, class by class; nothing is read but the fonts that matplotlib brings."""
    train = _split(settings, "train", settings.train)
    test = _split(settings, "test", settings.test)
    return Splits(train, test, tuple(settings.characters))


def _split(settings: GlyphSettings, which: str, count: int) -> Split:
    images = [_drawn(settings, which, character, count) for character in settings.characters]
    labels = np.repeat(np.arange(len(images)), count)
    return labelled_images(torch.from_numpy(np.concatenate(images)[:, None]), torch.from_numpy(labels))


def _drawn(settings: GlyphSettings, which: str, character: str, count: int) -> np.ndarray:
    """`count` images of a character, uint8 [count, size, size], from a stream of its own."""
    stream = numpy_stream(settings.seed, "glyphs", which, character)
    size, vary = settings.size, settings.variation
    fonts = stream.integers(0, len(FONTS), count)
    turn, slant, right, down, stroke, grow, pale = (stream.random((7, count, 1, 1), dtype=np.float32) * 2 - 1) * vary
    middle, half = (SCALES[1] + SCALES[0]) / 2, (SCALES[1] - SCALES[0]) / 2
    cells = GLYPH / (size * LONGEST * (middle + half * grow))  # of the map in a pixel
    across, upwards = _placed(size, right * SHIFT * size, down * SHIFT * size)
    across, upwards = _turned(across, upwards, turn * TURN)
    across = across - slant * SLANT * upwards
    inside = _looked_up(_maps(character), fonts, across * cells, upwards * cells)
    ink = np.clip(SUBPIXELS * (inside / cells + stroke * STROKE * size) + 0.5, 0, 1)
    ink = ink.reshape(count, size, SUBPIXELS, size, SUBPIXELS)
    ink = sum(ink[:, :, row, :, column] for row in range(SUBPIXELS) for column in range(SUBPIXELS)) / SUBPIXELS**2
    contrast = 1 - (1 - DIMMEST) * (vary + pale) / 2
    grains = stream.integers(0, 256, (4, count, size, size), dtype=np.uint8)
    noise = (grains.sum(0, dtype=np.float32) - 510) / 147.8  # four even draws: nearly normal, mean 0, deviation 1
    pixels: np.ndarray = np.rint(np.clip(ink * contrast + settings.noise * noise, 0, 1) * 255)
    return pixels.astype(np.uint8)


def _placed(size: int, right: np.ndarray, down: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each part of each pixel is from the glyph's centre, in pixels to the right and upwards."""
    centres = ((np.arange(size * SUBPIXELS) + 0.5) / SUBPIXELS - size / 2).astype(np.float32)
    return centres[None, None, :] - right, down - centres[None, :, None]


def _turned(across: np.ndarray, upwards: np.ndarray, half: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same places after a turn by an angle with the half tangent `half`, which gives sine and cosine exactly."""
    sine, cosine = 2 * half / (1 + half * half), (1 - half * half) / (1 + half * half)
    return cosine * across + sine * upwards, cosine * upwards - sine * across


def _looked_up(maps: np.ndarray, fonts: np.ndarray, across: np.ndarray, upwards: np.ndarray) -> np.ndarray:
    """Values of `maps` [fonts, MAP, MAP] between their cells, `across` and `upwards` from the middle (in cells)."""
    columns, rows = (np.clip(places + (MAP - 1) / 2, 0, MAP - 1.001) for places in (across, upwards))
    left, low = columns.astype(np.int32), rows.astype(np.int32)
    columns -= left.astype(np.float32)
    rows -= low.astype(np.float32)
    flat = maps.reshape(-1)
    corner = (fonts.astype(np.int32)[:, None, None] * MAP + low) * MAP + left
    lower = flat[corner] * (1 - columns) + flat[corner + 1] * columns
    upper = flat[corner + MAP] * (1 - columns) + flat[corner + MAP + 1] * columns
    between: np.ndarray = lower * (1 - rows) + upper * rows
    return between


@cache
def _maps(character: str) -> np.ndarray:
    """Float [fonts, MAP, MAP], first row lowest: cells to the character's edge, above 0 inside and below 0 outside."""
    maps = []
    for font in FONTS:
        inside = _filled(_outline(font, character))
        maps.append(distance_transform_edt(inside) - distance_transform_edt(~inside))
    return np.stack(maps).astype(np.float32)


def _filled(lines: np.ndarray) -> np.ndarray:
    """Bool [MAP, MAP]: the cells whose centres an outline of `lines` [n, 2 ends, 2] winds around.

    Of every row, the lines that cross its middle are found, each of which adds its direction to all cells on its right.
    """
    low, high = lines.reshape(-1, 2).min(0), lines.reshape(-1, 2).max(0)
    lines = (lines - (low + high) / 2) * (GLYPH / (high - low).max()) + MAP / 2
    (x0, y0), (x1, y1) = (end.T[:, :, None] for end in (lines[:, 0], lines[:, 1]))
    middles = np.arange(MAP) + 0.5
    rising, falling = (y0 <= middles) & (middles < y1), (y1 <= middles) & (middles < y0)
    line, row = np.nonzero(rising | falling)
    x0, y0, x1, y1 = x0[line, 0], y0[line, 0], x1[line, 0], y1[line, 0]
    crossing = x0 + (middles[row] - y0) * (x1 - x0) / (y1 - y0)
    winding = np.zeros((MAP, MAP + 1), dtype=np.int64)
    np.add.at(winding, (row, np.ceil(crossing - 0.5).astype(int)), np.where(rising[line, row], 1, -1))
    inside: np.ndarray = winding.cumsum(1)[:, :MAP] != 0
    return inside


def _outline(font: str, character: str) -> np.ndarray:
    """The outline of a character as straight lines, float [n, 2 ends, 2], in the font's units."""
    import matplotlib
    from matplotlib.ft2font import FT2Font, LoadFlags

    face = FT2Font(str(Path(matplotlib.get_data_path(), "fonts", "ttf", f"{font}.ttf")))
    face.load_char(ord(character), flags=LoadFlags.NO_SCALE)  # as in the file: no hinting, whatever FreeType's version
    points, codes = face.get_path()
    return np.array(_straight(points, codes.tolist()))


def _straight(points: np.ndarray, codes: Sequence[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Lines along a path of matplotlib's codes: 1 starts an outline, 2 is a line, 3 a quadratic curve, 79 closes."""
    lines = []
    number, start, here = 0, points[0], points[0]
    while number < len(codes):
        code, there = codes[number], points[number]
        if code == 1:
            start = there
        elif code == 2:
            lines.append((here, there))
        elif code == 3:
            number += 1
            lines += _pieces(here, there, points[number])
            there = points[number]
        else:
            lines.append((here, start))
            there = start
        here = there
        number += 1
    return lines


def _pieces(start: np.ndarray, control: np.ndarray, end: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """A quadratic curve as `PIECES` lines."""
    steps = [piece / PIECES for piece in range(PIECES + 1)]
    places = [(1 - t) * (1 - t) * start + 2 * t * (1 - t) * control + t * t * end for t in steps]
    return list(pairwise(places))


ABOUT = "letters and digits drawn from the fonts that matplotlib ships: nothing to download, as many as asked for"
DATASETS = {"glyphs": DatasetSource("glyphs", GlyphSettings, read, about=ABOUT)}
