"""Datasets, from scikit-learn's digits and from files that the tests write themselves."""

import dataclasses
import gzip
import hashlib
import os
import pickle
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from PIL import Image
from torchvision.datasets import CIFAR10, MNIST

from fedunlearn.data import sources
from fedunlearn.data.image_folder import FolderSettings
from fedunlearn.data.sources import DATASETS, NoSettings, load
from fedunlearn.data.splits import stratified
from fedunlearn.data.types import Dataset, Normaliser
from fedunlearn.errors import RequestError
from fedunlearn.randomness import numpy_stream
from fedunlearn.settings import registry
from fedunlearn.settings.config import Choice, DataConfig
from fedunlearn.settings.schema import parse

CONF = Path(__file__).parents[2] / "conf" / "dataset"


def read(name: str, root: Path | None = None, limit: int | None = None, seed: int = 0) -> Dataset:
    return load(Choice(name, NoSettings()), DataConfig(str(root) if root else None, limit=limit), seed)


def read_folder(path: Path, **settings: object) -> Dataset:
    return load(Choice("image_folder", FolderSettings(str(path), **settings)), DataConfig(), 0)  # type: ignore[arg-type]


def sentence(error: pytest.ExceptionInfo[RequestError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


# --- the registry and the YAML files


def test_every_dataset_has_a_yaml_with_its_own_defaults() -> None:
    found = {path.stem for path in CONF.glob("*.yaml")}
    assert found == {*DATASETS, "critters", "fictions", "glyphs", "identity_folder", "tofu"}
    for name, source in DATASETS.items():
        given: Any = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))
        assert given.pop("name") == name
        assert given.keys() == {field.name for field in dataclasses.fields(source.settings)}
        if name == "image_folder":
            with pytest.raises(RequestError, match=r"dataset\.path must be text"):
                parse(source.settings, given, "dataset")
            assert parse(source.settings, {**given, "path": "x"}) == FolderSettings("x")
        else:
            assert parse(source.settings, given) == NoSettings()


def test_find_suggests_the_nearest_name() -> None:
    assert registry.find("dataset", "digits") is DATASETS["digits"]
    with pytest.raises(RequestError, match="did you mean cifar10"):
        registry.find("dataset", "cifar_10")


# --- digits, splits, limits, statistics, fingerprints


def test_digits_are_bytes_in_channels_first_order() -> None:
    digits = read("digits")
    assert (digits.sample.shape, digits.classes, len(digits.train), len(digits.test)) == ((1, 8, 8), 10, 1437, 360)
    assert digits.train.inputs["images"].dtype == torch.uint8 and digits.train.targets.dtype == torch.int64
    # 17 grey levels: k * 255 / 16, rounded
    assert set(np.unique(digits.train.inputs["images"].numpy()).tolist()) == {
        round(level * 255 / 16) for level in range(17)
    }
    shares = np.bincount(digits.test.targets) / (np.bincount(digits.train.targets) + np.bincount(digits.test.targets))
    assert shares.min() > 0.18 and shares.max() < 0.22


def test_digits_split_is_disjoint_and_complete() -> None:
    from sklearn.datasets import load_digits

    digits = read("digits")
    ours = torch.cat([digits.train.inputs["images"], digits.test.inputs["images"]]).numpy()
    theirs = np.rint(load_digits().images * 255 / 16).astype(np.uint8)
    assert sorted(image.tobytes() for image in ours) == sorted(image.tobytes() for image in theirs)


def test_the_split_does_not_depend_on_the_seed() -> None:
    assert read("digits", seed=0).fingerprint == read("digits", seed=1).fingerprint


def test_statistics_are_those_of_the_pixels() -> None:
    digits = read("digits")
    pixels = digits.train.inputs["images"].double() / 255
    assert digits.prepare.mean == pytest.approx([pixels.mean().item()], abs=1e-12)
    assert digits.prepare.std == pytest.approx([pixels.std(correction=0).item()], abs=1e-12)


