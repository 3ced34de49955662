import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
import struct
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from fedunlearn.errors import RequestError, RunError
from fedunlearn.store import Artifact, Checkpoint, Store, Stored, key_of

FILES = ("manifest.json", "tensors.safetensors", "data.json")
DETERMINANTS = {"train": {"lr": 0.1, "rounds": 3}, "data": "abc"}

plain_data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module", autouse=True)
def impatient() -> Iterator[None]:
    """No test here pulls a plug, and waiting for a busy disk thousands of times takes long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, said: list[str]) -> Store:
    return Store(tmp_path, said.append)


def weights() -> dict[str, torch.Tensor]:
    return {"w": torch.arange(6.0).reshape(2, 3), "steps": torch.tensor(7)}


def make(value: int = 1) -> Callable[[Checkpoint], Artifact]:
    return lambda checkpoint: Artifact(weights(), {"value": value})


def forbidden(checkpoint: Checkpoint) -> Artifact:
    raise AssertionError("computed although it is in the store")


def folder_of(root: Path, stage: str = "train", determinants: dict[str, Any] = DETERMINANTS) -> Path:
    return root / stage / key_of(stage, determinants)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def left_behind(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if ".tmp-" in path.name]


# Keys


def test_key_is_the_hash_of_canonical_json() -> None:
    text = '{"determinants":{"a":[1,2.5],"b":{"c":null,"d":"\\u00e9"}},"stage":"train"}'
    expected = hashlib.sha256(text.encode()).hexdigest()[:24]
    assert key_of("train", {"b": {"d": "é", "c": None}, "a": (1, 2.5)}) == expected


def test_values_that_look_alike_have_different_keys() -> None:
    looks = [1, 1.0, "1", True, [1], None, "None", 0, 0.0, -0.0, False, "", {}, [], math.nextafter(1, 2)]
    assert len({key_of("train", {"x": look}) for look in looks}) == len(looks)
    assert key_of("train", {}) != key_of("retrain", {})


def test_what_is_the_same_in_json_has_the_same_key() -> None:
    assert key_of("s", {"x": (1, (2,))}) == key_of("s", {"x": [1, [2]]})
    assert key_of("s", {"x": np.int64(3), "y": np.float64(0.1)}) == key_of("s", {"x": 3, "y": 0.1})


@given(st.dictionaries(st.text(), plain_data, min_size=1, max_size=4))
def test_order_of_mapping_keys_is_irrelevant(determinants: dict[str, Any]) -> None:
    assert key_of("s", dict(reversed(determinants.items()))) == key_of("s", determinants)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": {"b": {1: 2}}}, r"determinants\.a\.b has the key 1"),
        ({"a": [0, {1, 2}]}, r"determinants\.a\[1\] is a set"),
        ({"a": np.zeros(2)}, r"determinants\.a is a ndarray"),
        ({"a": Path()}, r"determinants\.a is a PosixPath|WindowsPath"),
    ],
)
def test_only_plain_data_makes_a_key(value: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        key_of("train", value)


@pytest.mark.parametrize("stage", ["", "damaged", "locks", "a/b", "..", ".hidden", "two words"])
def test_stage_names_are_folder_names(store: Store, stage: str) -> None:
    with pytest.raises(ValueError, match="a stage cannot be called"):
        store.get(stage, {}, make())


# What goes in comes out


def test_a_stage_is_computed_once_and_then_found(store: Store, tmp_path: Path) -> None:
    first = store.get("train", DETERMINANTS, make())
    second = Store(tmp_path).get("train", dict(reversed(DETERMINANTS.items())), forbidden)
    assert (first.cached, second.cached) == (False, True)
    assert first.key == second.key == key_of("train", DETERMINANTS)
    for stored in (first, second):
        assert stored.data == {"value": 1}
        assert list(stored.tensors) == ["w", "steps"]
        assert torch.equal(stored.tensors["w"], weights()["w"])
        assert stored.tensors["steps"].item() == 7
    assert store.get("train", {**DETERMINANTS, "data": "abd"}, make(2)).data == {"value": 2}


def test_layout_can_be_read_by_a_person(store: Store, tmp_path: Path) -> None:
    store.get("train", DETERMINANTS, make())
    folder = folder_of(tmp_path)
    assert {path.name for path in folder.iterdir()} == set(FILES)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["stage"], manifest["key"]) == ("train", folder.name)
    assert manifest["determinants"] == DETERMINANTS
    assert manifest["tensors"] == {"w": "float32 [2, 3]", "steps": "int64 []"}
    for name in FILES[1:]:
        content = (folder / name).read_bytes()
        assert manifest["files"][name] == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert set(manifest["versions"]) == {"fedunlearn", "torch", "python"}
    assert names(tmp_path) == ["locks", "train"]


def awkward_tensors() -> dict[str, torch.Tensor]:
    base = torch.arange(24.0).reshape(4, 6)
    return {
        "transposed": base.t(),
        "whole": base,
        "same again": base,
        "part": base[1:, ::2],
        "expanded": torch.ones(1).expand(5),
        "parameter": torch.nn.Parameter(base),
        "channels_last": torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "conjugate": torch.view_as_complex(base.reshape(12, 2)).conj(),
        "negative": torch.view_as_complex(base.reshape(12, 2)).conj().imag,
        "one negative": torch.view_as_complex(torch.tensor([[1.0, 2.0]])).conj().imag,
        "empty": torch.zeros(0, 3),
        "number": torch.tensor(2.5, dtype=torch.float64),
        "integers": torch.tensor([[-(2**62)]]),
        "flags": torch.tensor([True, False]),
        "bytes": torch.tensor([0, 255], dtype=torch.uint8),
        "half": torch.tensor([1.5, -0.0]).bfloat16(),
        "odd values": torch.tensor([math.nan, math.inf, -0.0, 1e-45]),
    }


@pytest.mark.parametrize("cached", [False, True])
def test_tensors_of_all_kinds_come_back_independent(store: Store, cached: bool) -> None:
    given = awkward_tensors()
    for _ in range(2 if cached else 1):
        stored = store.get("train", {}, lambda checkpoint: Artifact(given))
    assert stored.cached is cached
    assert list(stored.tensors) == list(given)
    for name, tensor in stored.tensors.items():
        assert tensor.dtype == given[name].dtype, name
        assert torch.equal(tensor.nan_to_num(9), given[name].detach().nan_to_num(9)), name
        assert tensor.is_contiguous() and not tensor.requires_grad and tensor.device.type == "cpu", name
    stored.tensors["whole"].add_(1)
    assert torch.equal(stored.tensors["same again"], given["whole"])


def test_what_cannot_be_kept_is_named(store: Store) -> None:
    with pytest.raises(ValueError, match="__metadata__"):
        store.get("train", {}, lambda checkpoint: Artifact({"__metadata__": torch.ones(1)}))
    with pytest.raises(TypeError, match=r"data\.scores\[0\] is a Tensor"):
        store.get("train", {}, lambda checkpoint: Artifact({}, {"scores": [torch.ones(2)]}))


def bits(value: Any) -> Any:
    """Equal exactly where two values are the same, the sign of zero and NaN included."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else struct.pack(">d", value)
    if isinstance(value, dict):
        return [(key, bits(item)) for key, item in value.items()]
    return [bits(item) for item in value] if isinstance(value, list) else (type(value), value)


