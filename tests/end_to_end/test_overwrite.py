"""A finished run is never lost by accident: not to another configuration, not to a failure, not to another sweep."""

from __future__ import annotations

import json

import pytest
import yaml

from fedunlearn.errors import RunError
from fedunlearn.report import figures, runs
from fedunlearn.report import sweep as sweep_report
from fedunlearn.results import summary as summaries
from fedunlearn.runs import job, pipeline

TINY = [
    *("data.limit=100", "partition.clients=2", "gates=warn", "train.rounds=2", "unlearn.rounds=1", "retrain.seeds=1"),
    *("audit=quick", "audit.ausuc=null"),
]
PARTITION = {"partition": figures.OF_A_RUN["partition"]}  # the others are written in the same way


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def command(fedunlearn, monkeypatch, tmp_path, store):
    """`fedunlearn` in this process, with one figure to a run: (exit status, stdout, stderr)."""
    monkeypatch.setattr(figures, "OF_A_RUN", PARTITION)
    monkeypatch.setattr(figures, "OF_A_SWEEP", {})
    places = [f"output.dir={tmp_path / 'run'}", f"store.dir={store}"]
    return lambda *words: fedunlearn(*TINY, *places, *words)


def content(folder):
    """Every file below `folder` but logs and locks, with its bytes and when it was written."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in ("log.txt", ".lock")]
    return {path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def visible(folder):
    return {name: kept for name, kept in content(folder).items() if not name.startswith(".")}


def method_in(folder):
    return json.loads((folder / "summary.json").read_text())["config"]["method"]["name"]


@pytest.mark.parametrize("words", [["method=head_mask"], ["method=head_mask", "sweep.dry_run=true"]])
def test_another_configuration_is_refused_before_anything_is_touched(command, tmp_path, words):
    assert command("method=finetune")[0] == 0
    log = (tmp_path / "run" / "log.txt").read_bytes()
    before = content(tmp_path)
    status, said, error = command(*words)
    assert status == 2 and not said
    assert len(error.splitlines()) == 1 and "output.overwrite=true" in error
    assert (
        f'{tmp_path / "run"} holds the finished run of another configuration (method: "finetune" → "head_mask")'
        in error
    )
    assert content(tmp_path) == before and (tmp_path / "run" / "log.txt").read_bytes() == log


def test_what_is_overwritten_stays_until_the_new_run_is_complete(command, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    assert command("method=finetune", "seed=1")[0] == 0
    (folder / "figures" / "class_flow.png").write_bytes(b"a figure that the new run does not have")
    before, looked = content(folder), []
    true_run, true_write = pipeline.run, summaries.write

    def look():
        assert visible(folder) == before
        assert sweep_report.draw_runs(tmp_path) == ([folder / "report.html"], []), "the old run is drawn anew"
        looked.append(runs.find(tmp_path)[0].status)
        before.update(visible(folder))

    def stopped(*args, **kwargs):
        look()
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "run", stopped)
    assert command("method=head_mask", "seed=1", "output.overwrite=true")[0] == 130
    assert visible(folder) == before and method_in(folder) == "finetune"

    monkeypatch.setattr(pipeline, "run", lambda *args: (look(), true_run(*args))[1])
    monkeypatch.setattr(summaries, "write", lambda *args: (look(), true_write(*args))[1])
    assert command("method=head_mask", "seed=1", "output.overwrite=true")[0] == 0
    assert looked == ["done"] * 3 and method_in(folder) == "head_mask"
    now = content(folder)
    assert not [name for name in now if name.startswith(".")], "nothing is left of the exchange"
    figures_now = {name.partition(".")[0] for name in now if name.startswith("figures/")}
    assert figures_now == {"figures/partition", "figures/narrow/partition"}
    assert all(now[name] != before[name] for name in before if name in now and name != "environment.json")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    own = {"dir": str(folder), "overwrite": False, "models": False}
    assert config["output"] == own, "to overwrite is no property of the run"
    assert "output.overwrite" not in json.loads((folder / "summary.json").read_text())["command"]
    assert command("method=head_mask", "seed=1")[1].strip().endswith("finished already, nothing to do")


def test_a_run_that_fails_leaves_the_finished_one(command, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    assert command("method=finetune")[0] == 0
    before = content(folder)
    monkeypatch.setattr(pipeline, "run", broken)
    status, _, error = command("method=head_mask", "output.overwrite=true")
    assert status == 1 and "the disk is on fire" in error
    assert visible(folder) == before
    monkeypatch.setattr(job, "finished", lambda folder, config: False)  # as if its code had changed
    assert command("method=finetune")[0] == 1
    assert visible(folder) == before
    assert "the disk is on fire" in (folder / "log.txt").read_text()


def broken(*args, **kwargs):
    raise RunError("the disk is on fire")


def test_the_same_configuration_with_other_code_runs_in_place_and_keeps_the_old_files_meanwhile(
    command, tmp_path, monkeypatch
):
    folder = tmp_path / "run"
    assert command("method=finetune")[0] == 0
    before, true_run = content(folder), pipeline.run

    def run(*args):
        assert visible(folder) == before
        return true_run(*args)

    monkeypatch.setattr(pipeline, "run", run)
    monkeypatch.setattr(job, "finished", lambda folder, config: False)
    assert command("method=finetune")[0] == 0
    after = content(folder)
    assert set(after) == set(before) and all(after[name][1] > before[name][1] for name in before)


def test_an_unfinished_run_makes_room(command, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "run", broken)
        assert command("method=finetune")[0] == 1
    assert command("method=head_mask")[0] == 0
    assert method_in(tmp_path / "run") == "head_mask"


def test_a_smaller_sweep_does_not_mix_with_an_old_one(command, tmp_path):
    folder = tmp_path / "run"
    assert command("-m", "method=finetune,head_mask")[0] == 0
    before = content(folder)
    status, _, error = command("-m", "method=finetune")
    assert status == 2 and "1 run that this sweep does not have (1_head_mask_s0)" in error
    assert content(folder) == before

    assert command("-m", "method=finetune,head_mask,fedavg")[0] == 0, "a larger one with the same jobs goes on"
    status, said, _ = command("-m", "method=finetune", "output.overwrite=true")
    assert status == 0 and "finished already" in said
    assert [run.folder.name for run in runs.find(folder)] == ["0_finetune_s0"]
    (aside,) = folder.glob(".replaced-*")
    assert {path.parent.name for path in aside.glob("*/summary.json")} == {"1_head_mask_s0", "2_fedavg_s0"}
    assert str(aside) in said and (aside / "sweep.json").is_file()
    assert (folder / "runs.csv").read_text().count("\n") == 2


def test_a_sweep_does_not_replace_the_runs_of_another_configuration(command, tmp_path):
    folder = tmp_path / "run"
    assert command("-m", "method=finetune")[0] == 0
    before = content(folder)
    status, _, error = command("-m", "method=finetune", "unlearn.rounds=2")
    assert (
        status == 2 and "0_finetune_s0 holds the finished run of another configuration (unlearn.rounds: 1 → 2)" in error
    )
    assert content(folder) == before
    assert command("-m", "method=finetune", "unlearn.rounds=2", "output.overwrite=true")[0] == 0
    summary = json.loads((folder / "0_finetune_s0" / "summary.json").read_text())
    assert summary["config"]["unlearn"]["rounds"] == 2


def test_a_sweep_whose_job_fails_over_a_finished_run_says_so(command, tmp_path, monkeypatch):
    assert command("-m", "method=finetune")[0] == 0
    monkeypatch.setattr(pipeline, "run", broken)
    status, said, _ = command("-m", "method=finetune", "unlearn.rounds=2", "output.overwrite=true")
    assert status == 1
    assert "0_finetune_s0 failed: the disk is on fire (what it should replace is still there)" in said


def test_runs_and_sweeps_do_not_share_a_folder(command, tmp_path):
    folder = tmp_path / "run"
    assert command("-m", "method=finetune")[0] == 0
    before = content(folder)
    status, _, error = command("method=finetune")
    assert status == 2 and "holds a sweep" in error and content(folder) == before
    assert command("method=finetune", "output.overwrite=true")[0] == 0
    assert [run.folder for run in runs.find(folder)] == [folder]
    status, _, error = command("-m", "method=finetune")
    assert status == 2 and "one in the folder itself" in error
    assert command("-m", "method=finetune", "output.overwrite=true")[0] == 0
    assert [run.folder.name for run in runs.find(folder)] == ["0_finetune_s0"]
    kept = {path.relative_to(folder).parts[1:] for path in folder.glob(".replaced-*/**/summary.json")}
    assert kept == {("0_finetune_s0", "summary.json"), ("summary.json",)}
