"""Animals that were filmed: of each some scenes, and of each scene some frames that hardly differ, as a camera sees."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from fedunlearn.data import critters
from fedunlearn.data.critters import CritterSettings

SCENES, FRAMES = 6, 8
FLICKER = 3  # of 255: what a pixel differs by, at most, from frame to frame


def made(folder: Path, individuals: int) -> Path:
    """The folder, with a directory of PNG files for each individual."""
    settings = replace(CritterSettings(), individuals=individuals, never_seen=0, train=SCENES)
    stream = np.random.default_rng(0)
    images = critters.read(settings, folder, False, 0).train.inputs["images"].numpy().transpose(0, 2, 3, 1)
    for number, scene in enumerate(images):
        who = folder / critters.name(number // SCENES)
        who.mkdir(parents=True, exist_ok=True)
        for frame in range(FRAMES):
            flicker = stream.integers(-FLICKER, FLICKER + 1, scene.shape)
            pixels = np.clip(scene.astype(int) + flicker, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(who / f"{number % SCENES}_{frame}.png")
    return folder