@settings(max_examples=60)
@given(st.dictionaries(st.text(), plain_data, max_size=3))
def test_data_comes_back_exactly(tmp_path_factory: pytest.TempPathFactory, data: dict[str, Any]) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    computed = store.get("audit", {}, lambda checkpoint: Artifact({}, data))
    found = store.get("audit", {}, forbidden)
    assert bits(computed.data) == bits(found.data) == bits(data)


def test_numbers_of_numpy_and_tuples_become_plain(store: Store) -> None:
    data = {"a": np.float32(0.5), "b": (np.int64(2), torch.tensor(3)), "c": np.bool_(True)}
    assert bits(store.get("audit", {}, lambda checkpoint: Artifact({}, data)).data) == bits(
        {"a": 0.5, "b": [2, 3], "c": True}
    )


def test_peek_neither_computes_nor_waits(store: Store, tmp_path: Path, said: list[str]) -> None:
    assert store.peek("train", DETERMINANTS) is None
    with FileLock(tmp_path / "locks" / f"train-{key_of('train', DETERMINANTS)}.lock"):
        assert store.peek("train", DETERMINANTS) is None
    store.get("train", DETERMINANTS, make())
    found = store.peek("train", DETERMINANTS)
    assert found is not None and found.cached and found.data == {"value": 1}
    (folder_of(tmp_path) / "data.json").write_text("{}")
    assert store.peek("train", DETERMINANTS) is None
    assert len(said) == 1 and str(folder_of(tmp_path)) in said[0]
    assert folder_of(tmp_path).exists()


# Damage


