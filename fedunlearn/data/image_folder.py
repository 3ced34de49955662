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
from fedunlearn.data.types import Split, labelled_images
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
    on_error: Literal["stop", "skip"] = "stop"  # for files that cannot be read, and classes with too few images
    # share of every class held out for testing where there is no test/
    test_fraction: Annotated[float, Above(0), Below(1)] = 0.2


def read(settings: FolderSettings, root: Path, download: bool, seed: int) -> Splits:
    """Images sorted into one directory per class; `path` is relative to where the run was started, not to `root`.

    Classes are numbered in the order of their sorted names. With train/ and test/ that hold class directories, that
    is the split; otherwise it depends on the files' names alone. Raises RequestError for what cannot be used, unless
    it is to be left out: then the classes that remain are numbered, and `remarks` say what is missing.
    """
    folder = Path(settings.path).expanduser()
    halves = [half for half in (folder / "train", folder / "test") if _directories(half)]
    places, least = (halves, 1) if len(halves) == 2 else ([folder], 2)
    listings = [listing_of(place) for place in places]
    if settings.on_error == "stop":
        _check(places, listings, least)
    loaded = [decoded(place, listing, settings) for place, listing in zip(places, listings, strict=True)]
    names = tuple(sorted(set.intersection(*(_classes(part, least) for part in loaded))))
    if len(names) < 2:
        raise RequestError(f"{folder} holds {len(names)} class(es) of images that can be read, and two are needed")
    kept = [part.of(names) for part in loaded]
    remarks = _remarks(folder, [path for part in loaded for path in part.unreadable], listings, names)
    if len(kept) == 2:
        return Splits(kept[0], kept[1], names, remarks)
    whole, labels = kept[0], kept[0].groups.numpy()
    count = math.ceil(len(labels) * settings.test_fraction)
    held_out = stratified(labels, count, numpy_stream(0, "split", "folder"), leave=1)
    return Splits(*divide(whole, held_out), names, remarks)


@dataclass(frozen=True)
class Loaded:
    """Images that could be read, uint8 [N, C, size, size], the class of each by name, and the files that could not."""

    images: Tensor
    classes: np.ndarray
    unreadable: list[Path]

    def of(self, names: tuple[str, ...]) -> Split:
        """The images of the classes `names` (sorted), with their numbers among these."""
        kept = np.isin(self.classes, names)
        images = self.images if kept.all() else self.images[torch.from_numpy(kept)]
        return labelled_images(images, torch.from_numpy(np.searchsorted(names, self.classes[kept])))


def _directories(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def listing_of(folder: Path) -> dict[str, list[Path]]:
    """The image files of every class, sorted. Raises RequestError where there are no classes."""
    directories = _directories(folder)
    if len(directories) < 2:
        raise RequestError(f"{folder} must be a folder with one directory per class, at least two of them")
    return {
        directory.name: sorted(
            path for path in directory.rglob("[!.]*") if path.suffix.lower() in SUFFIXES and not path.is_dir()
        )
        for directory in directories
    }


def _check(places: list[Path], listings: list[dict[str, list[Path]]], least: int) -> None:
    """Raises RequestError for a class with too few files, or one that only one of the places has."""
    for place, listing in zip(places, listings, strict=True):
        for name, paths in listing.items():
            if len(paths) < least:
                raise RequestError(
                    f"{place / name} holds {len(paths)} image(s), but every class needs at least {least}: add some, "
                    "or leave such classes out with dataset.on_error=skip"
                )
    if lonely := sorted(set(listings[0]) ^ set(listings[-1])):
        where = f"{places[0]} and {places[-1]}"
        raise RequestError(f"{where} must hold the same classes, but {lonely[0]} is only in one of them")


def decoded(place: Path, listing: dict[str, list[Path]], settings: FolderSettings) -> Loaded:
    """All images of a listing. Raises RequestError that names those that cannot be read, unless they are left out."""
    files = [path for paths in listing.values() for path in paths]
    channels = 3 if settings.channels == "rgb" else 1
    images = torch.empty(len(files), channels, settings.size, settings.size, dtype=torch.uint8)
    readable = np.ones(len(files), dtype=bool)
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:  # set once, here: filters are those of all threads
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # such an image is refused by name
        for i, pixels in enumerate(pool.map(partial(_pixels, settings=settings), files)):
            readable[i] = pixels is not None
            if pixels is not None:
                images[i] = pixels
    unreadable = [files[i] for i in np.flatnonzero(~readable)]
    if unreadable and settings.on_error == "stop":
        first = ", ".join(str(path.relative_to(place)) for path in unreadable[:3])
        raise RequestError(
            f"{len(unreadable)} of the {len(files)} images in {place} cannot be read (such as {first}): "
            "repair or remove them, or leave them out with dataset.on_error=skip"
        )
    classes = np.repeat(np.array(list(listing)), [len(paths) for paths in listing.values()])
    return Loaded(images[torch.from_numpy(readable)] if unreadable else images, classes[readable], unreadable)


def _classes(part: Loaded, least: int) -> set[str]:
    """The classes that have at least `least` images."""
    names, counts = np.unique(part.classes, return_counts=True)
    return set(names[counts >= least].tolist())


def unread(folder: Path, files: list[Path]) -> list[str]:
    """A remark on the files that could not be read; none without any."""
    which = ", ".join(str(path.relative_to(folder)) for path in files)
    return [f"{len(files)} image(s) in {folder} cannot be read and are left out: {which}"] if files else []


def _remarks(
    folder: Path, unreadable: list[Path], listings: list[dict[str, list[Path]]], names: tuple[str, ...]
) -> tuple[str, ...]:
    """What was left out: how many, and which."""
    said = unread(folder, unreadable)
    if gone := sorted({name for listing in listings for name in listing} - set(names)):
        said.append(f"{len(gone)} class(es) in {folder} hold too few images and are left out: {', '.join(gone)}")
    return tuple(said)


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
