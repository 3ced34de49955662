"""An image folder of anybody's: what is no image, or far too large a one, is refused by name, and never waited for."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from fedunlearn.data.image_folder import FolderSettings, read
from fedunlearn.errors import RequestError


def truncated(path: Path) -> None:
    whole = path.with_name("0.png").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


BAD: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path),
    "a bomb": lambda path: Image.new("L", (13_000, 13_000)).save(path),
    "half a file": truncated,
}


@pytest.mark.filterwarnings("always")  # as outside of pytest
@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_is_refused_by_name(tmp_path: Path, name: str) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for number in range(3):
            Image.new("L", (8, 8), number).save(tmp_path / label / f"{number}.png")
    settings = FolderSettings(path=str(tmp_path), size=8)
    assert read(settings, tmp_path, False, 0)
    BAD[name](tmp_path / "a" / "bad.png")
    refused = pytest.raises(RequestError, match=r"1 of the 7 images in .* cannot be read \(such as a/bad.png\)")
    with warnings.catch_warnings(record=True) as said, refused:
        read(settings, tmp_path, False, 0)
    assert not said, "the sentence says it all"


def small_folder(folder: Path, **classes: int) -> FolderSettings:
    for name, count in classes.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            Image.new("L", (8, 8), number).save(folder / name / f"{number}.png")
    return FolderSettings(path=str(folder), size=8, on_error="skip")


def test_what_cannot_be_read_is_left_out_with_a_list(tmp_path: Path) -> None:
    clean = read(small_folder(tmp_path / "clean", ant=4, cat=4), tmp_path, False, 0)
    settings = small_folder(tmp_path / "worse", ant=4, bee=4, cat=4, dog=0, eel=1)
    for number in range(3):
        (tmp_path / "worse" / "bee" / f"{number}.png").write_bytes(b"no image")  # one is left: too few to be split
    (tmp_path / "worse" / "ant" / "broken.png").write_bytes(b"")
    found = read(settings, tmp_path, False, 0)
    assert found.names == clean.names == ("ant", "cat")
    assert torch.equal(found.train.inputs["images"], clean.train.inputs["images"])
    assert torch.equal(found.test.targets, clean.test.targets)
    unreadable, sparse = found.remarks
    assert unreadable.startswith("4 image(s)") and "ant/broken.png" in unreadable and "bee/2.png" in unreadable
    assert sparse.startswith("3 class(es)") and sparse.endswith("bee, dog, eel")
    assert not clean.remarks


def test_a_class_must_be_in_both_halves(tmp_path: Path) -> None:
    small_folder(tmp_path / "train", ant=2, bee=2, cat=2)
    small_folder(tmp_path / "test", ant=1, bee=1, dog=1)
    settings = FolderSettings(path=str(tmp_path), size=8)
    with pytest.raises(RequestError, match="must hold the same classes, but cat is only in one of them"):
        read(settings, tmp_path, False, 0)
    found = read(replace(settings, on_error="skip"), tmp_path, False, 0)
    assert found.names == ("ant", "bee") and len(found.train) == 4 and len(found.test) == 2
    assert found.remarks == (f"2 class(es) in {tmp_path} hold too few images and are left out: cat, dog",)


def test_two_classes_must_remain(tmp_path: Path) -> None:
    settings = small_folder(tmp_path, ant=3, bee=0)
    with pytest.raises(RequestError, match=r"holds 1 class\(es\) of images that can be read, and two are needed"):
        read(settings, tmp_path, False, 0)