def flip(path: Path, position: float = 0.5, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[int(position * len(content))] ^= 1 << bit
    path.write_bytes(content)


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "extended": lambda path: path.write_bytes(path.read_bytes() + b"\n"),
    "emptied": lambda path: path.write_bytes(b""),
    "removed": Path.unlink,
    "not json": lambda path: path.write_text("{"),
    "other json": lambda path: path.write_text("[1]"),
    "not text": lambda path: path.write_bytes(b"\xff\xfe"),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "a folder": replace_by_folder,
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_found_set_aside_and_repaired(
    store: Store, tmp_path: Path, said: list[str], name: str, kind: str
) -> None:
    key = store.get("train", DETERMINANTS, make()).key
    DAMAGE[kind](folder_of(tmp_path) / name)
    again = store.get("train", DETERMINANTS, make(2))
    assert again.data == {"value": 2} and not again.cached
    assert (tmp_path / "damaged" / f"train-{key}-1").is_dir()
    assert len(said) == 1 and str(folder_of(tmp_path)) in said[0] and name in said[0]
    assert store.get("train", DETERMINANTS, forbidden).data == {"value": 2}


@settings(max_examples=80)
@given(name=st.sampled_from(FILES), position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_flipped_bit_is_found(
    tmp_path_factory: pytest.TempPathFactory, name: str, position: float, bit: int
) -> None:
    root = tmp_path_factory.mktemp("store")
    store = Store(root, lambda message: None)
    store.get("train", DETERMINANTS, make())
    flip(folder_of(root) / name, position, bit)
    assert not store.get("train", DETERMINANTS, make()).cached
    assert len(list((root / "damaged").iterdir())) == 1


def test_damage_is_described(store: Store, tmp_path: Path, said: list[str]) -> None:
    tensors = folder_of(tmp_path) / "tensors.safetensors"
    for damage in (DAMAGE["truncated"], flip, DAMAGE["removed"], replace_by_folder):
        store.get("train", DETERMINANTS, make())
        size = tensors.stat().st_size
        damage(tensors)
    store.get("train", DETERMINANTS, make())
    assert [message.split(": ")[1].split(";")[0] for message in said] == [
        f"tensors.safetensors has {size - 1} bytes instead of {size}",
        "the checksum of tensors.safetensors does not match",
        "tensors.safetensors is missing",
        "tensors.safetensors cannot be read (is a directory)",
    ]


def test_damaged_artifacts_are_numbered(store: Store, tmp_path: Path) -> None:
    for _ in range(3):
        key = store.get("train", DETERMINANTS, make()).key
        flip(folder_of(tmp_path) / "data.json")
    store.get("train", DETERMINANTS, make())
    assert names(tmp_path / "damaged") == [f"train-{key}-{n}" for n in (1, 2, 3)]


def test_an_artifact_under_another_key_is_not_believed(store: Store, tmp_path: Path, said: list[str]) -> None:
    store.get("train", DETERMINANTS, make())
    shutil.copytree(folder_of(tmp_path), folder_of(tmp_path, "train", {"other": 1}))
    assert store.get("train", {"other": 1}, make(5)).data == {"value": 5}
    assert "it holds train" in said[0]


def test_a_file_that_must_not_be_read_is_not_damage(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.get("train", DETERMINANTS, make())

    def refuse(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(RunError, match=r"cannot read .*manifest\.json: permission denied"):
        store.get("train", DETERMINANTS, forbidden)
    assert folder_of(tmp_path).exists()


# Checkpoints


def test_a_computation_resumes_from_its_checkpoint(store: Store, tmp_path: Path) -> None:
    rounds: list[int] = []

    def compute(checkpoint: Checkpoint, stop_after: int) -> Artifact:
        begun = checkpoint.load()
        state, done = (begun.tensors["w"], begun.data["done"]) if begun else (torch.zeros(2), 0)
        for number in range(done + 1, 6):
            rounds.append(number)
            state = state + number
            checkpoint.save(Artifact({"w": state}, {"done": number}))
            if number == stop_after:
                raise KeyboardInterrupt
        return Artifact({"w": state})

    for stop in (2, 4):
        with pytest.raises(KeyboardInterrupt):
            store.get("train", DETERMINANTS, partial(compute, stop_after=stop))
        assert not folder_of(tmp_path).exists()
        assert names(tmp_path / "train" / f"{folder_of(tmp_path).name}.checkpoint") == [str(stop)]
        assert store.peek("train", DETERMINANTS) is None
    stored = store.get("train", DETERMINANTS, partial(compute, stop_after=0))
    assert rounds == [1, 2, 3, 4, 5]
    assert stored.tensors["w"].tolist() == [15.0, 15.0]
    assert names(tmp_path / "train") == [folder_of(tmp_path).name]


def test_seconds_count_the_time_before_an_interruption(store: Store, tmp_path: Path) -> None:
    def begin(checkpoint: Checkpoint) -> Artifact:
        time.sleep(0.2)
        checkpoint.save(Artifact())
        raise KeyboardInterrupt

    def finish(checkpoint: Checkpoint) -> Artifact:
        checkpoint.load()
        return Artifact()

    with pytest.raises(KeyboardInterrupt):
        store.get("train", DETERMINANTS, begin)
    store.get("train", DETERMINANTS, finish)
    assert 0.2 <= json.loads((folder_of(tmp_path) / "manifest.json").read_text())["seconds"] < 2


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_checkpoint_is_passed_over(
    store: Store, tmp_path: Path, said: list[str], name: str, kind: str
) -> None:
    def compute(checkpoint: Checkpoint) -> Artifact:
        checkpoint.save(Artifact(weights(), {"done": 1}))
        DAMAGE[kind](next(tmp_path.rglob("1")) / name)
        assert checkpoint.load() is None
        checkpoint.save(Artifact(weights(), {"done": 2}))
        begun = checkpoint.load()
        assert begun is not None and begun.data == {"done": 2}
        return Artifact()

    store.get("train", DETERMINANTS, compute)
    assert len(said) == 1 and "checkpoint" in said[0] and name in said[0]


def test_of_two_checkpoints_the_newest_whole_one_counts(store: Store, tmp_path: Path) -> None:
    def compute(checkpoint: Checkpoint) -> Artifact:
        with pytest.MonkeyPatch.context() as patch:  # as if killed before the older one was removed
            patch.setattr(shutil, "rmtree", lambda *args, **kwargs: None)
            for number in range(1, 12):
                checkpoint.save(Artifact({}, {"done": number}))
        assert checkpoint.load() == Artifact({}, {"done": 11})
        flip(next(tmp_path.rglob("11")) / "data.json")
        assert checkpoint.load() == Artifact({}, {"done": 10})
        return Artifact()

    store.get("train", DETERMINANTS, compute)


def test_an_interrupted_save_leaves_the_checkpoint_before(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def compute(checkpoint: Checkpoint) -> Artifact:
        checkpoint.save(Artifact({}, {"done": 1}))
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Path, "rename", interrupt)
            checkpoint.save(Artifact({}, {"done": 2}))
        begun = checkpoint.load()
        assert begun is not None and begun.data == {"done": 1}
        return Artifact()

    store.get("train", DETERMINANTS, compute)


def interrupt(*args: object) -> None:
    raise KeyboardInterrupt


def test_ctrl_c_while_writing_leaves_nothing(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "fsync", interrupt)
        store.get("train", DETERMINANTS, make())
    assert names(tmp_path / "train") == []
    assert store.get("train", DETERMINANTS, make()).data == {"value": 1}


def test_what_a_dead_process_began_to_write_goes_when_the_stage_is_computed(store: Store, tmp_path: Path) -> None:
    for pid in (1, os.getpid()):
        half = folder_of(tmp_path).with_name(f"{folder_of(tmp_path).name}.tmp-{pid}")
        half.mkdir(parents=True)
        (half / "data.json").write_text("{")
    other = tmp_path / "train" / "0123456789abcdef01234567.tmp-1"
    other.mkdir()
    store.get("train", DETERMINANTS, make())
    assert left_behind(tmp_path) == [other]


# Disks


@contextlib.contextmanager
def failing(number: int, patch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The operating system refuses the write with that number; yields the names of the writes that were asked for."""
    asked: list[str] = []

    def failing_version(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if name == "open" and args[1:] != ("xb",):
                return real(*args, **kwargs)
            if name == "mkdir" and ".tmp-" not in args[0].name:  # the lock's own
                return real(*args, **kwargs)
            asked.append(name)
            if len(asked) == number:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*args, **kwargs)

        return call

    with patch.context() as here:
        for owner, name in [(os, "fsync"), (Path, "rename"), (Path, "mkdir"), (Path, "open")]:
            here.setattr(owner, name, failing_version(name, getattr(owner, name)))
        yield asked


WRITES = ["mkdir", *["open", "fsync"] * 3, "fsync", "rename", "fsync"]


@pytest.mark.parametrize("number", range(1, len(WRITES) + 1))
def test_a_full_disk_at_any_write_is_one_sentence_and_leaves_no_trace(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    store.get("train", {"before": 1}, make(9))
    with failing(number, monkeypatch) as asked, pytest.raises(RunError) as caught:
        store.get("train", DETERMINANTS, make())
    assert asked == WRITES[:number]
    assert str(caught.value) == f"cannot write {folder_of(tmp_path)}: no space left on device"
    assert left_behind(tmp_path) == []
    assert store.get("train", {"before": 1}, forbidden).data == {"value": 9}
    assert store.get("train", DETERMINANTS, make()).data == {"value": 1}


def test_every_write_is_among_those_that_were_made_to_fail(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.get("train", {"before": 1}, make(9))
    with failing(len(WRITES) + 1, monkeypatch) as asked:
        store.get("train", DETERMINANTS, make())
    assert asked == WRITES


def test_a_full_disk_at_a_checkpoint(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def compute(checkpoint: Checkpoint) -> Artifact:
        checkpoint.save(Artifact({}, {"done": 1}))
        with failing(3, monkeypatch):
            checkpoint.save(Artifact({}, {"done": 2}))
        raise AssertionError

    with pytest.raises(RunError, match=r"cannot write .*\.checkpoint.2: no space left on device$"):
        store.get("train", DETERMINANTS, compute)
    assert left_behind(tmp_path) == []
    store.get("train", DETERMINANTS, lambda checkpoint: Artifact({}, checkpoint.load().data))  # type: ignore[union-attr]
    assert store.get("train", DETERMINANTS, forbidden).data == {"done": 1}


def test_a_lock_that_cannot_be_made(store: Store, tmp_path: Path) -> None:
    (tmp_path / "locks").write_text("in the way")
    with pytest.raises(RunError, match=r"cannot write .*\.lock: "):
        store.get("train", DETERMINANTS, make())


def test_damage_that_cannot_be_set_aside(store: Store, tmp_path: Path) -> None:
    store.get("train", DETERMINANTS, make())
    flip(folder_of(tmp_path) / "data.json")
    (tmp_path / "damaged").write_text("in the way")
    with pytest.raises(RunError, match=r"cannot write .*damaged"):
        store.get("train", DETERMINANTS, make())
    assert folder_of(tmp_path).exists()


def test_a_root_that_can_be_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "store"):
        with pytest.raises(RequestError, match=f"cannot write to the store {root}: "):
            Store(root)
    Store(tmp_path / "new" / "store")


# Threads


def test_threads_wait_for_each_other(store: Store, said: list[str]) -> None:
    computed: list[int] = []
    results: list[Stored] = []

    def compute(checkpoint: Checkpoint) -> Artifact:
        computed.append(1)
        time.sleep(1.3)
        return Artifact({}, {"value": 3})

    threads = [
        threading.Thread(target=lambda: results.append(store.get("train", DETERMINANTS, compute))) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(computed) == 1
    assert sorted(stored.cached for stored in results) == [False, True, True, True, True]
    assert all(stored.data == {"value": 3} for stored in results)
    assert len(said) == 4 and all(message.startswith("waiting for train") for message in said)


def test_a_short_wait_is_not_mentioned_and_other_keys_do_not_wait(store: Store, said: list[str]) -> None:
    entered, leave = threading.Event(), threading.Event()

    def slow(checkpoint: Checkpoint) -> Artifact:
        entered.set()
        leave.wait(10)
        return Artifact()

    thread = threading.Thread(target=store.get, args=("train", DETERMINANTS, slow))
    thread.start()
    entered.wait(10)
    assert store.get("train", {"other": 1}, make()).data == {"value": 1}
    threading.Timer(0.2, leave.set).start()
    assert store.get("train", DETERMINANTS, forbidden).cached
    thread.join()
    assert said == []


def test_a_failed_computation_releases_the_lock(store: Store) -> None:
    def fail(checkpoint: Checkpoint) -> Artifact:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.get("train", DETERMINANTS, fail)
    thread = threading.Thread(target=store.get, args=("train", DETERMINANTS, make()))
    thread.start()
    thread.join(5)
    assert not thread.is_alive()


def test_a_stage_may_ask_for_another(store: Store) -> None:
    def outer(checkpoint: Checkpoint) -> Artifact:
        inner = store.get("train", DETERMINANTS, make(4))
        return Artifact({}, {"outer": inner.data["value"]})

    assert store.get("unlearn", DETERMINANTS, outer).data == {"outer": 4}
