"""Critters: drawn animals of one family that differ in coat and build, to be told apart as individuals.

Nothing to download, as many as asked for. Every individual has a coat (a field of random values in the frame of its
body, light where the field is high and dark where it is low: half and half, so that nobody stands out by that), colours
and proportions of its own, part of which it shares with the family. Every picture shows it turned, squeezed, scaled and
moved, in a light of its own, on a ground of its own, and often not all of it. Some individuals are kept back: nobody
ever trains on them, so that a model can be asked how well it knows strangers. As in `glyphs`, all of it is additions,
multiplications and divisions, which IEEE 754 rounds alike everywhere, so that the same settings make the same bytes on
every machine.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import torch

from fedunlearn.data.individuals import Embedding
from fedunlearn.data.sources import DatasetSource
from fedunlearn.data.splits import Splits
from fedunlearn.data.types import Split, labelled_images
from fedunlearn.randomness import numpy_stream
from fedunlearn.settings.schema import AtLeast, AtMost, Fraction, Seed, Whole

FIRST = ("ba", "de", "fi", "go", "ka", "lu", "mi", "no", "pe", "ru")
SECOND = ("bo", "da", "fu", "ki", "la", "mo", "na", "pi", "su", "to")
COAT = 8  # values along each side of a coat's field
BACK = np.s_[2:6, 1:7]  # of these, those on the body
SHARP = 3.0  # how fast a coat changes from dark to light where its field changes
SUBPIXELS = 2  # looked up along each side of a pixel and averaged: no stairs
FIGURE = 0.34  # half the length of a body as a share of the image's side, before it is scaled
BODY, HEAD, EAR = 0.62, 0.5, 0.24  # half widths, in half lengths of the body, of an animal of middling build
LIGHT, DARK = (0.86, 0.74, 0.56), (0.36, 0.26, 0.2)  # colours of a coat that are the family's
TINT = 0.05  # how far an individual's colours are from the family's, at most
# With `variation` 1, each drawn evenly between minus and plus:
TURN = 0.27  # tangent of half the angle: 30 degrees
SQUEEZE = 0.3  # of the length of the body, as if it were seen at an angle
GROWTH = 0.25  # of its size
SHIFT = 0.16  # of the image's side: parts of it are cut off
STRETCH = 0.12  # of the coat, in half lengths: what breathing and fur do to it
GAIN, SLOPE, CAST = 0.35, 0.3, 0.12  # of the light: in all, from one side to the other, and of each colour


@dataclass(frozen=True)
class CritterSettings:
    """Drawn animals, some of which nobody ever trains on."""

    individuals: Annotated[int, AtLeast(2)] = 16  # that clients hold, and that can be forgotten by name or number
    never_seen: Whole = 20  # individuals kept back: how well does a model know strangers?
    train: Annotated[int, AtLeast(2)] = 100  # training images of each individual
    test: Annotated[int, AtLeast(2)] = 20  # test images of each individual, also of those never seen
    size: Annotated[int, AtLeast(12), AtMost(256)] = 24  # height and width, pixels
    likeness: Fraction = 0.2  # how much of coat, colours and build all share: the higher, the harder to tell apart
    variation: Fraction = 0.45  # of angle, pose, size, place, fur and light; 0: only noise and ground differ
    noise: Fraction = 0.08  # standard deviation of every pixel's noise; 1 is the range from black to white
    seed: Seed = 0  # of the drawing; the run's own seed does not change it, so that seeds share one test set
    embedding: Embedding = field(default_factory=Embedding)


@dataclass(frozen=True)
class Individual:
    """What an animal looks like. `coat`: float32 [COAT, COAT]; colours [3]; `build`: body, head, ears, tail."""

    coat: np.ndarray
    light: np.ndarray
    dark: np.ndarray
    build: np.ndarray


def read(settings: CritterSettings, root: Path, download: bool, seed: int) -> Splits:
    """Images of the individuals, one after the other, and of those that nobody ever trains on."""
    known = range(settings.individuals)
    strangers = range(settings.individuals, settings.individuals + settings.never_seen)
    return Splits(
        _split(settings, "train", known, settings.train),
        _split(settings, "test", known, settings.test),
        tuple(map(name, known)),
        unseen=_split(settings, "test", strangers, settings.test) if strangers else None,
    )


def name(number: int) -> str:
    """Two syllables; from the hundredth individual on, with a number."""
    again, number = divmod(number, len(FIRST) * len(SECOND))
    tens, ones = divmod(number, len(FIRST))
    return FIRST[ones] + SECOND[(tens + ones) % len(SECOND)] + (str(again + 1) if again else "")


def _split(settings: CritterSettings, which: str, numbers: range, count: int) -> Split:
    images = np.concatenate([_drawn(settings, which, number, count) for number in numbers])
    return labelled_images(torch.from_numpy(images), torch.from_numpy(np.repeat(np.array(numbers), count)))


def _individual(settings: CritterSettings, number: int) -> Individual:
    """A part of the family, and the rest from a stream of its own."""
    own, family = (numpy_stream(settings.seed, "critters", who) for who in (number, "family"))
    shared = np.float32(settings.likeness)
    values = [stream.random(COAT * COAT + 10, dtype=np.float32) * 2 - 1 for stream in (family, own)]
    drawn = shared * values[0] + (1 - shared) * values[1]
    coat, light, dark, build = np.split(drawn, [COAT * COAT, COAT * COAT + 3, COAT * COAT + 6])
    coat = coat.reshape(COAT, COAT)
    coat = coat - np.median(coat[BACK])
    colours = (np.array(colour, dtype=np.float32) for colour in (LIGHT, DARK))
    light, dark = (colour + TINT * tint for colour, tint in zip(colours, (light, dark), strict=True))
    return Individual(coat, light, dark, build)


def _drawn(settings: CritterSettings, which: str, number: int, count: int) -> np.ndarray:
    """`count` images of an individual, uint8 [count, 3, size, size], from a stream of its own."""
    animal = _individual(settings, number)
    stream = numpy_stream(settings.seed, "critters", which, number)
    size, vary = settings.size, np.float32(settings.variation)
    turn, squeeze, grow, right, down, tall, wide = (stream.random((7, count, 1, 1), dtype=np.float32) * 2 - 1) * vary
    across, upwards = _placed(size, right * SHIFT, down * SHIFT)
    across, upwards = _turned(across, upwards, turn * TURN)
    scale = FIGURE * (1 + GROWTH * grow)
    across, upwards = across / (scale * (1 - SQUEEZE * abs(squeeze))), upwards / scale
    there, fur = _figure(animal, across, upwards, size * scale)
    pale = _coat(animal.coat, across + STRETCH * wide * upwards, upwards + STRETCH * tall * across)
    ground = stream.random((count, 3, 1, 1), dtype=np.float32)
    light, dark = (colour[None, :, None, None] for colour in (animal.light, animal.dark))
    coloured = (dark + (light - dark) * pale[:, None]) * fur[:, None]
    picture = _smaller(there[:, None] * coloured + (1 - there[:, None]) * ground, size)
    picture = picture * _lit(stream, count, size, vary)
    grains = stream.integers(0, 256, (4, count, 3, size, size), dtype=np.uint8)
    noise = (grains.sum(0, dtype=np.float32) - 510) / 147.8  # four even draws: nearly normal, mean 0, deviation 1
    pixels: np.ndarray = np.rint(np.clip(picture + settings.noise * noise, 0, 1) * 255)
    return pixels.astype(np.uint8)


def _placed(size: int, right: np.ndarray, down: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each part of each pixel is from the animal's middle, to the right and upwards, in sides of the image."""
    centres = ((np.arange(size * SUBPIXELS) + 0.5) / (SUBPIXELS * size) - 0.5).astype(np.float32)
    return centres[None, None, :] - right, down - centres[None, :, None]


