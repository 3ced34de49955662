"""What lies in a run's folder stays whole until what replaces it is, whenever the process is killed."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from fedunlearn.cli import command_line, main
from fedunlearn.errors import RequestError
from fedunlearn.runs import folders
from fedunlearn.settings.config import OutputConfig, RunConfig

CHANGES = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir")
OLD = [
    "summary.json",
    "metrics.jsonl",
    "config.yaml",
    "report.html",
    "figures/a.png",
    "figures/b.png",
    "exhibits/x.json",
]
NEW = ["summary.json", "metrics.jsonl", "config.yaml", "environment.json", "figures/a.png", "figures/c.png"]


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return command_line.read(["method=finetune", "audit=quick"], main.conf_dir())


def fill(folder: Path, names: list[str], text: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "summary.json").write_text(json.dumps({"status": "done", "by": text}))


def content(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(".tmp")
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fill(tmp_path / "run", OLD, "old")
    (tmp_path / "run" / "log.txt").write_text("said")
    fill(tmp_path / "run" / ".new", NEW, "new")
    return tmp_path / "run"


EXPECTED = {**dict.fromkeys(NEW, "new"), "summary.json": '{"status": "done", "by": "new"}', "log.txt": "said"}


def test_the_complete_run_takes_the_place_of_the_old_one_with_all_its_files(folder: Path) -> None:
    folders.publish(folder)
    assert content(folder) == EXPECTED
    assert not (folder / ".new").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_killed_at_any_moment_the_next_one_goes_on(folder: Path, tmp_path: Path) -> None:
    """SIGKILL before the first, second, … change to the folder, until one comes through."""
    survivors = set()
    for number in range(1, 200):
        fill(folder / ".new", NEW, "new")
        fill(folder, OLD, "old")
        if not killed(folder, number):
            break
        survivors.add(folders.summary_in(folder)["by"])  # it can be read at any time
        kept = content(folder)
        assert all(kept[name] in ("old", "new") for name in ("metrics.jsonl", "config.yaml", "figures/a.png"))
        folders.settle(folder)
        assert content(folder) == EXPECTED, f"killed at change {number}"
    assert number > len(NEW) and survivors == {"old", "new"}
    assert content(folder) == EXPECTED


def killed(folder: Path, number: int) -> bool:
    """Publish in a child that is killed just before its change `number`; did it come to that?"""
    child = os.fork()
    if child == 0:
        left = [number]

        def about_to(event: str, arguments: tuple) -> None:
            if event not in CHANGES or not isinstance(arguments[0], (str, Path)):
                return
            if event != "open" or re.search("[wxa+]", str(arguments[1] or "")):
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(about_to)
        folders.publish(folder)
        os._exit(0)
    return os.waitpid(child, 0)[1] != 0


def test_what_was_left_incomplete_is_removed(folder: Path) -> None:
    (folder / ".new" / "summary.json").unlink()
    before = {name: text for name, text in content(folder).items() if not name.startswith(".new")}
    folders.settle(folder)
    assert content(folder) == before and not (folder / ".new").exists()


def saved(folder: Path, run: RunConfig, **more: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "environment.json").write_text("{}")
    (folder / "summary.json").write_text(json.dumps({"status": "done", **{"config": run.as_dict(), **more}}))
    return folder


def test_the_refusal_names_what_differs(tmp_path: Path, config: RunConfig) -> None:
    run = saved(tmp_path / "run", config)
    folders.check(run, config)
    folders.check(run, replace(config, output=OutputConfig("elsewhere")))
    other = replace(config, seed=3, train=replace(config.train, rounds=7))
    with pytest.raises(RequestError, match=r"another configuration \(seed: 0 → 3, train.rounds: 30 → 7\): .*overwrite"):
        folders.check(run, other)
    folders.check(run, replace(other, output=OutputConfig(str(run), overwrite=True)))
    folders.check(saved(run, config, status="failed"), other)
    folders.check(tmp_path / "nothing", other)


def test_of_another_method_the_name_says_enough_and_long_lists_are_cut(tmp_path: Path, config: RunConfig) -> None:
    run = saved(tmp_path / "run", config)
    fucrt = command_line.read(["method=fucrt", "audit=quick"], main.conf_dir())
    assert folders.changes(config.as_dict(), fucrt) == ['method: "finetune" → "fucrt"']
    other = command_line.read(["audit=default", "seed=1"], main.conf_dir())
    with pytest.raises(RequestError, match=r" and \d+ more differences\)"):
        folders.check(run, other)


@pytest.mark.parametrize("found", [None, [1], {"method": 3}, {"seed": {}, "data": 7}])
def test_a_summary_of_unknown_make_is_another_configuration(tmp_path: Path, config: RunConfig, found: object) -> None:
    run = saved(tmp_path / "run", config, config=found)
    with pytest.raises(RequestError, match="another configuration"):
        folders.check(run, config)


def test_a_sweep_and_runs_that_are_not_its_own(tmp_path: Path, config: RunConfig) -> None:
    own, other = saved(tmp_path / "0_a", config), saved(tmp_path / "deep" / "1_b", config)
    saved(tmp_path / ".replaced-before" / "2_c", config)
    assert folders.strangers(tmp_path, {own}) == [other]
    with pytest.raises(RequestError, match=r"holds 1 run that this sweep does not have \(deep/1_b\)"):
        folders.check_sweep(tmp_path, [(own, config)])
    folders.check_sweep(tmp_path, [(own, config), (other, None)])
    with pytest.raises(RequestError, match=r"0_a holds the finished run of another configuration \(seed: 0 → 1\)"):
        folders.check_sweep(tmp_path, [(own, replace(config, seed=1)), (other, config)])


def test_runs_that_are_put_aside_are_kept(tmp_path: Path, config: RunConfig) -> None:
    own, other = saved(tmp_path / "0_a", config), saved(tmp_path / "1_b", config)
    (tmp_path / "sweep.json").write_text("{}")
    saved(other / "inner", config)
    saved(tmp_path, config)
    aside = folders.set_aside(tmp_path, {own})
    assert aside and aside.parent == tmp_path and aside.name.startswith(".replaced-")
    assert {path.name for path in tmp_path.iterdir()} - {".lock"} == {"0_a", aside.name}
    for kept in ("sweep.json", "summary.json", "environment.json", "1_b/summary.json", "1_b/inner/summary.json"):
        assert (aside / kept).is_file()
    assert folders.set_aside(tmp_path, {own}) is None


def test_a_run_that_goes_on_is_not_put_aside(tmp_path: Path, config: RunConfig) -> None:
    other = saved(tmp_path / "1_b", config)
    with FileLock(other / ".lock"), pytest.raises(RequestError, match="is working in"):
        folders.set_aside(tmp_path, set())
    assert (other / "summary.json").is_file()


def test_what_an_earlier_attempt_drew_goes_with_its_folders_and_nothing_that_a_link_leads_to(tmp_path: Path) -> None:
    work, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    for name in ("run/figures/a.svg", "run/figures/narrow/a.svg", "run/log.txt", "elsewhere/kept"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (work / "figures" / "link").symlink_to(elsewhere)
    folders.clear(work)
    assert list((work / "figures").iterdir()) == []
    assert (work / "log.txt").exists() and (elsewhere / "kept").exists()
