"""Your own images of individuals, sorted into one directory each, split so that nothing leaks.

Pictures of animals or people often come from films: frames that look the same are on both sides of a split by image,
and a model is then asked for what it was trained on. Here, images of an individual that look almost the same, by a
perceptual hash, stay on one side, and of those on the test side one counts. Some individuals are kept back whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from fedunlearn.data import image_folder
from fedunlearn.data.image_folder import FolderSettings, Loaded
from fedunlearn.data.individuals import Embedding
from fedunlearn.data.sources import DatasetSource
from fedunlearn.data.splits import Splits
from fedunlearn.data.types import Split, labelled_images
from fedunlearn.errors import RequestError
from fedunlearn.randomness import numpy_stream
from fedunlearn.settings.schema import Above, AtLeast, AtMost, Below

SIDE = 8  # of the grid that a hash is made of: 64 bits
LEAST = 2  # images of an individual on each side: one image has no pair


@dataclass(frozen=True)
class IdentityFolderSettings:
    """Your own images of individuals."""

    path: str  # must be given: the folder with one directory for each individual; what is in these is taken together
    size: Annotated[int, AtLeast(SIDE + 1)] = 64  # height and width that every image is squeezed to, pixels
    channels: Literal["rgb", "grey"] = "rgb"
    on_error: Literal["stop", "skip"] = "stop"  # for files that cannot be read, and individuals with too few images
    test_fraction: Annotated[float, Above(0), Below(1)] = 0.3  # share of every individual's images for testing, about
    never_seen: Annotated[float, AtLeast(0), Below(1)] = 0.2  # share of the individuals that nobody ever trains on
    # near: images that look almost the same stay together; image: by image, as others do, which leaks
    split: Literal["near", "image"] = "near"
    near: Annotated[int, AtLeast(0), AtMost(SIDE * SIDE)] = 6  # of 64 bits in which hashes of such images may differ
    embedding: Embedding = field(default_factory=Embedding)


@dataclass(frozen=True)
class Album:
    """An individual's images by number: for training, for testing, and one of each cluster of near-duplicates."""

    train: np.ndarray
    test: np.ndarray
    different: np.ndarray


def read(settings: IdentityFolderSettings, root: Path, download: bool, seed: int) -> Splits:
    """The individuals in the order of their names; which are never seen depends on the names alone.

    Raises RequestError for what cannot be used, unless it is to be left out (`on_error`); `remarks` say what is.
    """
    folder = Path(settings.path).expanduser()
    listing = image_folder.listing_of(folder)
    how = FolderSettings(settings.path, settings.size, settings.channels, settings.on_error)
    loaded = image_folder.decoded(folder, listing, how)
    albums = {name: _album(loaded, name, settings) for name in sorted(listing)}
    few = [name for name, album in albums.items() if min(len(album.train), len(album.test)) < LEAST]
    if few and settings.on_error == "stop":
        raise RequestError(
            f"{folder / few[0]} holds too few different images: {LEAST} are needed for training and {LEAST} for "
            f"testing, after near-duplicates are put together. Leave such individuals out with dataset.on_error=skip"
        )
    names = [name for name in albums if name not in few]
    strangers = _strangers(names, settings.never_seen)
    known = [name for name in names if name not in strangers]
    if len(known) < 2:
        raise RequestError(f"{folder} holds {len(known)} individual(s) to train on, and two are needed")
    train, test = (_split(loaded, [getattr(albums[name], side) for name in known]) for side in ("train", "test"))
    unseen = _split(loaded, [albums[name].different for name in strangers], len(known)) if strangers else None
    left = int(np.isin(loaded.classes, names).sum()) - sum(map(len, filter(None, (train, test, unseen))))
    return Splits(train, test, tuple(known), tuple(_remarks(folder, loaded, few, left)), unseen=unseen)


def _strangers(names: list[str], share: float) -> list[str]:
    """The individuals that are kept back, in the order of their names."""
    count = round(share * len(names))
    order = numpy_stream(0, "split", "strangers").permutation(len(names))
    return [names[number] for number in sorted(order[:count])]


def _album(loaded: Loaded, name: str, settings: IdentityFolderSettings) -> Album:
    """Whole clusters of near-duplicates go to one side; of each on the test side, one image stays."""
    own = np.flatnonzero(loaded.classes == name)
    alike = settings.near if settings.split == "near" else -1
    clusters = near_duplicates(hashes(loaded.images[torch.from_numpy(own)]), alike)
    order = numpy_stream(0, "split", "individual", name).permutation(clusters.max(initial=-1) + 1)
    members = [own[clusters == cluster] for cluster in order]
    before = np.cumsum([0, *map(len, members)])[:-1]  # images that are in clusters drawn earlier
    tested = before < math.ceil(settings.test_fraction * len(own))
    first = np.array([cluster[0] for cluster in members], dtype=np.int64)
    train = [cluster for cluster, out in zip(members, tested, strict=True) if not out]
    return Album(np.sort(np.concatenate([first[:0], *train])), np.sort(first[tested]), np.sort(first))


def hashes(images: Tensor) -> np.ndarray:
    """Difference hashes, bool [n, 64], of images, uint8 [n, C, H, W]: is each cell brighter than the next one?

    Cells are those of an 8 x 9 grid; their means are compared in whole numbers, so that all machines agree.
    """
    grey = images.to(torch.int64).sum(1).numpy()
    height, width = grey.shape[1:]
    rows, columns = (np.arange(cells + 1) * side // cells for cells, side in ((SIDE, height), (SIDE + 1, width)))
    sums = np.add.reduceat(np.add.reduceat(grey, rows[:-1], axis=1), columns[:-1], axis=2)
    areas = np.diff(rows)[:, None] * np.diff(columns)
    brighter: np.ndarray = sums[:, :, :-1] * areas[:, 1:] > sums[:, :, 1:] * areas[:, :-1]
    return brighter.reshape(len(grey), SIDE * SIDE)


def near_duplicates(hashed: np.ndarray, most: int) -> np.ndarray:
    """The cluster of each image, int64 [n]: connected are those whose hashes differ in at most so many bits."""
    apart = (hashed[:, None] != hashed).sum(axis=2)
    return np.asarray(connected_components(csr_array(apart <= most), directed=False)[1], dtype=np.int64)


def _split(loaded: Loaded, albums: list[np.ndarray], first: int = 0) -> Split:
    rows = torch.from_numpy(np.concatenate(albums))
    who = np.repeat(np.arange(first, first + len(albums)), [len(album) for album in albums])
    return labelled_images(loaded.images[rows], torch.from_numpy(who))


def _remarks(folder: Path, loaded: Loaded, few: list[str], left: int) -> list[str]:
    said = image_folder.unread(folder, loaded.unreadable)
    if few:
        said.append(f"{len(few)} individual(s) in {folder} hold too few images and are left out: {', '.join(few)}")
    if left:
        said.append(f"{left} image(s) in {folder} are near-duplicates of others and are not tested with")
    return said


DATASETS = {
    "identity_folder": DatasetSource(
        "identity_folder",
        IdentityFolderSettings,
        read,
        task="identity",
        options=lambda settings: settings.embedding,
        about="your own images of individuals, one directory for each, split so that no near-duplicate leaks",
    )
}
