"""Drawing beside the training: what is drawn, and what is said of what cannot be."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fedunlearn.report import background
from fedunlearn.report.background import BackgroundRenderer

KILLED = """
import os
from fedunlearn.report import background
from fedunlearn.report.background import BackgroundRenderer

background.cpu_count = lambda: 1

if __name__ == "__main__":
    drawer = BackgroundRenderer()
    drawer.make_ready()
    print(drawer._pool.submit(os.getpid).result(), flush=True)
    os.kill(os.getpid(), 9)
"""
KILLED_BY_ITS_JOB = """
import os
import time
from joblib import Parallel, delayed
from fedunlearn.report.background import end_with_parent

def job(parent):
    end_with_parent()
    print(os.getpid(), flush=True)
    os.kill(parent, 9)
    time.sleep(30)

if __name__ == "__main__":
    Parallel(n_jobs=2)([delayed(job)(os.getpid())])
"""


def test_runs_are_drawn_in_another_process(
    tmp_path: Path, make_run: Any, make_failed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "cpu_count", lambda: 1)  # each takes seconds to start
    make_run(tmp_path / "good")
    make_run(tmp_path / "odd", details={"original": {"class_flow": [1.0, 0.0]}, "unlearned": {"class_flow": [1.0]}})
    make_failed(tmp_path / "failed")
    drawer = BackgroundRenderer()
    for name in ("good", "odd", "failed", "not_there"):
        drawer.draw(tmp_path / name)
    (problem,) = drawer.finish()
    assert problem.startswith("the figures of . cannot be drawn") or "odd" in problem
    drawn = {path.name for path in (tmp_path / "good" / "figures").iterdir()}
    assert drawn >= {"erasure_utility.png", "erasure_utility.svg", "class_flow.svg", "partition.svg"}
    assert (tmp_path / "good" / "report.html").stat().st_size > 10_000
    assert not (tmp_path / "failed" / "figures").exists()


def test_a_full_disk_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Pool:
        def submit(self, call: Any, folder: Path) -> Any:
            from concurrent.futures import Future

            failed: Any = Future()
            failed.set_exception(OSError(28, "No space left on device"))
            return failed

        def shutdown(self) -> None:
            pass

    drawer = BackgroundRenderer()
    monkeypatch.setattr(drawer, "_pool", Pool())
    drawer.draw(tmp_path)
    (problem,) = drawer.finish()
    assert problem.startswith("figures could not be drawn: OSError(28, 'No space left on device'); fedunlearn-report")


def test_a_job_that_left_nothing_behind_is_no_problem_here(tmp_path: Path) -> None:
    assert background.drawn(tmp_path) == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("text", [KILLED, KILLED_BY_ITS_JOB], ids=["drawing", "a job of joblib's"])
def test_processes_end_with_a_parent_that_is_killed(tmp_path: Path, text: str) -> None:
    """Else the first would stay for good, with 250 MB, and the second until its job is done."""
    script = tmp_path / "killed.py"
    script.write_text(text)
    with (tmp_path / "said").open("w") as said:
        killed = subprocess.run([sys.executable, str(script)], stdout=said, timeout=100)
    assert killed.returncode == -signal.SIGKILL
    number, until = int((tmp_path / "said").read_text()), time.monotonic() + 20
    while is_there(number):
        assert time.monotonic() < until, "it stayed"
        time.sleep(0.05)


def is_there(pid: int) -> bool:
    """A zombie is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
