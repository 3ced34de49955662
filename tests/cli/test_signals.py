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

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

TINY = ["data.limit=150", "partition.clients=3", "gates=warn", "unlearn.rounds=1", "retrain.seeds=1", "audit=quick"]
TINY += ["audit.ausuc=null", "store.dir=store", "output.dir=out", "report.figures=false"]
START = {
    "fedunlearn": "from fedunlearn.cli.main import main",
    "fedunlearn-report": "from fedunlearn.cli.report import main",
    "fedunlearn-store": "from fedunlearn.cli.store import main",
}


def start(folder: Path, program: str, *words: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
    """The installed command, as a process of its own in `folder`."""
    return subprocess.Popen(
        [sys.executable, "-c", f"import sys; {START[program]}; sys.exit(main())", *words],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
        text=True,
        stdout=stdout,
        stderr=subprocess.PIPE,
    )


def to_nobody(folder: Path, program: str, *words: str) -> tuple[int, str]:
    """Exit status and stderr of a command whose standard output nobody reads any more."""
    reading, writing = os.pipe()
    os.close(reading)
    with start(folder, program, *words, stdout=writing) as process:
        os.close(writing)
        said = process.communicate(timeout=200)[1]
    return process.returncode, said


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
        ["fedunlearn", "--help"],
        ["fedunlearn", "--cfg", "job"],
        ["fedunlearn-report", "run"],
        ["fedunlearn-report", "run", "--status"],
        ["fedunlearn-store", "--store", "store", "list"],
    ):
        assert to_nobody(tmp_path, *command) == (-signal.SIGPIPE, ""), command


def test_a_run_goes_on_without_its_reader(tmp_path: Path) -> None:
    """Its results are in files; what it had to say is in its log."""
    assert to_nobody(tmp_path, "fedunlearn", *TINY, "method=head_mask", "train.rounds=2") == (0, "")
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["status"] == "done"
    assert (tmp_path / "out" / "report.html").is_file()
    assert "unlearn: 0 rounds" in (tmp_path / "out" / "log.txt").read_text()


@pytest.mark.parametrize("sweep", [[], ["-m", "seed=0,1"]], ids=["a run", "a sweep"])
def test_sigterm_is_said_and_the_same_command_goes_on(tmp_path: Path, sweep: list[str]) -> None:
    words = [*sweep, *TINY, "method=head_mask"]
    with start(tmp_path, "fedunlearn", *words, "train.rounds=5000") as process:
        wait_for(lambda: rounds_kept(tmp_path / "store") >= 2)
        process.terminate()
        began = time.monotonic()
        _, said = process.communicate(timeout=60)
    assert time.monotonic() - began < 15
    assert process.returncode == 143, said
    lines = said.strip().splitlines()
    assert lines[0] == "Terminated. Finished rounds are kept; go on with", said
    assert lines[1:] == [f"  fedunlearn {' '.join([*words, 'train.rounds=5000'])}"]
    assert not list(tmp_path.rglob("summary.json"))
    kept = rounds_kept(tmp_path / "store")
    assert kept >= 2
    with start(tmp_path, "fedunlearn", *words, "train.rounds=5000") as process:
        wait_for(lambda: rounds_kept(tmp_path / "store") > kept)
        process.terminate()
        said = process.communicate(timeout=60)[0]
    assert process.returncode == 143
    assert re.search(r"^train: going on after round [1-9]", said, re.MULTILINE)
