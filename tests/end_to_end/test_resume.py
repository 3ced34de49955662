"""Runs that are killed, interrupted or out of disk go on where they were, and end with the same bits.

Children are forked from one server that has imported everything, so that a kill costs a fraction of a second.
"""

from __future__ import annotations

import builtins
import errno
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from fedunlearn.cli import command_line, main
from fedunlearn.federation.federation import open_federation
from fedunlearn.report import figures
from fedunlearn.runs import job, runner, steps
from fedunlearn.runs.resources import Slot
from fedunlearn.settings.config import StoreConfig
from fedunlearn.store import Checkpoint
from fedunlearn.store.catalogue import damages
from tests import forked

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

TINY = ["data.limit=150", "partition.clients=3", "gates=warn", "train.rounds=3", "unlearn.rounds=2", "retrain.seeds=2"]
TINY += ["audit=quick", "audit.ausuc=null"]
FIGURE = "partition"  # the others are written in the same way, and drawing takes time
JOBS = [["method=fucrt", "seed=0"], ["method=finetune", "seed=0"], ["method=finetune", "seed=1"]]
CHANGES = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir")
OWN = ("rounds", "said", "events")  # files of this test


@pytest.fixture(scope="module")
def configs():
    return [command_line.read([*TINY, *words], main.conf_dir()) for words in JOBS]


@pytest.fixture(scope="module")
def undisturbed(configs, tmp_path_factory):
    """The folder of the sweep that nothing happened to."""
    root = tmp_path_factory.mktemp("undisturbed")
    child = forked.started(sweep, root, configs, 0)
    child.join()
    assert child.exitcode == 0, (root / "said").read_text()
    return root


def sweep(root, configs, kill_at):
    """In a child: all jobs, one after another; SIGKILL just before the change number `kill_at` below `root`."""
    import torch

    torch.set_num_threads(1)
    sys.stdout = sys.stderr = (root / "said").open("a")
    record_rounds(root / "rounds")
    runner.SAVE_EVERY = 0  # these rounds are short, and each is to be found again
    changes = [0]

    def about_to(event, arguments):
        if event in CHANGES and changing(event, arguments, root):
            changes[0] += 1
            if changes[0] == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(about_to)
    statuses = [run(root, configs, number) for number in range(len(configs))]
    (root / "events").write_text(str(changes[0]))
    sys.exit(max(statuses))


def changing(event, arguments, root):
    """Does what Python is about to do change something below `root`? Reading does not."""
    path = Path(os.fsdecode(arguments[0])) if isinstance(arguments[0], (str, bytes, Path)) else Path()
    writes = event != "open" or re.search("[wxa+]", str(arguments[1] or ""))
    return bool(writes and path.is_relative_to(root) and path.name not in OWN)


def run(root, configs, number):
    figures.OF_A_RUN = {FIGURE: figures.OF_A_RUN[FIGURE]}
    config = replace(configs[number], store=StoreConfig(str(root / "store"))).in_folder(root / str(number))
    return job.execute(config, root / str(number), JOBS[number], Slot(number, len(configs)))


def record_rounds(path):
    """Append `stage key round` to the file at `path` whenever a round has been saved."""
    save = Checkpoint.save

    def saving(self, artifact):
        save(self, artifact)
        with path.open("a") as file:
            file.write(f"{self._place} {artifact.data['cost']['rounds']}\n")

    Checkpoint.save = saving


def lasting(folder):
    """What must be the same however often a run was interrupted: all but times and where it was."""
    summary = json.loads((folder / "summary.json").read_text())
    for cost in summary["cost"].values():
        del cost["seconds"]
    del summary["cached"], summary["command"], summary["config"]["output"], summary["config"]["store"]
    return summary, (folder / "metrics.jsonl").read_text()


def assert_same(root, undisturbed):
    for number in range(len(JOBS)):
        assert lasting(root / str(number)) == lasting(undisturbed / str(number))
        drawn = sorted(path.name for path in (root / str(number) / "figures").iterdir())
        assert drawn == sorted(path.name for path in (undisturbed / str(number) / "figures").iterdir())


