"""What operating systems and users do to a store: kill its processes, share it, limit it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import fedunlearn.store
from fedunlearn.store import Artifact, Store, key_of
from fedunlearn.store.catalogue import damages, entries

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and resource limits of POSIX")

# Each worker is a fresh interpreter; without tensors the store does not import torch, so they start at once.
PREAMBLE = """
import os, random, sys, time
from pathlib import Path
from fedunlearn.errors import RunError
from fedunlearn.store import Artifact, Store

root = Path(sys.argv[1])
store = Store(root / "store", lambda message: print(message, flush=True))

def log(line):
    descriptor = os.open(root / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{line}\\n".encode())
    os.close(descriptor)
"""

HAMMER = """
def compute(number):
    log(number)
    time.sleep(0.1)
    return Artifact({}, {"number": number, "text": "x" * 1000})

random.seed(int(sys.argv[2]))
for number in random.sample(range(4), 4) + random.choices(range(4), k=20):
    data = store.get("train", {"number": number}, lambda checkpoint: compute(number)).data
    assert data == {"number": number, "text": "x" * 1000}
"""

ROUNDS = """
def compute(checkpoint):
    begun = checkpoint.load()
    first = begun.data["round"] + 1 if begun else 1
    for number in range(first, 7):
        checkpoint.save(Artifact({}, {"round": number}))
        log(number)
        if sys.argv[2] == str(number):
            time.sleep(60)
    return Artifact({}, {"rounds": 6})

print(store.get("train", {}, compute).data, flush=True)
"""

FORK = """
def compute(checkpoint):
    if sys.argv[2] == "fork":
        if os.fork() == 0:
            for _ in range(400):
                if (root / "over").exists():
                    break
                time.sleep(0.05)
            os._exit(0)
        log("forked")
        time.sleep(60)
    return Artifact()

store.get("train", {}, compute)
"""

MANY = """
for number in range(int(sys.argv[2])):
    store.get("train", {"number": number}, lambda checkpoint: Artifact({}, {"numbers": [number] * 20_000}))
"""

LIMITED = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
store.get("train", {"size": "small"}, lambda checkpoint: Artifact({}, {"text": "x" * 1_000}))
try:
    store.get("train", {"size": "large"}, lambda checkpoint: Artifact({}, {"text": "x" * 100_000}))
except RunError as error:
    print(error)
"""


class Workers:
    """Starts workers on one store and makes sure that none survives the test."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.running: list[subprocess.Popen[str]] = []

    def start(self, script: str, *arguments: object) -> subprocess.Popen[str]:
        source = str(Path(fedunlearn.store.__file__).parents[2])
        worker = subprocess.Popen(
            [sys.executable, "-c", PREAMBLE + script, str(self.root), *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": source},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.running.append(worker)
        return worker

    def finish(self, worker: subprocess.Popen[str]) -> str:
        output, errors = worker.communicate(timeout=30)
        assert worker.returncode == 0, errors
        return output

    def log(self) -> list[str]:
        path = self.root / "log"
        return path.read_text().split() if path.exists() else []

    def wait_for_log(self, line: str) -> None:
        deadline = time.monotonic() + 30
        while line not in self.log():
            assert time.monotonic() < deadline, f"{line} never happened"
            time.sleep(0.01)


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    workers = Workers(tmp_path)
    yield workers
    for worker in workers.running:
        for stream in (worker.stdout, worker.stderr):
            if stream:
                stream.close()
        worker.kill()
        worker.wait()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_parallel_processes_compute_each_artifact_once(workers: Workers, tmp_path: Path) -> None:
    for worker in [workers.start(HAMMER, seed) for seed in range(6)]:
        workers.finish(worker)
    assert sorted(workers.log()) == ["0", "1", "2", "3"]
    assert names(tmp_path / "store" / "train") == sorted(key_of("train", {"number": n}) for n in range(4))


def test_a_killed_process_neither_blocks_nor_costs_the_rounds_it_saved(workers: Workers, tmp_path: Path) -> None:
    victim = workers.start(ROUNDS, 3)
    workers.wait_for_log("3")
    heir = workers.start(ROUNDS, "none")  # waits for the lock that the victim holds
    assert heir.stdout is not None
    assert heir.stdout.readline().startswith(f"waiting for train {key_of('train', {})}")
    victim.kill()
    assert "{'rounds': 6}" in workers.finish(heir)
    assert workers.log() == ["1", "2", "3", "4", "5", "6"]
    assert names(tmp_path / "store" / "train") == [key_of("train", {})]


def test_ctrl_c_leaves_the_checkpoint_and_nothing_half_written(workers: Workers, tmp_path: Path) -> None:
    worker = workers.start(ROUNDS, 2)
    workers.wait_for_log("2")
    worker.send_signal(signal.SIGINT)
    _, errors = worker.communicate(timeout=30)
    assert "KeyboardInterrupt" in errors
    key = key_of("train", {})
    assert names(tmp_path / "store" / "train") == [f"{key}.checkpoint"]
    assert json.loads((tmp_path / "store" / "train" / f"{key}.checkpoint" / "2" / "data.json").read_text()) == {
        "round": 2
    }
    workers.finish(workers.start(ROUNDS, "none"))
    assert workers.log() == ["1", "2", "3", "4", "5", "6"]


def test_a_forked_child_does_not_keep_the_lock_of_its_killed_parent(workers: Workers, tmp_path: Path) -> None:
    parent = workers.start(FORK, "fork")
    workers.wait_for_log("forked")
    parent.kill()
    started = time.monotonic()
    try:
        workers.finish(workers.start(FORK, "quick"))
        assert time.monotonic() - started < 10
    finally:
        (tmp_path / "over").touch()


def test_kills_at_any_moment_leave_whole_artifacts_only(workers: Workers, tmp_path: Path) -> None:
    store = tmp_path / "store"
    for pause in (0.02, 0.05, 0.08, 0.13, 0.21):
        done = len(entries(store)) if store.exists() else 0
        worker = workers.start(MANY, 10_000)
        while not store.exists() or len(entries(store)) <= done:
            time.sleep(0.005)
        time.sleep(pause)
        worker.kill()
        worker.wait()
        assert [problem for _, problem in damages(store) if problem] == []
    workers.finish(workers.start(MANY, 3))
    reopened = Store(store)
    for number in range(3):
        stored = reopened.get("train", {"number": number}, lambda checkpoint: Artifact())
        assert stored.cached and stored.data == {"numbers": [number] * 20_000}


def test_a_write_that_the_system_cuts_short(workers: Workers, tmp_path: Path) -> None:
    output = workers.finish(workers.start(LIMITED))
    train = tmp_path / "store" / "train"
    assert output == f"cannot write {train / key_of('train', {'size': 'large'})}: file too large\n"
    assert names(train) == [key_of("train", {"size": "small"})]
    assert [problem for _, problem in damages(tmp_path / "store")] == [""]