def _turned(across: np.ndarray, upwards: np.ndarray, half: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same places after a turn by an angle with the half tangent `half`, which gives sine and cosine exactly."""
    sine, cosine = 2 * half / (1 + half * half), (1 - half * half) / (1 + half * half)
    return cosine * across + sine * upwards, cosine * upwards - sine * across


def _figure(
    animal: Individual, across: np.ndarray, upwards: np.ndarray, pixels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How much of the animal is at each place, 0 to 1, and how brightly its fur shines there; `pixels` in a length."""
    body, head, ear, tail = 1 + 0.25 * animal.build
    parts = [
        _round(across, upwards, 0.0, 0.0, 1.0, BODY * body),
        _round(across, upwards, 0.95, 0.42, HEAD * head, HEAD * head),
        _round(across, upwards, 0.95 - 0.3 * head, 0.42 + 0.5 * head, EAR * ear, EAR * ear),
        _round(across, upwards, 0.95 + 0.3 * head, 0.42 + 0.5 * head, EAR * ear, EAR * ear),
        _round(across, upwards, -1.15, 0.3, 0.22, 0.6 * tail),
    ]
    inside = parts[0]
    for part in parts[1:]:
        inside = np.maximum(inside, part)
    return np.clip(inside * pixels * 0.5 + 0.5, 0, 1), 0.85 + 0.15 * np.clip(inside, 0, 1)


def _round(across: np.ndarray, upwards: np.ndarray, x: float, y: float, wide: float, high: float) -> np.ndarray:
    """1 in the middle of an ellipse, 0 at its edge and below that outside."""
    off, up = (across - np.float32(x)) / np.float32(wide), (upwards - np.float32(y)) / np.float32(high)
    inside: np.ndarray = 1 - off * off - up * up
    return inside


def _coat(field: np.ndarray, across: np.ndarray, upwards: np.ndarray) -> np.ndarray:
    """How pale the coat is at each place, 0 to 1: between the field's values, which reach 1.5 lengths to all sides."""
    cells = (COAT - 1) / 3
    columns, rows = (
        np.clip((places + 1.5) * cells, 0, COAT - 1.001).astype(np.float32) for places in (across, upwards)
    )
    left, low = columns.astype(np.int32), rows.astype(np.int32)
    columns, rows = columns - left.astype(np.float32), rows - low.astype(np.float32)
    flat = field.reshape(-1)
    corner = low * COAT + left
    lower = flat[corner] * (1 - columns) + flat[corner + 1] * columns
    upper = flat[corner + COAT] * (1 - columns) + flat[corner + COAT + 1] * columns
    pale: np.ndarray = np.clip((lower * (1 - rows) + upper * rows) * SHARP + 0.5, 0, 1)
    return pale


def _smaller(fine: np.ndarray, size: int) -> np.ndarray:
    """The mean of the parts of each pixel: [n, 3, size, size]."""
    parts = fine.reshape(len(fine), 3, size, SUBPIXELS, size, SUBPIXELS)
    each = [parts[:, :, :, row, :, column] for row in range(SUBPIXELS) for column in range(SUBPIXELS)]
    mean: np.ndarray = sum(each[1:], start=each[0]) / SUBPIXELS**2
    return mean


def _lit(stream: np.random.Generator, count: int, size: int, vary: np.float32) -> np.ndarray:
    """The light on each pixel and colour, [count, 3, size, size]: about 1."""
    gain, sideways, downwards = (stream.random((3, count, 1, 1, 1), dtype=np.float32) * 2 - 1) * vary
    cast = (stream.random((count, 3, 1, 1), dtype=np.float32) * 2 - 1) * vary
    ramp = (((np.arange(size) + 0.5) / size) * 2 - 1).astype(np.float32)
    slope = SLOPE * (sideways * ramp[None, None, None, :] + downwards * ramp[None, None, :, None])
    light: np.ndarray = (1 + GAIN * gain) * (1 + slope) * (1 + CAST * cast)
    return light


DATASETS = {
    "critters": DatasetSource(
        "critters",
        CritterSettings,
        read,
        task="identity",
        options=lambda settings: settings.embedding,
        about="drawn animals to be told apart as individuals: nothing to download, as many as asked for",
    )
}
