"""A whole run on a few hundred digits: what its folder holds, and that the numbers belong together."""

from __future__ import annotations

import json
import socket
import sys

import pytest
import yaml

from fedunlearn.cli import main
from fedunlearn.runs import runner
from fedunlearn.store import Checkpoint

CLIENTS = 4
SMALL = ["data.limit=500", "train.rounds=6", "unlearn.rounds=2", "train.local_epochs=3", "partition.alpha=1.0"]
SMALL += [f"partition.clients={CLIENTS}"]
ELSEWHERE = ("cmia", "feature_map", "membership", "over_unlearning", "prototype_relearning", "relearning", "similarity")
SMALL += [f"audit.{name}=null" for name in ELSEWHERE]  # test_audits_planted.py has all of them
UNDRAWN = "report.figures=false"
FILES = {"summary.json", "metrics.jsonl", "config.yaml", "environment.json", "log.txt"}
FIGURES = {f"{name}.{kind}" for name in ("erasure_utility", "class_flow", "partition") for kind in ("png", "svg")}


def run(monkeypatch, folder, store, *words):
    """The exit status of the command, in this process."""
    arguments = ["fedunlearn", *SMALL, f"output.dir={folder}", f"store.dir={store}", *words]
    monkeypatch.setattr(sys, "argv", arguments)
    try:
        main.main()
    except SystemExit as stop:
        return stop.code
    return 0


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def finished(place):
    """The folder of a FUCRT run, made without any connection leaving the machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        assert run(patch, place / "fucrt", place / "store", "method=fucrt") == 0
    return place / "fucrt"


def refuse(self, address):
    raise AssertionError(f"a connection to {address} was tried")


@pytest.fixture(scope="module")
def summary(finished):
    return json.loads((finished / "summary.json").read_text())


def test_the_folder_holds_what_is_promised(finished):
    assert {path.name for path in finished.iterdir() if path.is_file()} >= FILES
    assert {path.name for path in (finished / "figures").iterdir()} >= FIGURES
    assert all((finished / "figures" / name).stat().st_size > 5_000 for name in FIGURES)
    assert not list(finished.rglob("*.tmp"))


def test_the_summary_keeps_the_contract(summary):
    assert summary["status"] == "done"
    assert set(summary["models"]) == {"original", "retrained", "unlearned"}
    assert set(summary["cost"]) == {"train", "retrain", "unlearn"}
    assert {"rounds", "seconds", "bytes_up", "bytes_down", "samples"} <= set(summary["cost"]["unlearn"])
    assert {"forget_accuracy", "retain_accuracy", "leak", "flow_tv", "probe_forget_accuracy"} <= set(summary["gap"])
    for name, gap in summary["gap"].items():
        unlearned, retrained = summary["models"]["unlearned"][name], summary["models"]["retrained"][name]
        assert gap is None or gap == pytest.approx(unlearned - retrained)
    for name, floor in summary["noise_floor"].items():
        seeds = [seed[name] for seed in summary["retrained_seeds"]]
        assert floor is None or floor == pytest.approx(max(seeds) - min(seeds))


def test_equal_budgets(summary):
    cost = summary["cost"]
    assert cost["retrain"]["rounds"] == cost["train"]["rounds"] + cost["unlearn"]["rounds"] == 8


def test_bytes_and_samples_are_those_of_the_work(summary):
    train = summary["cost"]["train"]
    per_model = train["bytes_down"] / (CLIENTS * train["rounds"])
    assert train["bytes_up"] == train["bytes_down"]
    assert per_model == int(per_model) and per_model > 1000
    held = sum(sum(row) for row in summary["partition"]["counts"])
    assert train["samples"] == 6 * 3 * held  # rounds × local epochs × samples
    assert summary["cost"]["retrain"]["samples"] == 8 * 3 * (held - summary["samples"]["forget_train"])
    assert summary["cost"]["unlearn"]["bytes_up"] > 2 * CLIENTS * per_model  # votes and prototypes come on top


def test_forgetting_happened_and_retrained_never_knew(summary):
    models = summary["models"]
    assert models["original"]["forget_accuracy"] > 0.5
    assert models["retrained"]["forget_accuracy"] == 0
    assert models["unlearned"]["forget_accuracy"] < 0.2


def test_metrics_are_one_value_a_line(finished):
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert all({"stage", "round", "name", "value"} <= set(line) for line in lines)
    forget = {line["round"] for line in lines if line["stage"] == "unlearn" and line["name"] == "forget_accuracy"}
    assert forget == {0, 1, 2}


def test_config_and_environment_are_complete(finished):
    config = yaml.safe_load((finished / "config.yaml").read_text())
    assert config["train"]["rounds"] == 6 and config["method"]["name"] == "fucrt"
    environment = json.loads((finished / "environment.json").read_text())
    assert environment["versions"]["torch"] and environment["seed"] == 0


def test_a_second_method_shares_the_stages_and_any_worker_count_gives_the_same_bits(
    finished, summary, place, monkeypatch
):
    assert run(monkeypatch, place / "mask", place / "store", "method=head_mask", UNDRAWN) == 0
    mask = json.loads((place / "mask" / "summary.json").read_text())
    assert mask["cached"] == {"train": True, "retrain": True, "unlearn": False}
    assert mask["models"]["unlearned"]["forget_accuracy"] == 0
    assert mask["models"]["unlearned"]["ausuc"] == pytest.approx(mask["models"]["original"]["ausuc"], abs=1e-3)

    monkeypatch.setattr(runner, "SAVE_EVERY", float("inf"))  # as where every round is short
    monkeypatch.setattr(Checkpoint, "save", lambda self, artifact: pytest.fail("a round was saved"))
    assert run(monkeypatch, place / "one", place / "other_store", "method=fucrt", "engine.workers=1", UNDRAWN) == 0
    alone = json.loads((place / "one" / "summary.json").read_text())
    assert alone["models"] == summary["models"]
    assert alone["retrained_seeds"] == summary["retrained_seeds"]


def test_a_failed_run_says_so_and_exits_1(place, monkeypatch, capsys):
    from fedunlearn.errors import RunError

    def broken(*args, **kwargs):
        raise RunError("the disk is on fire")

    monkeypatch.setattr(runner, "run_stage", broken)
    assert run(monkeypatch, place / "failed", place / "third_store") == 1
    failed = json.loads((place / "failed" / "summary.json").read_text())
    assert failed["status"] == "failed" and failed["reason"] == "the disk is on fire"
    assert "the disk is on fire" in (place / "failed" / "log.txt").read_text()
    assert "log.txt" in capsys.readouterr().err