def assert_sound(root):
    """Whatever there is, is whole: artifacts by their checksums, other files by being readable."""
    if (root / "store").exists():
        assert [problem for _, problem in damages(root / "store") if problem] == []
    for path in root.glob("[0-9]/*.json"):
        assert json.loads(path.read_text())


@pytest.fixture(autouse=True)
def as_in_children(monkeypatch):
    """What runs in this process saves every round, too; all figures are there afterwards."""
    monkeypatch.setattr(figures, "OF_A_RUN", figures.OF_A_RUN)
    monkeypatch.setattr(runner, "SAVE_EVERY", 0)


@pytest.mark.parametrize("often", [12, pytest.param(50, marks=pytest.mark.slow)])
def test_killed_at_random_moments(configs, undisturbed, tmp_path, often):
    """Every other one just before a change of the file system, the others at any time."""
    dice = random.Random(5)
    step = 2 * int((undisturbed / "events").read_text()) // often
    kills, started, finished = 0, 0, []
    while kills < often:
        root = tmp_path / str(started)
        root.mkdir(exist_ok=True)
        exact = kills % 2
        child = forked.started(sweep, root, configs, dice.randint(1, 2 * step) if exact else 0)
        if not exact:
            child.join(dice.uniform(0.05, 0.8))
            child.kill()
        child.join()
        assert child.exitcode in (0, -signal.SIGKILL), (root / "said").read_text()
        assert_sound(root)
        kills += child.exitcode != 0
        if child.exitcode == 0:
            finished.append(root)
            started += 1
    child = forked.started(sweep, root, configs, 0)
    child.join()
    assert child.exitcode == 0, (root / "said").read_text()
    for root in {*finished, root}:  # noqa: B020 (the last one, too)
        assert_same(root, undisturbed)
        rounds = (root / "rounds").read_text().splitlines()
        assert max(Counter(rounds).values()) == 1, "a finished round was computed again"
        assert {line.split()[0] for line in rounds} == {"train", "retrain", "unlearn"}
        assert not list(root.rglob("*.tmp")), "what killed processes began to write is gone"


@pytest.mark.parametrize("name", ["manifest.json", "tensors.safetensors", "data.json"])
def test_a_flipped_bit_in_an_artifact_of_each_kind(configs, undisturbed, tmp_path, capsys, name):
    """Disks do that. It is found, said, set aside, and computed again to the same bits."""
    shutil.copytree(undisturbed / "store", tmp_path / "store")
    dice = random.Random(name)
    of_each_kind = {stage.kind: stage.key for stage in steps.of_run(configs[0], open_federation(configs[0]))}
    assert set(of_each_kind) == {"train", "retrain", "unlearn", "audit"}
    flipped = [tmp_path / "store" / kind / key for kind, key in of_each_kind.items()]
    for folder in flipped:
        content = bytearray((folder / name).read_bytes())
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        (folder / name).write_bytes(content)
    assert run(tmp_path, configs, 0) == 0
    said = "".join(capsys.readouterr().out.split())
    for folder in flipped:
        assert f"{folder}isdamaged" in said
        assert list((tmp_path / "store" / "damaged").glob(f"{folder.parent.name}-{folder.name}-1"))
    assert_sound(tmp_path)
    assert lasting(tmp_path / "0") == lasting(undisturbed / "0")


class FullDisk:
    """Every file below `root` can be opened, but the first time that one of its kind is written, only half fits."""

    def __init__(self, root):
        self.root, self.met, self.hit = root, set(), ""
        self.open = io.open

    def __call__(self, path, mode="r", *arguments, **keywords):
        file = self.open(path, mode, *arguments, **keywords)
        if isinstance(path, (str, Path)) and re.search("[wxa+]", mode) and Path(path).is_relative_to(self.root):
            name = re.sub(r"\.tmp-\d+|\.\d+\.tmp|[0-9a-f]{24}|\d+$", "", str(Path(path).relative_to(self.root)))
            name = re.sub(r"checkpoint/\d+", "checkpoint", name)
            if name not in self.met and not Path(path).is_dir() and Path(path).name != "log.txt" and not self.hit:
                self.met.add(name)
                self.hit = name
                return Full(file)
        return file


class Full:
    """A file that takes half of what is written to it."""

    def __init__(self, file):
        self.file = file

    def write(self, content):
        self.file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.file.name)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)