def test_statistics_are_per_channel_and_never_zero() -> None:
    images = torch.zeros(2, 2, 1, 1, dtype=torch.uint8)
    images[1, 1] = 255
    assert sources._statistics(images) == ((0.0, 0.5), (1.0, 0.5))


def test_published_statistics_come_first(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    assert read("mnist", tmp_path).prepare == Normaliser((0.1307,), (0.3081,))


def test_fingerprint_sees_every_part() -> None:
    digits = read("digits")
    parts = (digits.train, digits.test, digits.class_names, digits.prepare)
    assert sources._fingerprint(*parts) == digits.fingerprint
    images, labels = digits.test.inputs["images"].clone(), digits.test.targets.clone()
    images[-1, 0, 7, 7] ^= 1
    labels[-1] = (labels[-1] + 1) % 10
    changed = [
        (digits.train, dataclasses.replace(digits.test, inputs={"images": images}), *parts[2:]),
        (digits.train, dataclasses.replace(digits.test, targets=labels), *parts[2:]),
        (digits.train, dataclasses.replace(digits.test, groups=labels), *parts[2:]),
        (digits.train, digits.test, digits.class_names[::-1], *parts[3:]),
        (digits.test, digits.train, *parts[2:]),
        (
            dataclasses.replace(digits.train, inputs={"images": digits.train.inputs["images"].view(-1, 1, 4, 16)}),
            *parts[1:],
        ),
    ]
    prints = {sources._fingerprint(*case) for case in changed}
    assert len(prints) == len(changed) and digits.fingerprint not in prints


def test_limit_keeps_a_stratified_part_of_both_splits() -> None:
    digits = read("digits", limit=200)
    assert (len(digits.train), len(digits.test)) == (200, 50)  # 360 * 200 / 1437 = 50.1
    assert np.bincount(digits.train.targets).min() >= 19 and np.bincount(digits.train.targets).max() <= 21
    assert np.bincount(digits.test.targets).tolist() == [5] * 10


def test_smallest_limit_is_one_image_per_class() -> None:
    digits = read("digits", limit=10)
    assert np.bincount(digits.train.targets).tolist() == [1] * 10
    assert np.bincount(digits.test.targets).tolist() == [1] * 10
    with pytest.raises(RequestError, match=r"data\.limit=9 .* 10 classes"):
        read("digits", limit=9)


def test_a_limit_above_the_size_keeps_everything() -> None:
    assert (
        read("digits", limit=1437).fingerprint == read("digits", limit=10**6).fingerprint == read("digits").fingerprint
    )


@given(sizes=st.lists(st.integers(2, 30), min_size=1, max_size=6), count=st.integers(0, 200), leave=st.integers(0, 1))
def test_stratified_takes_every_class_in_proportion(sizes: list[int], count: int, leave: int) -> None:
    labels = numpy_stream(0, "test").permutation(np.repeat(np.arange(len(sizes)) * 2, sizes))
    taken = stratified(labels, count, numpy_stream(0, "x"), leave)
    assert (np.diff(taken) > 0).all()
    per_class = np.bincount(labels[taken])[::2]
    assert len(taken) == min(max(count, len(sizes)), sum(sizes) - leave * len(sizes))
    assert (per_class >= 1).all() and (per_class <= np.array(sizes) - leave).all()
    spare = np.array(sizes) - 1 - leave
    ideal = 1 + spare * (len(taken) - len(sizes)) / max(spare.sum(), 1)
    assert (abs(per_class - ideal) < 1 + 1e-9).all()


# --- files in MNIST's format


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write_mnist(root: Path, pack: bool = True, name: str = "MNIST") -> Path:
    """Six training and four test images of 3x2 pixels; image i is filled with 10 * i, labels count up."""
    folder = root / name / "raw"
    folder.mkdir(parents=True)
    for prefix, number in (("train", 6), ("t10k", 4)):
        images = np.full((number, 3, 2), 10 * np.arange(number)[:, None, None])
        for kind, data in ((f"{prefix}-images-idx3-ubyte", images), (f"{prefix}-labels-idx1-ubyte", np.arange(number))):
            path = folder / (f"{kind}.gz" if pack else kind)
            path.write_bytes(gzip.compress(idx(data)) if pack else idx(data))
    return folder


@pytest.mark.parametrize("pack", [True, False])
def test_idx_files_packed_or_extracted(tmp_path: Path, pack: bool) -> None:
    folder = write_mnist(tmp_path, pack, "FashionMNIST")
    before = sorted(folder.iterdir())
    fashion = read("fashion_mnist", tmp_path)
    assert fashion.sample.shape == (1, 3, 2) and fashion.class_names[9] == "Ankle boot"
    assert fashion.train.inputs["images"][:, 0, 2, 1].tolist() == [0, 10, 20, 30, 40, 50]
    assert fashion.test.targets.tolist() == [0, 1, 2, 3] and fashion.test.targets.dtype == torch.int64
    assert sorted(folder.iterdir()) == before  # the folder may be read-only


def test_packed_and_extracted_files_mix(tmp_path: Path) -> None:
    folder = write_mnist(tmp_path)
    packed = folder / "t10k-images-idx3-ubyte.gz"
    packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    assert len(read("mnist", tmp_path).test) == 4


def test_missing_files_are_named_and_nothing_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MNIST, "download", lambda self: pytest.fail("touched the network"))
    folder = write_mnist(tmp_path)
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(RequestError) as error:
        read("mnist", tmp_path)
    assert str(folder) in sentence(error) and "data.download=true" in sentence(error)
    assert "t10k-labels-idx1-ubyte" in sentence(error) and "train-labels" not in sentence(error)


