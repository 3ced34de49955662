"""The datasets: where each comes from, read once into memory as bytes.

Only `data.download=true` may touch the network. Splits that a dataset does not bring itself are stratified and fixed:
they depend on the data alone, never on the run's seed, so that runs with different seeds share one test set.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import tempfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from functools import partial
from http.client import HTTPException
from pathlib import Path
from tarfile import TarError
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from fedunlearn.data import image_folder
from fedunlearn.data.splits import Splits, divide, stratified, subset
from fedunlearn.data.types import Dataset, Normaliser, Prepare, Split, labelled_images
from fedunlearn.errors import RequestError
from fedunlearn.randomness import numpy_stream
from fedunlearn.settings import registry
from fedunlearn.settings.config import Choice, DataConfig

Statistics = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True)
class DatasetSource:
    """A registered dataset. `read(settings, root, download, seed)` returns training set, test set and group names.

    Where something was left out, or is otherwise not as it seems, sentences about that come with them (`Splits`).

    `prepare(train)`: what turns the inputs of a split into those of a model, given the training set; images are
    normalised by their own mean and standard deviation unless the literature has published others. `task`: what is
    learnt; `options(settings)`: what the dataset's settings choose about that (see `Task.configured`). `suits`: what
    the rest of a configuration is unless somebody says otherwise, in the layout of conf/, such as
    `{"model": "decoder", "train": {"lr": 0.002}}`. Ours ignore `seed`, which is there for generated data.
    """

    name: str
    settings: type
    read: Callable[[Any, Path, bool, int], Splits | tuple[Split, Split, tuple[str, ...]]]
    prepare: Callable[[Split], Prepare] = lambda train: Normaliser(*_statistics(train.inputs["images"]))
    task: str = "classification"
    about: str = ""  # for those who read conf/
    suits: Mapping[str, Any] = field(default_factory=dict)
    options: Callable[[Any], Any] = lambda settings: None


@dataclass(frozen=True)
class NoSettings:
    """A dataset that leaves nothing to choose."""


def load(chosen: Choice, data: DataConfig, seed: int) -> Dataset:
    """The dataset `chosen`, whole or cut down to about `data.limit` training images.

    Raises RequestError if it is not there, cannot be fetched or cannot be read, or if the limit is too small.
    """
    source = registry.find("dataset", chosen.name)
    root = Path(data.root or "data").expanduser()
    try:
        train, test, names, remarks, brought, unseen = Splits(*source.read(chosen.settings, root, data.download, seed))
    except OSError as error:
        raise RequestError(f"{chosen.name} cannot be read from {root}: {error}") from error
    train, test = _limited(train, test, data.limit)
    prepare, options = brought or source.prepare(train), source.options(chosen.settings)
    if not is_dataclass(type(prepare)):  # the text of anything else names a place in memory, and keys are made of it
        raise RequestError(f"dataset={chosen.name} must prepare inputs by a frozen dataclass, not by {prepare!r}")
    told = _fingerprint(train, test, names, prepare, options, unseen)
    return Dataset(chosen.name, train, test, names, prepare, told, source.task, remarks, options, unseen)


def _limited(train: Split, test: Split, limit: int | None) -> tuple[Split, Split]:
    if limit is None or limit >= len(train):
        return train, test
    classes = len(np.unique(train.groups.numpy()))
    if limit < classes:
        raise RequestError(f"data.limit={limit} is too small: the {classes} classes need at least one image each")
    share = limit / len(train)
    kept = stratified(train.groups.numpy(), limit, numpy_stream(0, "limit", "train"))
    kept_test = stratified(test.groups.numpy(), round(len(test) * share), numpy_stream(0, "limit", "test"))
    return subset(train, kept), subset(test, kept_test)


def _statistics(images: Tensor) -> Statistics:
    """Mean and std per channel from the histogram of the 256 levels, in whole numbers: the same on every machine."""
    levels = np.arange(256)
    mean, std = [], []
    for channel in images.unbind(1):
        histogram = channel.flatten().bincount(minlength=256).numpy()
        pixels, total, squares = channel.numel(), int(histogram @ levels), int(histogram @ levels**2)
        mean.append(total / pixels / 255)
        std.append(math.sqrt(pixels * squares - total**2) / pixels / 255 or 1.0)  # 1: all pixels are the same
    return tuple(mean), tuple(std)


def _fingerprint(
    train: Split,
    test: Split,
    names: Sequence[str],
    prepare: Prepare,
    options: Any = None,
    unseen: Split | None = None,
) -> str:
    chosen = () if options is None else (options,)
    digest = hashlib.sha256(repr((tuple(names), prepare, *chosen)).encode())
    for split in (train, test) if unseen is None else (train, test, unseen):
        for name, tensor in {**split.inputs, "targets": split.targets, "groups": split.groups}.items():
            array = np.ascontiguousarray(tensor.numpy())
            digest.update(repr((name, array.shape, array.dtype.str)).encode())
            digest.update(array.data)
    return digest.hexdigest()


def _read_digits(settings: NoSettings, root: Path, download: bool, seed: int) -> Splits:
    """scikit-learn's 1,797 digits, 8x8 with 17 grey levels, stretched to 0..255; 20 % (rounded up) held out."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.from_numpy(np.rint(bunch.images * 255 / 16).astype(np.uint8)).unsqueeze(1)
    labels = bunch.target.astype(np.int64)
    held_out = stratified(labels, math.ceil(len(labels) / 5), numpy_stream(0, "split", "digits"), leave=1)
    whole = labelled_images(images, torch.from_numpy(labels))
    return Splits(*divide(whole, held_out), tuple(str(digit) for digit in range(10)))