def test_a_full_disk_at_each_write(configs, undisturbed, tmp_path, monkeypatch, capsys):
    """Each kind of file fails once; the same command goes on every time."""
    disk = FullDisk(tmp_path)
    monkeypatch.setattr(io, "open", disk)
    monkeypatch.setattr(builtins, "open", disk)
    status = 1
    while status:
        disk.hit = ""
        status = run(tmp_path, configs, 0)
        said = capsys.readouterr()
        if disk.hit:
            assert status == 1, f"{disk.hit} was not written, and nobody noticed"
            assert "no space left on device" in said.err, said.err
            assert "Traceback" not in said.err + said.out
            assert len(said.err.strip().splitlines()) == 2, said.err  # the sentence, and where to look
        assert_sound(tmp_path)
    kinds = {Path(name).name.removeprefix(".") for name in disk.met}
    assert kinds >= {"manifest.json", "tensors.safetensors", "data.json", "config.yaml", "environment.json"}
    assert kinds >= {"metrics.jsonl", "summary.json", "partition.svg", "partition.png", "report.html"}
    assert len(disk.met) == 30, "three files of four kinds of stages and three of checkpoints, and nine of the run"
    assert lasting(tmp_path / "0") == lasting(undisturbed / "0")
    assert not list(tmp_path.rglob("*tmp*"))


def test_a_log_that_cannot_be_written_does_not_end_a_run(configs, undisturbed, tmp_path, monkeypatch, capsys):
    true_open = io.open

    def opened(path, *arguments, **keywords):
        file = true_open(path, *arguments, **keywords)
        return Full(file) if Path(str(path)).name == "log.txt" else file

    monkeypatch.setattr(io, "open", opened)
    assert run(tmp_path, configs, 0) == 0
    assert "log.txt cannot be written any more: No space left on device" in capsys.readouterr().out
    assert lasting(tmp_path / "0") == lasting(undisturbed / "0")


def command(root):
    """In a child: the command line, with many rounds to go."""
    sys.stdout = sys.stderr = (root / "said").open("a", buffering=1)
    places = [f"output.dir={root / '0'}", f"store.dir={root / 'store'}"]
    sys.argv = ["fedunlearn", *TINY, *places, "train.rounds=500", "method=finetune"]
    main.main()


def test_ctrl_c_ends_a_run_within_seconds_and_says_how_to_go_on(tmp_path):
    child = forked.started(command, tmp_path)
    wait_for(lambda: list((tmp_path / "store").glob("train/*.checkpoint/[0-9]*")))
    os.kill(child.pid, signal.SIGINT)
    begun = time.monotonic()
    child.join(60)
    said = (tmp_path / "said").read_text()
    assert child.exitcode == 130, said
    assert time.monotonic() - begun < 10
    assert f"go on with\n  fedunlearn {' '.join(TINY)} output.dir={tmp_path / '0'}" in said
    assert "Traceback" not in said
    assert not list(tmp_path.rglob("*tmp*")) and not (tmp_path / "0" / "summary.json").exists()
    assert_sound(tmp_path)


def wait_for(happened, seconds=60):
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.05)


@pytest.mark.slow  # four processes import everything
def test_a_killed_joblib_sweep_goes_on(tmp_path):
    """The sweep's own process is killed; its workers may live on for a while, and are waited for."""
    root = Path(main.__file__).parents[2]
    places = [f"output.dir={tmp_path / 'sweep'}", f"store.dir={tmp_path / 'store'}"]
    words = ["-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "method=finetune,head_mask", "seed=0"]
    arguments = [sys.executable, "-m", "fedunlearn", *words, *TINY, *places, "retrain.seeds=1"]
    arguments += ["report.figures=false"]
    options = {"env": {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}, "stdout": subprocess.DEVNULL}
    with subprocess.Popen(arguments, **options) as first:
        wait_for(lambda: list((tmp_path / "store").glob("*train/*.checkpoint/[0-9]*")), 120)
        first.kill()
    again = subprocess.run(arguments, **options, timeout=200)
    assert again.returncode == 0
    for name in ("0_finetune_s0", "1_head_mask_s0"):
        assert json.loads((tmp_path / "sweep" / name / "summary.json").read_text())["status"] == "done"
    assert_sound(tmp_path)