@pytest.mark.parametrize(
    ("name", "folder", "file"),
    [
        ("mnist", "MNIST/raw", "train-images-idx3-ubyte"),
        ("fashion_mnist", "FashionMNIST/raw", "t10k-labels-idx1-ubyte"),
        ("cifar10", "cifar-10-batches-py", "data_batch_5"),
        ("cifar100", "cifar-100-python", "meta"),
        ("eurosat", "eurosat/2750", "SeaLake"),
    ],
)
def test_an_empty_root_says_what_was_expected_where(tmp_path: Path, name: str, folder: str, file: str) -> None:
    with pytest.raises(RequestError) as error:
        read(name, tmp_path)
    assert str(tmp_path / folder) in sentence(error) and file in sentence(error)
    assert "data.download=true" in sentence(error) and list(tmp_path.iterdir()) == []


def test_root_is_data_unless_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_mnist(Path("data"))
    assert len(read("mnist").train) == 6


def test_a_failed_download_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: MNIST) -> None:
        raise RuntimeError("Error downloading:\nTried a\nTried b")

    monkeypatch.setattr(MNIST, "download", fail)
    with pytest.raises(RequestError) as error:
        load(Choice("mnist", NoSettings()), DataConfig(str(tmp_path), download=True), 0)
    assert "failed: Error downloading: Tried a Tried b" in sentence(error)


