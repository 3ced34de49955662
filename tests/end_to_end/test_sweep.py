"""Sweeps with Hydra's own launchers: what runs, what does not run again, what is said, and with what exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from omegaconf import OmegaConf

from fedunlearn.cli import main
from fedunlearn.cli import report as report_cli
from fedunlearn.errors import RunError
from fedunlearn.runs import job, pipeline, sweep
from fedunlearn.runs.resources import Slot

TINY = [
    *("data.limit=100", "partition.clients=2", "gates=warn", "train.rounds=2", "unlearn.rounds=1", "retrain.seeds=1"),
    *("audit=quick", "audit.ausuc=null", "report.figures=false"),
]
GRID = ["-m", "method=finetune,head_mask", "seed=0,1"]
FOLDERS = ["0_finetune_s0", "1_finetune_s1", "2_head_mask_s0", "3_head_mask_s1"]


@pytest.fixture
def command(undrawn, tmp_path):
    """`fedunlearn` in this process, without figures: (exit status, stdout, stderr)."""
    places = [f"output.dir={tmp_path / 'sweep'}", f"store.dir={tmp_path / 'store'}"]
    return lambda *words: undrawn(*TINY, *places, *words)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def sharing(command, store):
    """The same, for tests that do not mind what is in the store already."""
    return lambda *words: command(f"store.dir={store}", *words)


def summaries(folder):
    return {path.parent.name: json.loads(path.read_text()) for path in sorted(folder.glob("*/summary.json"))}


def test_a_sweep_runs_every_job_once_and_never_again(command, tmp_path, monkeypatch):
    status, said, _ = command(*GRID)
    assert status == 0
    assert [line for line in said.splitlines() if line.startswith("job ")] == [
        f"job {number} of 4: {folder}" for number, folder in enumerate(FOLDERS, start=1)
    ]
    listed = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert [entry["dir"] for entry in listed["jobs"]] == FOLDERS
    assert "method=head_mask" in listed["jobs"][3]["overrides"] and "seed=1" in listed["jobs"][3]["overrides"]
    before = summaries(tmp_path / "sweep")
    assert {name: summary["status"] for name, summary in before.items()} == dict.fromkeys(FOLDERS, "done")
    assert before["2_head_mask_s0"]["cached"] == {"train": True, "retrain": True, "unlearn": False}
    assert f"output.dir={tmp_path}/sweep/3_head_mask_s1" in before["3_head_mask_s1"]["command"]

    monkeypatch.setattr(pipeline, "run", broken)
    status, said, _ = command(*GRID)
    assert status == 0
    assert said.count("finished already, nothing to do") == 4
    assert summaries(tmp_path / "sweep") == before


def broken(*args, **kwargs):
    raise RunError("the disk is on fire")


def test_a_failed_job_is_listed_with_its_reason_and_alone_runs_again(sharing, tmp_path, monkeypatch):
    true_run = pipeline.run

    def run(config, *rest):
        return broken() if config.method.name == "head_mask" else true_run(config, *rest)

    monkeypatch.setattr(pipeline, "run", run)
    status, said, error = sharing(*GRID)
    assert status == 1
    assert error.count("the disk is on fire") == 2 and "Traceback" not in error
    assert "2 of 4 runs did not end well" in said
    assert "2_head_mask_s0 failed: the disk is on fire" in said
    assert [summary["status"] for summary in summaries(tmp_path / "sweep").values()] == [*["done"] * 2, *["failed"] * 2]

    monkeypatch.setattr(pipeline, "run", true_run)
    status, said, _ = sharing(*GRID)
    assert status == 0 and said.count("finished already") == 2
    assert {summary["status"] for summary in summaries(tmp_path / "sweep").values()} == {"done"}


@pytest.mark.parametrize("step", ["check_folder", "sum_up"])
def test_what_breaks_around_the_jobs_is_no_success(sharing, tmp_path, monkeypatch, step):
    """Hydra makes a remark of it, and would go on."""

    def full(*args):
        raise ValueError("nobody thought of this\nand of that")

    monkeypatch.setattr(sweep, step, full)
    status, said, error = sharing("-m", "method=head_mask", "seed=0")
    assert status == 1 and error.startswith("fedunlearn: nobody thought of this\n") and "Traceback" not in error
    if step == "sum_up":
        assert f"fedunlearn-report {tmp_path / 'sweep'}" in error and len(summaries(tmp_path / "sweep")) == 1
    else:
        assert not said and not (tmp_path / "sweep").exists()


def test_settings_that_do_not_fit_together_fail_that_job_alone(sharing, tmp_path):
    """Each value is right beside the first ones, so that only the job itself can tell."""
    status, said, error = sharing(
        "-m", "method=head_mask", "partition=iid", "data.limit=60,20", "partition.clients=2,30"
    )
    assert status == 1
    assert "1 of 4 runs did not end well" in said and "Traceback" not in error
    statuses = [summary["status"] for summary in summaries(tmp_path / "sweep").values()]
    assert statuses == ["done", "done", "done", "failed"]


def test_a_composed_configuration_that_cannot_be_read_is_a_failed_run(tmp_path, capsys):
    composed = OmegaConf.create({"method": {"name": "fucrtt"}})
    assert job._task(composed, tmp_path / "run", ["method=fucrtt"], Slot(0, 3)) == 2
    failed = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert failed["status"] == "failed"
    assert capsys.readouterr().err == f"fedunlearn: {failed['reason']}\n"


def test_a_dry_run_computes_nothing_and_knows_what_is_there(command, tmp_path):
    status, said, _ = command(*GRID, "sweep.dry_run=true")
    assert status == 0
    assert "4 jobs, 0 finished; 24 stages to compute, about ?" in said
    assert not (tmp_path / "sweep").exists() and not (tmp_path / "store").exists()

    command("-m", "method=finetune", "seed=0")
    status, said, _ = command(*GRID, "sweep.dry_run=true")
    rows = {line.split()[0]: line.split() for line in said.splitlines() if "method=" in line}
    assert rows["1"][1:] == ["method=finetune", "seed=0", "finished"]
    assert rows["2"][3:7] == ["0/1", "0/1", "0/1", "0/6"]
    assert rows["3"][3:7] == ["1/1", "1/1", "0/1", "4/6"], "what head_mask shares with finetune is in the store"
    assert "4 jobs, 1 finished; 15 stages to compute" in said and "≥" not in rows["2"], (
        "every kind has been done before"
    )


def test_a_dry_run_tells_the_truth(command, tmp_path):
    """What it finds in the store is what the run then takes from there, and it counts what the run computes."""
    command("method=finetune", "seed=0", f"output.dir={tmp_path / 'one'}")
    _, said, _ = command("method=head_mask", "seed=0", "sweep.dry_run=true", f"output.dir={tmp_path / 'two'}")
    assert "3 stages to compute" in said, "head_mask itself and two audits of it"
    before = len(list((tmp_path / "store").glob("*/*/manifest.json")))
    command("method=head_mask", "seed=0", f"output.dir={tmp_path / 'two'}")
    assert len(list((tmp_path / "store").glob("*/*/manifest.json"))) - before == 3


def test_a_second_sweep_in_the_same_folder_is_told_to_wait(command, tmp_path):
    (tmp_path / "sweep").mkdir()
    with FileLock(tmp_path / "sweep" / ".sweep.lock"):
        status, _, error = command(*GRID)
    assert status == 2
    assert error.startswith("fedunlearn: another sweep is running in ") and "output.dir" in error
    assert not summaries(tmp_path / "sweep") and not (tmp_path / "sweep" / "sweep.json").exists()


def test_a_run_waits_for_another_process_in_its_folder(sharing, tmp_path):
    """A job that outlived its killed sweep is waited for, and then there is nothing left to do."""
    code = (
        "import sys, time; from pathlib import Path; from filelock import FileLock\n"
        "with FileLock(sys.argv[1]): print('held', flush=True); time.sleep(4)"
    )
    folder = tmp_path / "sweep"
    folder.mkdir()
    with subprocess.Popen([sys.executable, "-c", code, folder / ".lock"], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        status, said, _ = sharing("method=head_mask")
    assert status == 0 and "waiting for another fedunlearn process" in said


def test_what_makes_a_run_finished(sharing, tmp_path, monkeypatch):
    sharing("method=head_mask")
    config = saved_config(tmp_path / "sweep")
    assert job.finished(tmp_path / "sweep", config)
    engine = {**config.as_dict()["engine"], "workers": 3}
    moved = changed(config, store={"dir": "elsewhere", "enabled": True}, engine=engine)
    assert job.finished(tmp_path / "sweep", moved), "where the store is and how many workers there are changes nothing"
    assert not job.finished(tmp_path / "sweep", changed(config, seed=1))
    monkeypatch.setattr(job.steps, "signature", lambda config, federation: "of other code")
    assert not job.finished(tmp_path / "sweep", config)


def saved_config(folder):
    from fedunlearn.settings.config import load

    return load(json.loads((folder / "summary.json").read_text())["config"])


def changed(config, **sections):
    from fedunlearn.settings.config import load

    return load({**config.as_dict(), **sections})


def plain(value):
    from fedunlearn.settings import schema

    return schema.plain(value)


def test_without_a_store_nothing_is_kept(command, tmp_path):
    for _ in range(2):
        status, _, _ = command(*GRID[:2], "seed=0", "store.enabled=false")
        assert status == 0
    assert not (tmp_path / "store").exists()
    found = summaries(tmp_path / "sweep")
    assert all(not any(summary["cached"].values()) for summary in found.values())
    models = [summary["models"]["original"] for summary in found.values()]
    assert models[0] == models[1], "computed twice, to the same bits"


def test_joblib_runs_jobs_side_by_side_and_a_failure_is_exit_status_1(tmp_path, capsys):
    """The launcher as it comes, in processes of its own; one learning rate leads to numbers that are not finite."""
    words = ["-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "method=head_mask", "train.lr=0.05,1e30"]
    places = [f"output.dir={tmp_path / 'sweep'}", f"store.dir={tmp_path / 'store'}"]
    root = Path(main.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "fedunlearn", *words, *TINY, *places],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "1_head_mask_s0 failed: train: " in done.stdout
    assert [summary["status"] for summary in summaries(tmp_path / "sweep").values()] == ["done", "failed"]
    cores = len(os.sched_getaffinity(0))
    environment = json.loads((tmp_path / "sweep" / "0_head_mask_s0" / "environment.json").read_text())
    assert environment["workers"] == max(1, cores // 2)
    assert {path.name for path in (tmp_path / "sweep").iterdir()} >= {"runs.csv", "table.md", "report.html"}
    assert report_cli.main([str(tmp_path / "sweep"), "--status"]) == 1
    assert "1 done, 1 failed, 0 missing" in capsys.readouterr().out
