"""A reader that leaves (`| head -1`) ends what is only shown, and never a run; SIGTERM is said like Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fedunlearn.store import Artifact, Store
from tests import forked

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

TINY = ["data.limit=150", "partition.clients=3", "gates=warn", "unlearn.rounds=1", "retrain.seeds=1", "audit=quick"]
TINY += ["audit.ausuc=null", "store.dir=store", "output.dir=out", "report.figures=false"]


def to_nobody(folder: Path, program: str, *words: str) -> tuple[int, str]:
    """Exit status and stderr of a command whose standard output nobody reads any more."""
    done = forked.finished(forked.begun(f"fedunlearn.cli.{program}", words, folder, read=False), words, folder)
    return done.returncode, done.stderr


def wait_for(happened: Callable[[], object]) -> None:
    until = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.05)


def rounds_kept(store: Path) -> int:
    """The number of the newest whole checkpoint of the training; 0 if there is none."""
    return max((int(path.name) for path in store.glob("train/*.checkpoint/*") if path.name.isdigit()), default=0)


def test_a_reader_that_leaves_ends_what_is_only_shown(tmp_path: Path) -> None:
    Store(tmp_path / "store").get("train", {"number": 1}, lambda checkpoint: Artifact())
    failed = {"status": "failed", "reason": "the disk is on fire"}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "summary.json").write_text(json.dumps(failed))
    for command in (
        ["main", "--help"],
        ["main", "--cfg", "job"],
        ["report", "run"],
        ["report", "run", "--status"],
        ["store", "--store", "store", "list"],
    ):
        assert to_nobody(tmp_path, *command) == (-signal.SIGPIPE, ""), command


def test_so_does_the_installed_command(tmp_path: Path) -> None:
    """With what Python does by itself at the end of a process."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "fedunlearn", "--cfg", "job"], stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")


def test_a_run_goes_on_without_its_reader(tmp_path: Path) -> None:
    """Its results are in files; what it had to say is in its log."""
    assert to_nobody(tmp_path, "main", *TINY, "method=head_mask", "train.rounds=2") == (0, "")
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["status"] == "done"
    assert (tmp_path / "out" / "report.html").is_file()
    assert "unlearn: 0 rounds" in (tmp_path / "out" / "log.txt").read_text()


@pytest.mark.parametrize("sweep", [[], ["-m", "seed=0,1"]], ids=["a run", "a sweep"])
def test_sigterm_is_said_and_the_same_command_goes_on(tmp_path: Path, sweep: list[str]) -> None:
    words = [*sweep, *TINY, "method=head_mask"]
    command = [*words, "train.rounds=5000"]
    child = forked.begun("fedunlearn.cli.main", command, tmp_path)
    wait_for(lambda: rounds_kept(tmp_path / "store") >= 2)
    child.terminate()
    began = time.monotonic()
    done = forked.finished(child, command, tmp_path)
    assert time.monotonic() - began < 15
    assert done.returncode == 143, done.stderr
    lines = done.stderr.strip().splitlines()
    assert lines[0] == "Terminated. Finished rounds are kept; go on with", done.stderr
    assert lines[1:] == [f"  fedunlearn {' '.join(command)}"]
    assert not list(tmp_path.rglob("summary.json"))
    kept = rounds_kept(tmp_path / "store")
    assert kept >= 2
    child = forked.begun("fedunlearn.cli.main", command, tmp_path)
    wait_for(lambda: rounds_kept(tmp_path / "store") > kept)
    child.terminate()
    done = forked.finished(child, command, tmp_path)
    assert done.returncode == 143
    assert re.search(r"^train: going on after round [1-9]", done.stdout, re.MULTILINE)