def _missing(folder: Path, expected: Sequence[str]) -> list[str]:
    return [name for name in expected if not ((folder / name).exists() or (folder / f"{name}.gz").exists())]


def _provide(folder: Path, expected: Sequence[str], root: Path, fetch: Callable[[], object] | None) -> None:
    """Make sure that `folder` holds `expected` (plain or .gz); `fetch` is None where downloading is not allowed."""
    if not _missing(folder, expected):
        return
    if fetch:
        try:
            root.mkdir(parents=True, exist_ok=True)
            with FileLock(root / f".{folder.relative_to(root).parts[0]}.lock"):  # the runs of a sweep start together
                fetch()
        except (OSError, RuntimeError, HTTPException, TarError, BadZipFile, EOFError, zlib.error) as error:
            reason = " ".join(str(error).split())
            raise RequestError(f"the download into {folder} failed: {reason}") from error
    if missing := _missing(folder, expected):
        raise RequestError(
            f"{folder} does not hold {', '.join(missing)}: set data.root to the folder that has the data, "
            "or data.download=true to download them"
        )


def _damaged(path: Path, how: str = "is damaged") -> RequestError:
    return RequestError(f"{path} {how}: delete it and run again with data.download=true")


def _read_mnist(which: str, settings: NoSettings, root: Path, download: bool, seed: int) -> Splits:
    """MNIST and sets in its format, in root/<which>/raw: idx files, extracted or as the official .gz."""
    import torchvision.datasets

    source = getattr(torchvision.datasets, which)
    folder = root / which / "raw"
    expected = [Path(name).stem for name, _ in source.resources]
    _provide(folder, expected, root, partial(source, root, download=True) if download else None)
    train, test = (_read_idx_pair(folder, prefix, len(source.classes)) for prefix in ("train", "t10k"))
    return Splits(train, test, tuple(source.classes))


def _read_idx_pair(folder: Path, prefix: str, classes: int) -> Split:
    from torchvision.datasets.mnist import read_image_file, read_label_file

    images = _read_idx(folder / f"{prefix}-images-idx3-ubyte", read_image_file)
    labels = _read_idx(folder / f"{prefix}-labels-idx1-ubyte", read_label_file)
    if len(images) != len(labels) or len(labels) == 0 or int(labels.max()) >= classes:
        raise _damaged(folder, f"has {prefix} labels that do not fit the images")
    return labelled_images(images.unsqueeze(1), labels)


