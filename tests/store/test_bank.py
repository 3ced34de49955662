"""Stages that travel in one file: the same when they arrive, and nothing is taken that is not what it says."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

from fedunlearn.cli import store as command
from fedunlearn.errors import RequestError
from fedunlearn.store import Artifact, Store, bank
from fedunlearn.store.catalogue import damages, entries
from fedunlearn.store.folder import pack

MODEL = Artifact({"w": torch.arange(4.0)}, {"history": [1, 2]})


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def root(tmp_path):
    store = Store(tmp_path / "store")
    store.get("train", {"lr": 1}, lambda checkpoint: MODEL)
    store.get("retrain", {"lr": 1}, lambda checkpoint: MODEL)
    store.get("unlearn", {"lr": 1}, lambda checkpoint: MODEL)
    return tmp_path / "store"


@pytest.fixture
def exported(root, tmp_path):
    path = tmp_path / "bank.zip"
    assert command.main(["--store", str(root), "export", str(path)]) == 0
    return path


def taken(path, root):
    with bank.opened(path) as opened:
        return list(bank.take(root, opened, bank.names(opened)))


def content(root):
    return {
        path.relative_to(root): path.read_bytes()
        for path in root.rglob("*")
        if path.suffix in (".json", ".safetensors")
    }


def test_models_arrive_as_they_were(root, exported, tmp_path, capsys):
    other = tmp_path / "other"
    assert command.main(["import", str(exported), "--store", str(other)]) == 0
    assert "2 artifacts taken into" in capsys.readouterr().out
    here, there = content(root), content(other)
    assert there == {path: held for path, held in here.items() if path.parts[0] != "unlearn"}
    assert all(not problem for _, problem in damages(other))
    found = Store(other).get("train", {"lr": 1}, lambda checkpoint: pytest.fail("it is there"))
    assert found.cached and torch.equal(found.tensors["w"], MODEL.tensors["w"])
    assert command.main(["import", str(exported), "--store", str(other)]) == 0
    assert "0 artifacts taken" in (said := capsys.readouterr().out) and "2 there already" in said


def test_the_same_models_make_the_same_file(root, exported, tmp_path):
    assert command.main(["--store", str(root), "export", str(tmp_path / "again.zip")]) == 0
    assert (tmp_path / "again.zip").read_bytes() == exported.read_bytes()


def test_what_a_store_holds_is_not_replaced(root, exported, tmp_path):
    (folder,) = (root / "train").iterdir()
    mine = pack("train", folder.name, {"lr": 1}, Artifact({}, {"mine": True}), 0.0)
    for name, text in mine.files.items():
        (folder / name).write_bytes(text)
    assert [one.new for one in taken(exported, root)] == [False, False]
    assert Store(root).held("train", folder.name).data == {"mine": True}


def rewritten(path, change):
    """The bank with what `change` makes of each file: its name and content, or None to leave it out."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(f"{path}.new", "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            made = change(name, old.read(name))
            if made:
                new.writestr(*made)
    return Path(f"{path}.new")


def forged(name, text):
    """A model under a key that does not follow from what it says it depends on; its checksums are right."""
    stage, key, file = name.split("/")
    return name, pack(stage, key, {"lr": 2}, MODEL, 0.0).files[file] if stage == "train" else text


def renamed(name, text):
    return name.replace("retrain/", "audit/"), text


def flipped(name, text):
    return name, bytes([text[0] ^ 1]) + text[1:]


def other_numbers(name, text):
    return name, text[:-4] + b"more" if name.endswith("tensors.safetensors") else text


def without_data(name, text):
    return None if name.endswith("data.json") else (name, text)


def bomb(name, text):
    return name, b"\0" * 10**7 if name.endswith("tensors.safetensors") else text


CHANGES = {
    flipped: "cannot be understood",
    other_numbers: "the checksum of tensors.safetensors does not match",
    forged: "its key does not follow from",
    renamed: "it holds retrain",
    without_data: "data.json cannot be read",
    bomb: "larger than",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_what_is_not_what_it_says_is_left_out(exported, tmp_path, change, capsys):
    other = tmp_path / "other"
    Store(other)
    told = taken(rewritten(exported, change), other)
    wrong = [one for one in told if one.problem]
    assert wrong and not any(one.new for one in wrong)
    assert all(CHANGES[change] in one.problem for one in wrong), wrong
    assert len(entries(other)) == sum(one.new for one in told)
    assert command.main(["import", f"{exported}.new", "--store", str(tmp_path / "third")]) == 1
    assert "not taken" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["../train/x", "train/x/manifest.json", "locks/{key}/manifest.json", "evil.pkl"])
def test_a_file_with_anything_else_in_it_is_refused_whole(exported, tmp_path, name):
    with zipfile.ZipFile(exported, "a") as opened:
        opened.writestr(name.format(key="0" * 24), b"x")
    with pytest.raises(RequestError, match="this is no bank"):
        taken(exported, tmp_path)


def test_mistakes_cost_a_sentence(root, exported, tmp_path, capsys):
    (tmp_path / "text").write_text("no bank")
    for words, said in (
        (["export", str(tmp_path / "b.zip"), "--stage", "trian"], "holds nothing of stage trian"),
        (["export", str(tmp_path / "b.zip"), "--run", str(tmp_path)], "there is no finished run in"),
        (["import", str(tmp_path / "none.zip")], "cannot be read (no such file or directory)"),
        (["import", str(tmp_path / "text")], "is no bank"),
    ):
        assert command.main(["--store", str(root), *words]) == 2
        assert said in capsys.readouterr().err
    (folder,) = (root / "train").iterdir()
    (folder / "data.json").write_text("{}")
    assert command.main(["--store", str(root), "export", str(tmp_path / "b.zip")]) == 2
    assert "is damaged" in capsys.readouterr().err
    assert not (tmp_path / "b.zip").exists()


def test_an_interrupted_export_leaves_the_older_bank(root, exported, monkeypatch):
    before = exported.read_bytes()
    monkeypatch.setattr(shutil, "copyfileobj", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        command.main(["--store", str(root), "export", str(exported)])
    assert exported.read_bytes() == before and list(exported.parent.glob(".*")) == []
