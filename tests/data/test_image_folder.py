"""An image folder of anybody's: what is no image, or far too large a one, is refused by name, and never waited for."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
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
