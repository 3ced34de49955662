"""What can lie in a store besides whole artifacts: forged manifests, things of the wrong kind, disks without writing.

A checksum shows accidents, not intent: here everything carries the right one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

import fedunlearn.store
from fedunlearn.cli import store as command
from fedunlearn.errors import RunError
from fedunlearn.store import Artifact, Checkpoint, Store, key_of
from fedunlearn.store.catalogue import damages, entries
from fedunlearn.store.manifest import sha256, to_bytes

STAGE, DETERMINANTS = "train", {"lr": 0.1}
KEY = key_of(STAGE, DETERMINANTS)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, said: list[str]) -> Store:
    """With one artifact in it."""
    store = Store(tmp_path, said.append)
    store.get(STAGE, DETERMINANTS, made)
    return store


def made(checkpoint: Checkpoint) -> Artifact:
    return Artifact({"w": torch.arange(6.0).reshape(2, 3), "n": torch.tensor(7)}, {"value": 1})


def again(checkpoint: Checkpoint) -> Artifact:
    return Artifact({}, {"value": 2})


def forbidden(checkpoint: Checkpoint) -> Artifact:
    raise AssertionError("computed although it is in the store")


def commands(root: Path, *words: str) -> int:
    return command.main(["--store", str(root), *words])


def forge(folder: Path, **changes: object) -> None:
    """Change fields of a manifest and give it the checksum that belongs to it."""
    body = json.loads((folder / "manifest.json").read_text())
    body.pop("checksum")
    body.update(changes)
    (folder / "manifest.json").write_bytes(to_bytes({key: item for key, item in body.items() if item is not ...}))


def forge_file(folder: Path, name: str, content: bytes, **changes: object) -> None:
    """Change a file and have the manifest agree."""
    (folder / name).write_bytes(content)
    files = json.loads((folder / "manifest.json").read_text())["files"]
    files[name] = {"bytes": len(content), "sha256": sha256(content)}
    forge(folder, files=files, **changes)


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def files(**changes: object) -> Callable[[Path], None]:
    """Change what the manifest says about the tensors' file."""

    def damage(folder: Path) -> None:
        said = json.loads((folder / "manifest.json").read_text())["files"]
        said["tensors.safetensors"].update(changes)
        forge(folder, files=said)

    return damage


def bomb(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)


