"""A folder of individuals: near-duplicates stay on one side, strangers are nobody's, and the same every time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fedunlearn.data import identity_folder
from fedunlearn.data.identity_folder import IdentityFolderSettings, hashes, near_duplicates, read
from fedunlearn.data.splits import Splits
from fedunlearn.errors import RequestError


def films(folder: Path, individuals: int = 5, scenes: int = 6, frames: int = 3) -> IdentityFolderSettings:
    """Of every individual some scenes, seen from two views, with frames that hardly differ; `brightness` names one."""
    for who in range(individuals):
        for scene in range(scenes):
            view = folder / f"cat{who}" / ("top", "front")[scene % 2]
            view.mkdir(parents=True, exist_ok=True)
            stream = np.random.default_rng([who, scene])
            coarse = stream.integers(0, 200, (9, 9), dtype=np.uint8).repeat(4, axis=0).repeat(4, axis=1)
            for frame in range(frames):
                grain = np.random.default_rng([who, scene, frame]).integers(0, 3, coarse.shape, dtype=np.uint8)
                Image.fromarray(coarse + grain + 50 * (frame == 0)).save(view / f"{scene}_{frame}.png")
    return IdentityFolderSettings(str(folder), size=36, channels="grey", never_seen=0.4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> IdentityFolderSettings:
    return films(tmp_path_factory.mktemp("films"))


def made(settings: IdentityFolderSettings) -> Splits:
    return Splits(*read(settings, Path(), False, 0))


def leaking(found: Splits) -> int:
    """Test images that look almost like a training image of the same individual."""
    train, test = (hashes(part.inputs["images"]) for part in (found.train, found.test))
    apart = (test[:, None] != train).sum(axis=2)
    same = found.test.groups.numpy()[:, None] == found.train.groups.numpy()
    return int(((apart <= 6) & same).any(axis=1).sum())


def test_frames_of_a_scene_are_on_one_side_and_a_split_by_image_leaks(folder: IdentityFolderSettings) -> None:
    by_scene, by_image = made(folder), made(replace(folder, split="image"))
    assert leaking(by_scene) == 0
    assert leaking(by_image) > len(by_image.test) / 2
    assert len(by_scene.train) + 3 * len(by_scene.test) == len(by_image.train) + len(by_image.test) == 3 * 6 * 3
    assert by_scene.unseen is not None and len(by_scene.unseen) == 2 * 6, "one of each scene"
    assert by_scene.remarks[0].startswith(f"{2 * len(by_scene.test) + 2 * 12} image(s)") and not by_image.remarks


def test_strangers_are_individuals_of_their_own(folder: IdentityFolderSettings) -> None:
    found = made(folder)
    assert found.unseen is not None
    assert len(found.names) == 3 and set(found.unseen.groups.tolist()) == {3, 4}
    assert set(found.train.groups.tolist()) == set(found.test.groups.tolist()) == {0, 1, 2}
    assert made(replace(folder, never_seen=0.0)).unseen is None


def test_it_is_the_same_every_time_and_in_any_order(folder: IdentityFolderSettings) -> None:
    one, other = made(folder), made(folder)
    assert one.names == other.names
    for part in ("train", "test", "unseen"):
        assert torch.equal(getattr(one, part).inputs["images"], getattr(other, part).inputs["images"])


def test_another_individual_leaves_the_splits_of_the_others_as_they_are(tmp_path: Path) -> None:
    few = films(tmp_path / "few", individuals=3)
    more = films(tmp_path / "more", individuals=4)
    one, other = (made(replace(each, never_seen=0.0)) for each in (few, more))
    assert torch.equal(one.test.inputs["images"], other.test.inputs["images"][: len(one.test)])


def test_who_has_too_few_different_images_is_refused_or_left_out(tmp_path: Path) -> None:
    settings = films(tmp_path, individuals=3)
    for number in range(9):
        (tmp_path / "dull").mkdir(exist_ok=True)
        Image.new("L", (36, 36), number).save(tmp_path / "dull" / f"{number}.png")
    with pytest.raises(RequestError, match="dull holds too few different images"):
        made(settings)
    found = made(replace(settings, on_error="skip", never_seen=0.0))
    assert found.names == ("cat0", "cat1", "cat2")
    assert any(said.endswith("are left out: dull") for said in found.remarks)


def test_two_individuals_must_remain(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"1 individual\(s\) to train on, and two are needed"):
        made(replace(films(tmp_path, individuals=2), never_seen=0.5))


def test_a_hash_is_brighter_or_not_cell_by_cell() -> None:
    rising = torch.arange(18, dtype=torch.uint8).expand(1, 16, 18)[None]
    assert not hashes(rising).any() and hashes(rising.flip(-1)).all()
    spot = torch.zeros(1, 1, 8, 9, dtype=torch.uint8)
    spot[0, 0, 2, 4] = 9
    assert np.flatnonzero(hashes(spot)).tolist() == [2 * 8 + 4], "brighter than the cell to its right"
    assert np.array_equal(hashes(spot), hashes(spot.repeat_interleave(5, 2).repeat_interleave(3, 3)))


def test_near_duplicates_are_joined_by_those_between_them() -> None:
    steps = np.tri(5, 64, k=-1, dtype=bool)  # each differs from the next in one bit
    assert len(set(near_duplicates(steps, 1).tolist())) == 1
    assert len(set(near_duplicates(steps[[0, 3, 4]], 1).tolist())) == 2
    assert len(set(near_duplicates(np.zeros((3, 64), dtype=bool), -1).tolist())) == 3, "none at all"


def test_it_is_a_dataset_of_its_own() -> None:
    assert identity_folder.DATASETS["identity_folder"].task == "identity"
