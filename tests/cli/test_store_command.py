import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from fedunlearn.cli import store as command
from fedunlearn.store import Artifact, Checkpoint, Store, folder, key_of
from fedunlearn.store.catalogue import differences, flatten

SLOW = {"train": {"lr": 0.05, "rounds": 30}, "data": "abc"}
FAST = {"train": {"lr": 0.1, "rounds": 30}, "data": "abc"}
OTHER = {"train": {"lr": 0.05, "rounds": 5, "momentum": 0.9}, "data": "xyz"}


def forgetting(original: dict[str, Any]) -> dict[str, Any]:
    return {"inputs": {"original": key_of("train", original)}, "request": {"classes": [0]}}


@pytest.fixture(scope="module", autouse=True)
def impatient() -> Iterator[None]:
    """No test here pulls a plug, and waiting for a busy disk thousands of times takes long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three artifacts of `train`, two of `unlearn`, one `retrain` that was interrupted."""
    store = Store(tmp_path)
    for determinants in (SLOW, FAST, OTHER):
        store.get("train", determinants, lambda checkpoint: Artifact({}, {"x": 1}))
    for original in (SLOW, FAST):
        store.get("unlearn", forgetting(original), lambda checkpoint: Artifact())
    with pytest.raises(KeyboardInterrupt):
        store.get("retrain", {}, interrupted)
    return tmp_path


def interrupted(checkpoint: Checkpoint) -> Artifact:
    checkpoint.save(Artifact())
    raise KeyboardInterrupt


class Cli:
    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self.capsys = root, capsys

    def __call__(self, *arguments: str, status: int = 0) -> str:
        """What the command prints; on failure, what it says on standard error."""
        assert command.main(["--store", str(self.root), *arguments]) == status
        printed = self.capsys.readouterr()
        assert (printed.err == "") == (status == 0 or bool(printed.out))
        return printed.err or printed.out


@pytest.fixture
def cli(root: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(root, capsys)


def rows(text: str) -> list[list[str]]:
    """Cells of a printed table, which are two spaces or more apart."""
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.splitlines()]


def age(folder: Path, days: float) -> None:
    then = (datetime.now(UTC) - timedelta(days=days)).timestamp()
    os.utime(folder, (then, then))


def test_list(cli: Cli, root: Path) -> None:
    header, *table, total = rows(cli("list"))
    assert header == ["stage", "key", "created", "seconds", "size", "state"]
    expected = [("retrain", key_of("retrain", {}), "unfinished")]
    expected += sorted(("train", key_of("train", d), "finished") for d in (SLOW, FAST, OTHER))
    expected += sorted(("unlearn", key_of("unlearn", forgetting(d)), "finished") for d in (SLOW, FAST))
    assert [(row[0], row[1], row[-1]) for row in table] == expected
    assert total[0].startswith(f"6 artifacts in {root}, ")


def test_list_shows_human_sizes_and_unreadable_manifests(root: Path, cli: Cli) -> None:
    Store(root).get("audit", {}, lambda checkpoint: Artifact({}, {"text": "x" * 2_000_000}))
    (root / "train" / key_of("train", SLOW) / "manifest.json").write_text("{")
    text = cli("list")
    assert [row[4] for row in rows(text) if row[0] == "audit"] == ["2.0 MB"]
    assert any(row[1] == key_of("train", SLOW) and row[-1].startswith("damaged: ") for row in rows(text))


def test_list_of_an_empty_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "0 artifacts in" in Cli(tmp_path, capsys)("list")


def test_show_takes_the_start_of_a_key(cli: Cli) -> None:
    key = key_of("train", OTHER)
    for start in (key, key[:6], f"train/{key[:6]}"):
        text = cli("show", start)
        assert f"train {key}, finished" in text
        assert ["train.momentum", "0.9"] in rows(text)
        assert ["data", '"xyz"'] in rows(text)
        assert {"tensors.safetensors", "data.json"} <= {row[0] for row in rows(text) if row}


def test_show_of_what_is_not_finished_or_damaged(cli: Cli, root: Path) -> None:
    assert "not finished" in cli("show", key_of("retrain", {}))
    manifest = root / "train" / key_of("train", SLOW) / "manifest.json"
    manifest.unlink()
    assert f"{manifest.parent} is damaged: manifest.json is missing" in cli("show", key_of("train", SLOW), status=2)


def test_explain_two_artifacts(cli: Cli) -> None:
    text = cli("explain", key_of("train", SLOW), key_of("train", OTHER))
    assert "3 differences" in text
    assert ["data", '"abc"', '"xyz"'] in rows(text)
    assert ["train.momentum", "(absent)", "0.9"] in rows(text)
    assert ["train.rounds", "30", "5"] in rows(text)
    assert "train.lr" not in text