def replaced(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        shutil.rmtree(folder)
        make(folder)

    return damage


def pipe(folder: Path) -> None:
    (folder / "data.json").unlink()
    os.mkfifo(folder / "data.json")


def circle(folder: Path) -> None:
    (folder / "data.json").unlink()
    (folder / "data.json").symlink_to(folder / "data.json")


def outside(name: str) -> Callable[[Path], None]:
    """A manifest that names a file somewhere else, as if it were the artifact's own."""

    def damage(folder: Path) -> None:
        said = json.loads((folder / "manifest.json").read_text())["files"]
        (folder.parent / "secret").write_bytes(b"{}")
        said[name.format(folder.parent)] = {"bytes": 2, "sha256": sha256(b"{}")}
        forge(folder, files=said)

    return damage


W = {"w": "float32 [2, 3]"}
DAMAGE: dict[str, Callable[[Path], object]] = {
    "no files": lambda folder: forge(folder, files={}),
    "files as a list": lambda folder: forge(folder, files=["tensors.safetensors", "data.json"]),
    "files as a number": lambda folder: forge(folder, files=3),
    "a file without a size": lambda folder: forge(folder, files={"tensors.safetensors": {}, "data.json": {}}),
    "a file of text": lambda folder: forge(folder, files={"tensors.safetensors": "x", "data.json": "y"}),
    "a file above": outside("../secret"),
    "a file elsewhere": outside("{}/secret"),
    "a size below zero": files(bytes=-1),
    "a size that is none": files(bytes=10**30),
    "a size that is true": files(bytes=True),
    "no checksum": files(sha256=None),
    "a stage that is a list": lambda folder: forge(folder, stage=["train"]),
    "a key that is a number": lambda folder: forge(folder, key=5),
    "another key": lambda folder: forge(folder, key="0" * 24),
    "another stage": lambda folder: forge(folder, stage="retrain"),
    "determinants that are a list": lambda folder: forge(folder, determinants=[]),
    "determinants that are deep": lambda folder: forge(folder, determinants=nested(400)),
    "seconds of text": lambda folder: forge(folder, seconds="long"),
    "seconds below zero": lambda folder: forge(folder, seconds=-1.0),
    "seconds without end": lambda folder: forge(folder, seconds=float("inf")),
    "seconds that are none": lambda folder: forge(folder, seconds=float("nan")),
    "no time": lambda folder: forge(folder, created="yesterday"),
    "a time of nowhere": lambda folder: forge(folder, created="2020-01-01T00:00:00"),
    "a time that is a number": lambda folder: forge(folder, created=7),
    "tensors that are a list": lambda folder: forge(folder, tensors=["w", "n"]),
    "tensors of numbers": lambda folder: forge(folder, tensors={"w": 1, "n": 2}),
    "versions that are null": lambda folder: forge(folder, versions=None),
    "versions for the terminal": lambda folder: forge(folder, versions={"torch": "\x1b[2J"}),
    "versions that cannot be printed": lambda folder: forge(folder, versions={"torch": "\ud800"}),
    "a field too many": lambda folder: forge(folder, more=1),
    "a field too few": lambda folder: forge(folder, tensors=...),
    "a bomb": bomb,
    "a tensor that is not there": lambda folder: forge(folder, tensors={**W, "n": "int64 []", "x": "float32 [1]"}),
    "a tensor that is not named": lambda folder: forge(folder, tensors=W),
    "a tensor of another shape": lambda folder: forge(folder, tensors={"w": "float32 [3, 2]", "n": "int64 []"}),
    "other tensors": lambda folder: forge_file(folder, "tensors.safetensors", save({"v": torch.zeros(1)})),
    "tensors that are none": lambda folder: forge_file(folder, "tensors.safetensors", b"\xff" * 64),
    "data that are a list": lambda folder: forge_file(folder, "data.json", b"[1, 2]"),
    "data that are nothing": lambda folder: forge_file(folder, "data.json", b""),
    "data that are deep": lambda folder: forge_file(folder, "data.json", json.dumps(nested(900)).encode()),
    "data that are a bomb": lambda folder: forge_file(folder, "data.json", b"[" * 100_000),
    "a pipe": pipe,
    "a link to itself": circle,
    "a file for a folder": replaced(lambda folder: folder.write_text("hello")),
    "an empty folder": replaced(Path.mkdir),
    "a dangling link": replaced(lambda folder: folder.symlink_to(folder.parent / "nowhere")),
    "a link to a file": replaced(lambda folder: folder.symlink_to(__file__)),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_is_no_artifact_is_set_aside_and_computed_again(
    store: Store, tmp_path: Path, said: list[str], kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / STAGE / KEY
    DAMAGE[kind](folder)
    assert store.peek(STAGE, DETERMINANTS) is None
    assert commands(tmp_path, "list") == 0
    assert commands(tmp_path, "verify") == 1
    assert commands(tmp_path, "prune") == 0
    assert [problem for _, problem in damages(tmp_path) if problem]
    assert "Traceback" not in "".join(capsys.readouterr())
    said.clear()
    stored = store.get(STAGE, DETERMINANTS, again)
    assert (stored.data, stored.cached) == ({"value": 2}, False)
    assert len(said) == 1 and str(folder) in said[0] and "is computed again" in said[0]
    assert os.path.lexists(tmp_path / "damaged" / f"{STAGE}-{KEY}-1")
    assert store.get(STAGE, DETERMINANTS, forbidden).data == {"value": 2}
    assert commands(tmp_path, "prune", "--damaged") == 0
    assert list((tmp_path / "damaged").iterdir()) == []
    assert Path(__file__).exists() and commands(tmp_path, "verify") == 0


@pytest.mark.parametrize(
    "words", [("list",), ("show", KEY), ("explain", KEY), ("verify",), ("prune", "--older-than=0")]
)
@pytest.mark.parametrize("kind", DAMAGE)
def test_no_command_raises_for_what_is_no_artifact(
    store: Store, tmp_path: Path, kind: str, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    DAMAGE[kind](tmp_path / STAGE / KEY)
    store.get("retrain", {}, again)
    assert commands(tmp_path, *words) in (0, 1, 2)
    assert len(capsys.readouterr().err.splitlines()) <= 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ("stage", "key", "created", "seconds", "files", "tensors", "versions")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(field=st.sampled_from(FIELDS), value=json_values)
def test_no_field_of_a_manifest_is_believed(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str], field: str, value: object
) -> None:
    root = tmp_path_factory.mktemp("store")
    store = Store(root, lambda text: None)
    store.get(STAGE, DETERMINANTS, made)
    forge(root / STAGE / KEY, **{field: value})
    for words in (["list"], ["show", KEY], ["verify"], ["prune", "--stage", "train", "--dry-run"]):
        assert commands(root, *words) in (0, 1, 2)
    assert store.get(STAGE, DETERMINANTS, again).data in ({"value": 1}, {"value": 2})


# Checkpoints, temporary folders, locks


def begun(checkpoint: Checkpoint) -> Artifact:
    checkpoint.save(Artifact({}, {"round": 1}))
    raise ZeroDivisionError


def going_on(checkpoint: Checkpoint) -> Artifact:
    saved = checkpoint.load()
    checkpoint.save(Artifact({}, {"round": 5}))
    return Artifact({}, {"from": saved.data["round"] if saved else None})


@pytest.mark.parametrize("make", [Path.touch, lambda path: path.symlink_to("nowhere")])
def test_a_thing_where_the_checkpoints_belong_is_set_aside(
    store: Store, tmp_path: Path, said: list[str], make: Callable[[Path], None]
) -> None:
    place = tmp_path / STAGE / f"{key_of(STAGE, {})}.checkpoint"
    make(place)
    assert commands(tmp_path, "list") == commands(tmp_path, "verify") == commands(tmp_path, "prune") == 0
    assert store.get(STAGE, {}, going_on).data == {"from": None}
    assert len(said) == 1 and f"{place} is no folder; it is now {tmp_path / 'damaged'}" in said[0]
    assert not os.path.lexists(place)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: forge(folder, seconds="long"),
        lambda folder: forge(folder, files={}),
        lambda folder: forge_file(folder, "data.json", b"[1]"),
        replaced(Path.touch),
        replaced(lambda folder: folder.symlink_to("nowhere")),
        bomb,
    ],
)
def test_a_checkpoint_that_is_none_is_passed_over(
    store: Store, tmp_path: Path, said: list[str], damage: Callable[[Path], object]
) -> None:
    with pytest.raises(ZeroDivisionError):
        store.get(STAGE, {}, begun)
    damage(tmp_path / STAGE / f"{key_of(STAGE, {})}.checkpoint" / "1")
    assert commands(tmp_path, "list") == 0
    assert store.get(STAGE, {}, going_on).data == {"from": None}
    assert len(said) == 1 and "is not used" in said[0]
    assert sorted(path.name for path in (tmp_path / STAGE).iterdir()) == sorted([KEY, key_of(STAGE, {})])


def test_names_that_are_no_numbers_of_checkpoints(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        store.get(STAGE, {}, begun)
    folder = tmp_path / STAGE / f"{key_of(STAGE, {})}.checkpoint"
    for name in ("0", "9" * 250, "x", "٣", "1.tmp-3"):
        (folder / name).mkdir()
    assert store.get(STAGE, {}, going_on).data == {"from": 1}
    assert not folder.exists()


@pytest.mark.parametrize("make", [Path.touch, lambda path: path.symlink_to("nowhere"), Path.mkdir])
def test_what_lies_where_a_folder_is_to_be_written_goes(
    store: Store, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    key = key_of(STAGE, {})
    for name in (f"{key}.tmp-1", f"{key}.tmp-{os.getpid()}"):
        make(tmp_path / STAGE / name)
    assert commands(tmp_path, "list") == commands(tmp_path, "verify") == 0
    assert store.get(STAGE, {}, again).data == {"value": 2}
    assert sorted(path.name for path in (tmp_path / STAGE).iterdir()) == sorted([KEY, key])


@pytest.mark.parametrize("make", [Path.touch, lambda path: path.symlink_to("nowhere"), Path.mkdir])
def test_prune_removes_temporary_things_of_any_kind(store: Store, tmp_path: Path, make: Callable[[Path], None]) -> None:
    (tmp_path / "kept").mkdir()
    make(tmp_path / STAGE / f"{KEY}.tmp-1")
    (tmp_path / STAGE / f"{KEY}.tmp-2").symlink_to(tmp_path / "kept")
    assert commands(tmp_path, "prune") == 0
    assert [path.name for path in (tmp_path / STAGE).iterdir()] == [KEY]
    assert (tmp_path / "kept").is_dir()


def test_a_lock_that_is_a_folder_is_one_sentence(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / "locks" / f"{STAGE}-{KEY}.lock"
    lock.unlink()
    lock.mkdir()
    assert store.get(STAGE, DETERMINANTS, forbidden).cached
    (tmp_path / STAGE / f"{KEY}.tmp-1").mkdir()
    store.get("retrain", {}, again)
    (tmp_path / "retrain" / f"{key_of('retrain', {})}.tmp-1").mkdir()
    assert commands(tmp_path, "list") == commands(tmp_path, "verify") == commands(tmp_path, "prune") == 0
    said = capsys.readouterr().out
    assert f"{STAGE} {KEY} was left alone: cannot write {lock}: is a directory" in said
    assert "removed 1 folder" in said
    shutil.rmtree(tmp_path / STAGE / KEY)
    with pytest.raises(RunError, match=f"cannot write {lock}: is a directory"):
        store.get(STAGE, DETERMINANTS, again)


def test_odd_things_at_the_top_are_not_looked_at(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "empty").mkdir()
    (tmp_path / STAGE / "notes.txt").write_text("x")
    assert len(entries(tmp_path)) == 1
    for words in ("list", "verify", "prune"):
        assert commands(tmp_path, words) == 0


# A disk that cannot be written to

READ_ONLY = """
import errno, os, sys
from fedunlearn.errors import RequestError, RunError
from fedunlearn.store import Artifact, Store

root = sys.argv[1]
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT

def refuse(event, arguments):
    path = str(arguments[0]) if arguments else ""
    writes = event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "shutil.rmtree")
    if path.startswith(root) and (writes or event == "open" and arguments[2] & WRITING):
        code = errno.EEXIST if event == "os.mkdir" and os.path.exists(path) else errno.EROFS
        raise OSError(code, os.strerror(code), path)

sys.addaudithook(refuse)
store = Store(root, print)
print(store.get("train", {"lr": 0.1}, None).data)
for action in (lambda: store.get("train", {}, lambda saved: Artifact()), lambda: Store(root + "/new")):
    try:
        action()
    except (RunError, RequestError) as error:
        print(error)
"""


def test_a_store_that_cannot_be_written_to_serves_what_it_holds(store: Store, tmp_path: Path) -> None:
    source = str(Path(fedunlearn.store.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", READ_ONLY, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lock = tmp_path / "locks" / f"{STAGE}-{key_of(STAGE, {})}.lock"
    assert done.stdout.splitlines() == [
        "{'value': 1}",
        f"cannot write {lock}: read-only file system",
        f"cannot write to the store {tmp_path}/new: read-only file system",
    ]