def _read_idx(path: Path, read: Callable[[str], Tensor]) -> Tensor:
    """The tensor in `path`, or in `path`.gz where only that is there (unpacked aside: the folder may be read-only)."""
    packed = path.with_name(f"{path.name}.gz")
    try:
        if path.exists():
            return read(str(path))
        with tempfile.TemporaryDirectory() as aside:
            plain = Path(aside) / path.name
            plain.write_bytes(gzip.decompress(packed.read_bytes()))
            return read(str(plain))
    except (gzip.BadGzipFile, EOFError, zlib.error, RuntimeError, ValueError, TypeError, AssertionError) as error:
        raise _damaged(path if path.exists() else packed) from error


def _read_cifar(which: str, settings: NoSettings, root: Path, download: bool, seed: int) -> Splits:
    """CIFAR-10 and CIFAR-100 (Krizhevsky 2009), in root; torchvision checks every file's md5 before it opens it."""
    import torchvision.datasets

    source = getattr(torchvision.datasets, which)
    folder = root / source.base_folder
    expected = [name for name, _ in source.train_list + source.test_list] + [source.meta["filename"]]
    _provide(folder, expected, root, partial(source, root, download=True) if download else None)
    try:
        halves = [source(root, train=train) for train in (True, False)]
    except RuntimeError as error:
        raise _damaged(folder) from error
    train, test = (
        labelled_images(torch.from_numpy(half.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(half.targets))
        for half in halves
    )
    return Splits(train, test, tuple(halves[0].classes))


EUROSAT_CLASSES = (
    *("AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial"),
    *("Pasture", "PermanentCrop", "Residential", "River", "SeaLake"),
)
EUROSAT_IMAGES = 27_000


def _read_eurosat(settings: NoSettings, root: Path, download: bool, seed: int) -> Splits:
    """EuroSAT RGB (Helber et al. 2019), 64x64, in root/eurosat/2750; it has no official split, so 20 % are held out."""
    from torchvision.datasets import EuroSAT

    folder = root / "eurosat" / "2750"
    _provide(folder, EUROSAT_CLASSES, root, partial(EuroSAT, root, download=True) if download else None)
    splits = image_folder.read(image_folder.FolderSettings(str(folder), size=64), root, download, seed)
    found = len(splits.train) + len(splits.test)
    if found != EUROSAT_IMAGES:  # torchvision does not see that unpacking was interrupted
        raise _damaged(folder, f"holds {found} images instead of {EUROSAT_IMAGES}")
    return splits


def _published(mean: tuple[float, ...], std: tuple[float, ...]) -> Callable[[Split], Prepare]:
    """The mean and standard deviation per channel that the literature normalises with."""
    return lambda train: Normaliser(mean, std)


CIFAR10 = _published((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
CIFAR100 = _published((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))
DATASETS: dict[str, DatasetSource] = {
    source.name: source
    for source in (
        DatasetSource(
            "digits",
            NoSettings,
            _read_digits,
            about="1,797 handwritten digits, 8x8 grey, shipped with scikit-learn: nothing to download",
        ),
        DatasetSource(
            "mnist",
            NoSettings,
            partial(_read_mnist, "MNIST"),
            _published((0.1307,), (0.3081,)),
            about="70,000 handwritten digits, 28x28 grey, in data.root/MNIST/raw",
        ),
        DatasetSource(
            "fashion_mnist",
            NoSettings,
            partial(_read_mnist, "FashionMNIST"),
            _published((0.2860,), (0.3530,)),
            about="70,000 pieces of clothing, 28x28 grey, in data.root/FashionMNIST/raw",
        ),
        DatasetSource(
            "cifar10",
            NoSettings,
            partial(_read_cifar, "CIFAR10"),
            CIFAR10,
            about="60,000 photographs in 10 classes, 32x32 colour, in data.root/cifar-10-batches-py",
        ),
        DatasetSource(
            "cifar100",
            NoSettings,
            partial(_read_cifar, "CIFAR100"),
            CIFAR100,
            about="60,000 photographs in 100 classes, 32x32 colour, in data.root/cifar-100-python",
        ),
        DatasetSource(
            "eurosat",
            NoSettings,
            _read_eurosat,
            about="27,000 satellite images in 10 classes, 64x64 colour, in data.root/eurosat/2750; 20 % held out",
        ),
        DatasetSource(
            "image_folder",
            image_folder.FolderSettings,
            image_folder.read,
            about="your own images, one directory per class",
        ),
    )
}