def test_explain_takes_the_nearest_artifact_as_the_old_one(cli: Cli) -> None:
    text = cli("explain", key_of("train", FAST))
    assert f"train {key_of('train', SLOW)} → {key_of('train', FAST)}: 1 difference\n" in text
    assert ["train.lr", "0.05", "0.1"] in rows(text)


def test_explain_prefers_the_newest_of_equally_near_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, cli = Store(tmp_path), Cli(tmp_path, capsys)
    for number in (3, 7, 5, 1, 9):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(folder, "datetime", Clock(number))
            store.get("audit", {"number": number}, lambda checkpoint: Artifact())
    key = key_of("audit", {"number": 5})
    assert f"audit {key_of('audit', {'number': 9})} → {key}: 1 difference\n" in cli("explain", key)


class Clock:
    """Stands in for `datetime`: it is always the same day of January."""

    def __init__(self, day: int) -> None:
        self.day = day

    def now(self, zone: tzinfo) -> datetime:
        return datetime(2030, 1, self.day, tzinfo=zone)


def test_explain_follows_the_artifacts_that_it_was_made_from(cli: Cli) -> None:
    text = cli("explain", key_of("unlearn", forgetting(SLOW)), key_of("unlearn", forgetting(FAST)))
    assert ["inputs.original", f'"{key_of("train", SLOW)}"', f'"{key_of("train", FAST)}"'] in rows(text)
    assert ["train.lr", "0.05", "0.1"] in rows(text)


def test_explain_the_only_one(cli: Cli, root: Path) -> None:
    assert "is the only artifact of its stage" in cli("explain", key_of("retrain", {}))


def test_verify(cli: Cli, root: Path) -> None:
    assert cli("verify") == "5 of 5 artifacts are whole\n"
    damaged = root / "train" / key_of("train", FAST)
    (damaged / "data.json").write_bytes((damaged / "data.json").read_bytes().replace(b"1", b"2"))
    text = cli("verify", status=1)
    assert [str(damaged), "the checksum of data.json does not match"] in rows(text)
    assert "4 of 5 artifacts are whole" in text
    assert damaged.exists()


def test_verify_finds_artifacts_under_another_name(cli: Cli, root: Path) -> None:
    (root / "train" / key_of("train", FAST)).rename(root / "train" / ("0" * 24))
    assert f"it holds train {key_of('train', FAST)}" in cli("verify", status=1)


def everything(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if "locks" not in path.parts}


def test_prune_alone_removes_left_overs_only(cli: Cli, root: Path) -> None:
    before = everything(root)
    (root / "train" / f"{'0' * 24}.tmp-123").mkdir()
    (root / "train" / f"{key_of('train', SLOW)}.tmp-pruned").mkdir()
    (root / "train" / f"{key_of('train', SLOW)}.checkpoint" / "1").mkdir(parents=True)
    (root / "train" / "notes of somebody").mkdir()
    assert "would remove 3 folders" in cli("prune", "--dry-run")
    assert len(everything(root)) == len(before) + 5
    assert "removed 3 folders" in cli("prune")
    assert everything(root) == before | {"train/notes of somebody"}
    assert "removed 0 folders" in cli("prune")


def test_prune_by_stage(cli: Cli, root: Path) -> None:
    text = cli("prune", "--stage", "train", "--dry-run")
    assert "would remove 3 folders" in text and f"train/{key_of('train', SLOW)}" in text
    assert cli("verify").startswith("5 of 5")
    assert "removed 3 folders" in cli("prune", "--stage", "train")
    assert list((root / "train").iterdir()) == []
    assert cli("verify").startswith("2 of 2")
    assert "removed 1 folder," in cli("prune", "--stage", "retrain")


