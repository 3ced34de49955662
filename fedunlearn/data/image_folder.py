"""Your own images, sorted into one directory per class."""

from __future__ import annotations

import math
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from fedunlearn.data.splits import Splits, divide, stratified
from fedunlearn.data.types import labelled_images
from fedunlearn.errors import RequestError
from fedunlearn.randomness import numpy_stream
from fedunlearn.settings.schema import Above, Below, Count

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # not EPS: Pillow would start another program
PIXELS = 89_478_485  # more in one image is refused: where Pillow would only warn of a decompression bomb


@dataclass(frozen=True)
class FolderSettings:
    """Your own images."""

    # must be given: that folder, or one with train/ and test/ that hold the class directories
    path: str
    size: Count = 64  # height and width that every image is squeezed to, pixels
    channels: Literal["rgb", "grey"] = "rgb"
    # share of every class held out for testing where there is no test/
    test_fraction: Annotated[float, Above(0), Below(1)] = 0.2


def read(settings: FolderSettings, root: Path, download: bool, seed: int) -> Splits:
    """Images sorted into one directory per class; `path` is relative to where the run was started, not to `root`.

    Classes are numbered in the order of their sorted names. With train/ and test/ that hold class directories, that
    is the split; otherwise it depends on the files' names alone. Raises RequestError for what cannot be used.
    """
    folder = Path(settings.path).expanduser()
    train, test = folder / "train", folder / "test"
    if _directories(train) and _directories(test):
        names, files, labels = _listing(train, least=1)
        test_names, test_files, test_labels = _listing(test, least=1)
        if lonely := sorted(set(names) ^ set(test_names)):
            raise RequestError(f"{train} and {test} must hold the same classes, but {lonely[0]} is only in one of them")
        held_out = np.arange(len(files), len(files) + len(test_files))
        files, labels = files + test_files, np.concatenate([labels, test_labels])
    else:
        names, files, labels = _listing(folder, least=2)
        held_out = stratified(
            labels, math.ceil(len(labels) * settings.test_fraction), numpy_stream(0, "split", "folder"), leave=1
        )
    whole = labelled_images(_decode(folder, files, settings), torch.from_numpy(labels))
    return *divide(whole, held_out), names


def _directories(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _listing(folder: Path, least: int) -> tuple[tuple[str, ...], list[Path], np.ndarray]:
    """Class names, image files in the order of class and name, and their labels (int64)."""
    directories = _directories(folder)
    if len(directories) < 2:
        raise RequestError(f"{folder} must be a folder with one directory per class, at least two of them")
    found = [
        sorted(path for path in directory.rglob("[!.]*") if path.suffix.lower() in SUFFIXES and not path.is_dir())
        for directory in directories
    ]
    for directory, paths in zip(directories, found, strict=True):
        if len(paths) < least:
            raise RequestError(f"{directory} holds {len(paths)} image(s), but every class needs at least {least}")
    labels = np.repeat(np.arange(len(found)), [len(paths) for paths in found])
    return tuple(path.name for path in directories), [path for paths in found for path in paths], labels


def _decode(folder: Path, files: list[Path], settings: FolderSettings) -> Tensor:
    """All `files` as uint8 [N, C, size, size]. Raises RequestError that names those that cannot be read."""
    channels = 3 if settings.channels == "rgb" else 1
    images = torch.empty(len(files), channels, settings.size, settings.size, dtype=torch.uint8)
    unreadable: list[Path] = []
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:  # set once, here: filters are those of all threads
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # such an image is refused by name
        for i, pixels in enumerate(pool.map(partial(_pixels, settings=settings), files)):
            if pixels is None:
                unreadable.append(files[i])
            else:
                images[i] = pixels
    if unreadable:
        first = ", ".join(str(path.relative_to(folder)) for path in unreadable[:3])
        raise RequestError(
            f"{len(unreadable)} of the {len(files)} images in {folder} cannot be read (such as {first}): "
            "repair or remove them"
        )
    return images


def _pixels(path: Path, settings: FolderSettings) -> Tensor | None:
    """One image as uint8 [C, size, size]; None if it cannot be read. Transparency is dropped, as torchvision does."""
    try:
        if not path.is_file():  # a pipe, a socket or a device, which might never end
            return None
        with Image.open(path, formats=FORMATS) as opened:
            if opened.width * opened.height > PIXELS:
                return None
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I"):  # 16 bits per pixel: convert() would cut off instead of scaling
                image = Image.fromarray(np.rint(np.asarray(image).clip(0, 65535) / 257).astype(np.uint8))
            if "transparency" in image.info:  # a palette with alpha, which Pillow wants made explicit
                image = image.convert("RGBA")
            image = image.convert("RGB" if settings.channels == "rgb" else "L")
            array = np.array(image.resize((settings.size, settings.size), Image.Resampling.BILINEAR))
    except Exception:  # damaged files make Pillow raise almost anything, and the caller names the file
        return None
    return torch.from_numpy(array).reshape(settings.size, settings.size, -1).permute(2, 0, 1)