def test_download_fetches_what_is_missing_and_only_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def fetch(self: MNIST) -> None:
        calls.append(self.root)
        write_mnist(Path(self.root), pack=False)

    monkeypatch.setattr(MNIST, "download", fetch)
    for _ in range(2):
        dataset = load(Choice("mnist", NoSettings()), DataConfig(str(tmp_path / "new"), download=True), 0)
    assert len(dataset.train) == 6 and calls == [tmp_path / "new"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-20],
        lambda data: b"",
        lambda data: b"not an archive",
        lambda data: data[:10] + b"\xff" * 20,  # an invalid block type
        lambda data: gzip.compress(gzip.decompress(data)[:-1]),
        lambda data: gzip.compress(b"\0\0"),
        lambda data: data[:-8] + bytes(8),
    ],
)
def test_damaged_archives_are_named(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    broken = write_mnist(tmp_path) / "train-images-idx3-ubyte.gz"
    broken.write_bytes(damage(broken.read_bytes()))
    with pytest.raises(RequestError, match="is damaged") as error:
        read("mnist", tmp_path)
    assert str(broken) in sentence(error)


@pytest.mark.parametrize("labels", [np.arange(5), np.arange(6) + 7])
def test_labels_that_do_not_fit_the_images(tmp_path: Path, labels: np.ndarray) -> None:
    (write_mnist(tmp_path) / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    with pytest.raises(RequestError, match="do not fit"):
        read("mnist", tmp_path)


def test_a_path_that_cannot_be_opened_is_one_sentence(tmp_path: Path) -> None:
    folder = write_mnist(tmp_path)
    (folder / "train-images-idx3-ubyte").mkdir()
    with pytest.raises(RequestError, match="mnist cannot be read from"):
        read("mnist", tmp_path)


# --- CIFAR


def write_cifar(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A CIFAR-10 of one training batch (two images) and a test batch (one), with its md5 sums made known."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    pixels = np.arange(2 * 3072, dtype=np.int64).reshape(2, 3072).astype(np.uint8)
    contents = {
        "data_batch_1": {"data": pixels, "labels": [3, 5]},
        "test_batch": {"data": pixels[:1], "labels": [9]},
        "batches.meta": {"label_names": [f"c{i}" for i in range(10)]},
    }
    md5 = {}
    for name, content in contents.items():
        (folder / name).write_bytes(pickle.dumps(content))
        md5[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    monkeypatch.setattr(CIFAR10, "train_list", [["data_batch_1", md5["data_batch_1"]]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", md5["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": md5["batches.meta"]})
    return folder


def test_cifar_is_channels_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar(tmp_path, monkeypatch)
    cifar = read("cifar10", tmp_path)
    assert cifar.sample.shape == (3, 32, 32) and cifar.train.inputs["images"].is_contiguous()
    # the file holds plane after plane, row by row: plane 1, row 2, column 3 is value 1024 + 64 + 3 of an image
    assert cifar.train.inputs["images"][1, 1, 2, 3] == (3072 + 1024 + 64 + 3) % 256
    assert cifar.train.targets.tolist() == [3, 5] and cifar.test.targets.tolist() == [9]
    assert cifar.class_names[9] == "c9"


def test_cifar_that_fails_its_md5_is_never_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = write_cifar(tmp_path, monkeypatch) / "test_batch"
    broken.write_bytes(broken.read_bytes() + b"x")
    monkeypatch.setattr(pickle, "load", lambda *args, **more: pytest.fail("unpickled"))
    with pytest.raises(RequestError, match="is damaged"):
        read("cifar10", tmp_path)


# --- folders of images


def write_images(root: Path, classes: dict[str, int], suffix: str = ".png") -> Path:
    """Images of random grey values; class directories with that many images each."""
    for name, number in classes.items():
        (root / name).mkdir(parents=True)
        for i in range(number):
            pixels = numpy_stream(0, root.name, name, i).integers(0, 256, (6, 5), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}{suffix}")
    return root


def test_image_folder_reads_classes_in_sorted_order(tmp_path: Path) -> None:
    folder = write_images(tmp_path, {"dog": 10, "cat": 5})
    pets = read_folder(folder, size=4)
    assert pets.class_names == ("cat", "dog") and pets.sample.shape == (3, 4, 4)
    assert (np.bincount(pets.train.targets).tolist(), np.bincount(pets.test.targets).tolist()) == ([4, 8], [1, 2])
    assert read_folder(folder, size=4, channels="grey").sample.shape == (1, 4, 4)


def test_image_folder_split_depends_on_names_alone(tmp_path: Path) -> None:
    first = read_folder(write_images(tmp_path / "here", {"a": 6, "b": 6}), size=5)
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    assert read_folder(tmp_path / "there", size=5).fingerprint == first.fingerprint
    settings = FolderSettings(str(tmp_path / "here"), size=5)
    assert load(Choice("image_folder", settings), DataConfig(), seed=7).fingerprint == first.fingerprint


def test_image_folder_pixels_are_exact_where_nothing_is_resized(tmp_path: Path) -> None:
    folder = write_images(tmp_path, {"a": 2, "b": 2})
    for path in folder.rglob("*.png"):
        Image.open(path).resize((6, 6)).save(path)
    whole = read_folder(folder, size=6, channels="grey", test_fraction=0.5)
    ours = {image.numpy().tobytes() for image in [*whole.train.inputs["images"], *whole.test.inputs["images"]]}
    assert ours == {np.asarray(Image.open(path)).tobytes() for path in folder.rglob("*.png")}


def test_train_and_test_folders_are_the_split(tmp_path: Path) -> None:
    write_images(tmp_path / "train", {"a": 1, "b": 3})
    write_images(tmp_path / "test", {"a": 2, "b": 1})
    given = read_folder(tmp_path, size=4)
    assert (given.train.targets.tolist(), given.test.targets.tolist()) == ([0, 1, 1, 1], [0, 0, 1])
    first = np.asarray(
        Image.open(tmp_path / "test" / "a" / "0.png").convert("RGB").resize((4, 4), Image.Resampling.BILINEAR)
    )
    assert np.array_equal(given.test.inputs["images"][0].permute(1, 2, 0).numpy(), first)


def test_train_and_test_folders_of_different_classes(tmp_path: Path) -> None:
    write_images(tmp_path / "train", {"a": 1, "b": 1, "c": 1})
    write_images(tmp_path / "test", {"a": 1, "b": 1})
    with pytest.raises(RequestError, match="c is only in one of them"):
        read_folder(tmp_path)


def test_classes_called_train_and_test_are_just_classes(tmp_path: Path) -> None:
    assert read_folder(write_images(tmp_path, {"train": 2, "test": 2})).class_names == ("test", "train")


def single(tmp_path: Path, image: Image.Image, name: str, channels: str) -> list[int]:
    """The first pixel of a plain 2x2 `image`, written as `name` and read back."""
    for kind in ("a", "b"):
        (tmp_path / kind).mkdir()
        for i in range(2):
            image.save(tmp_path / kind / f"{i}{name}")
    return read_folder(tmp_path, size=1, channels=channels).train.inputs["images"][0].flatten().tolist()


def paletted(transparency: bytes | None) -> Image.Image:
    image = Image.new("P", (2, 2), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    if transparency:
        image.info["transparency"] = transparency
    return image


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("image", "name", "expected"),
    [
        (Image.new("RGB", (3, 2), (10, 20, 30)), ".png", [10, 20, 30]),
        (Image.new("RGBA", (2, 2), (10, 20, 30, 128)), ".png", [10, 20, 30]),
        (Image.new("LA", (2, 2), (40, 128)), ".png", [40, 40, 40]),
        (Image.new("1", (2, 2), 1), ".png", [255, 255, 255]),
        (paletted(None), ".png", [10, 20, 30]),
        (paletted(b"\xff\x80"), ".png", [10, 20, 30]),
        (paletted(None), ".gif", [10, 20, 30]),
        (Image.new("CMYK", (2, 2), (255, 0, 0, 0)), ".tif", [0, 255, 255]),
        (Image.fromarray(np.full((2, 2), 257 * 200, np.uint16)), ".png", [200, 200, 200]),
        (Image.fromarray(np.full((2, 2), 257 * 200, np.int32)), ".tiff", [200, 200, 200]),
        (Image.new("RGB", (2, 2), (10, 20, 30)), ".BMP", [10, 20, 30]),
    ],
)
def test_every_mode_of_image(tmp_path: Path, image: Image.Image, name: str, expected: list[int]) -> None:
    assert single(tmp_path, image, name, "rgb") == expected


def test_grey_of_colour_is_its_luma(tmp_path: Path) -> None:
    # ITU-R 601: 0.299 R + 0.587 G + 0.114 B
    assert single(tmp_path, Image.new("RGB", (2, 2), (200, 100, 50)), ".png", "grey") == [124]


def test_camera_orientation_is_applied(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 255]], dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    for kind in ("a", "b"):
        (tmp_path / kind).mkdir()
        for i in range(2):
            image.resize((2, 2), Image.Resampling.NEAREST).save(tmp_path / kind / f"{i}.png", exif=exif)
    assert read_folder(tmp_path, size=2, channels="grey").train.inputs["images"][0, 0, 0].tolist() == [255, 0]


def test_unreadable_images_are_counted_and_named(tmp_path: Path) -> None:
    folder = write_images(tmp_path, {"a": 6, "b": 2})
    good = (folder / "a" / "5.png").read_bytes()
    for i, content in enumerate([b"", b"not an image", good[:-30], good[:40], good[:12]]):
        (folder / "a" / f"{i}.png").write_bytes(content)
    with pytest.raises(RequestError) as error:
        read_folder(folder)
    assert re.search(r"5 of the 8 images in .* \(such as a/0\.png, a/1\.png, a/2\.png\)", sentence(error))


def test_other_files_and_hidden_folders_are_ignored(tmp_path: Path) -> None:
    folder = write_images(tmp_path, {"a": 2, "b": 2, ".cache": 1})
    (folder / "a" / "notes.txt").write_text("x")
    (folder / "a" / ".hidden.png").write_text("x")
    (folder / "readme.png").write_text("x")
    write_images(folder / "b" / "more", {"deeper": 3})
    dataset = read_folder(folder, size=2)
    assert np.bincount(torch.cat([dataset.train.targets, dataset.test.targets])).tolist() == [2, 5]


def test_folders_that_cannot_be_a_dataset(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"nowhere must be a folder with one directory per class"):
        read_folder(tmp_path / "nowhere")
    with pytest.raises(RequestError, match="at least two"):
        read_folder(write_images(tmp_path / "one", {"a": 5}))
    with pytest.raises(RequestError, match=r"b holds 1 image\(s\), but every class needs at least 2"):
        read_folder(write_images(tmp_path / "two", {"a": 5, "b": 1}))


def test_eurosat_is_complete_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path / "eurosat" / "2750", dict.fromkeys(sources.EUROSAT_CLASSES, 5), ".jpg")
    with pytest.raises(RequestError, match="holds 50 images instead of 27000"):
        read("eurosat", tmp_path)
    monkeypatch.setattr(sources, "EUROSAT_IMAGES", 50)
    eurosat = read("eurosat", tmp_path)
    assert (eurosat.sample.shape, len(eurosat.train), len(eurosat.test)) == ((3, 64, 64), 40, 10)
    assert eurosat.class_names[-1] == "SeaLake"


def test_what_prepares_inputs_is_told_by_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    digits = registry.find("dataset", "digits")
    nameless = dataclasses.replace(digits, prepare=lambda train: lambda inputs: inputs)
    monkeypatch.setattr(registry, "find", lambda kind, name: nameless)
    with pytest.raises(RequestError, match="must prepare inputs by a frozen dataclass"):
        read("digits", Path())


# --- the real thing, where it is at hand


def test_real_fashion_mnist() -> None:
    root = Path(os.environ.get("FEDUNLEARN_DATA", ""))
    if not (root / "FashionMNIST" / "raw").is_dir():
        pytest.skip("FEDUNLEARN_DATA does not name a folder with FashionMNIST/raw")
    fashion = read("fashion_mnist", root)
    assert (len(fashion.train), len(fashion.test), fashion.sample.shape) == (60_000, 10_000, (1, 28, 28))
    assert np.bincount(fashion.train.targets).tolist() == [6000] * 10
    mean, std = sources._statistics(fashion.train.inputs["images"])
    assert mean == pytest.approx(fashion.prepare.mean, abs=5e-5) and std == pytest.approx(fashion.prepare.std, abs=5e-5)