def test_prune_by_age(cli: Cli, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    age(root / "retrain" / f"{key_of('retrain', {})}.checkpoint", 3)
    assert "removed 1 folder," in cli("prune", "--older-than", "2")
    assert not list((root / "retrain").iterdir())
    for entry in (root / "train").iterdir():  # what counts is the manifest, not a copy's time
        age(entry, 30)
    assert "removed 0 folders" in cli("prune", "--older-than", "2")
    assert "removed 2 folders" in cli("prune", "--older-than", "0", "--stage", "unlearn")
    assert "removed 3 folders" in cli("prune", "--older-than", "0")


def test_prune_what_was_set_aside(cli: Cli, root: Path) -> None:
    for determinants in (SLOW, FAST):
        (root / "train" / key_of("train", determinants) / "data.json").write_text("")
        Store(root, lambda message: None).get("train", determinants, lambda checkpoint: Artifact())
    (root / "damaged" / "notes").mkdir()
    first, second = (root / "damaged" / f"train-{key_of('train', d)}-1" for d in (SLOW, FAST))
    assert first.exists() and second.exists()
    assert "removed 0 folders" in cli("prune")
    assert "removed 0 folders" in cli("prune", "--damaged", "--stage", "unlearn")
    assert "removed 0 folders" in cli("prune", "--damaged", "--older-than", "1")
    assert "removed 2 folders" in cli("prune", "--damaged")
    assert [path.name for path in (root / "damaged").iterdir()] == ["notes"]
    assert cli("verify").startswith("5 of 5")


def test_prune_leaves_alone_what_is_being_computed(cli: Cli, root: Path) -> None:
    key = key_of("retrain", {})
    with FileLock(root / "locks" / f"retrain-{key}.lock"):
        text = cli("prune", "--stage", "retrain")
        assert "removed 0 folders" in text
        assert f"retrain {key} was left alone: it is being computed" in text
    assert "removed 1 folder," in cli("prune", "--stage", "retrain")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("show", "zz"), "no key in .* starts with 'zz'"),
        (("show", ""), "no key in .* starts with ''"),
        (("show", "unlearn/"), "no key in .* starts with 'unlearn/'"),
        (
            ("explain", key_of("train", SLOW), key_of("unlearn", forgetting(SLOW))),
            "is of stage train and .* not compar",
        ),
        (("prune", "--stage", "trian"), "there is no stage called 'trian': .* did you mean train"),
        (("prune", "--older-than", "soon"), "--older-than: takes a number of days, at least 0, not 'soon'"),
        (("prune", "--older-than", "-1"), "takes a number of days|expected one argument"),
        (("prune", "--older-than", "nan"), "takes a number of days"),
        (("lst",), "invalid choice: 'lst'"),
        ((), "COMMAND"),
    ],
)
def test_bad_requests_are_one_sentence(cli: Cli, arguments: tuple[str, ...], sentence: str) -> None:
    printed = cli(*arguments, status=2)
    assert printed.startswith("fedunlearn-store: ") and printed.count("\n") == 1
    assert re.search(sentence, printed)


def test_a_start_of_several_keys(cli: Cli, root: Path) -> None:
    for number in range(17):  # of 17 keys two start alike
        Store(root).get("audit", {"number": number}, lambda checkpoint: Artifact())
    keys = [key_of("audit", {"number": number}) for number in range(17)]
    start = next(key[0] for key in keys if sum(other[0] == key[0] for other in keys) > 1)
    assert "is the start of" in cli("show", f"audit/{start}", status=2)


def test_no_store_is_made_by_looking(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "nothing"
    assert f"there is no store at {missing}\n" in Cli(missing, capsys)("list", status=2)
    assert not missing.exists()


def test_differences_tell_types_apart() -> None:
    old = {"a": 1, "b": 1, "c": "1", "d": None, "e": [1, 2], "f": {}, "g": {"h": 0}, "same": {"x": [0.1]}}
    new = {"a": 1.0, "b": True, "c": 1, "e": [1, 2, 3], "f": {"k": 1}, "g": 0, "same": {"x": [0.1]}}
    assert differences(old, new) == [
        ("a", "1", "1.0"),
        ("b", "1", "true"),
        ("c", '"1"', "1"),
        ("d", "null", "(absent)"),
        ("e", "[1, 2]", "[1, 2, 3]"),
        ("f", "{}", "(absent)"),
        ("f.k", "(absent)", "1"),
        ("g", "(absent)", "0"),
        ("g.h", "0", "(absent)"),
    ]
    assert differences(old, old) == []


def test_flatten_opens_lists_of_mappings() -> None:
    assert flatten({"a": [{"b": 1}, {"b": 2}]}) == {"a[0].b": "1", "a[1].b": "2"}
    assert flatten({}) == {}


def test_as_a_program_it_does_not_import_torch(root: Path) -> None:
    script = "import sys; from fedunlearn.cli.store import main; main(); sys.exit('torch' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", script, "--store", str(root), "list"],
        env={**os.environ, "PYTHONPATH": str(Path(command.__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert key_of("train", SLOW) in result.stdout


@pytest.mark.parametrize("after", [False, True])
def test_the_store_is_named_before_or_after_the_command(root: Path, after: bool, capsys: Any) -> None:
    where = ["--store", str(root)]
    assert command.main(["list", *where] if after else [*where, "list"]) == 0
    assert f"6 artifacts in {root}" in capsys.readouterr().out
