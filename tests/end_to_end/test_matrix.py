"""Every method, at every request level, on every kind of partition: it runs to the end, or refuses in one sentence."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from fedunlearn.cli import command_line, main
from fedunlearn.results.summary import to_json
from fedunlearn.runs import pipeline, runner
from fedunlearn.runs.console import Console
from fedunlearn.runs.pipeline import Outcome
from fedunlearn.runs.summarise import summarise
from fedunlearn.settings import registry
from fedunlearn.settings.config import RequestConfig, RunConfig
from fedunlearn.tasks.base import defined

ROUNDS, MORE = 3, 2  # of training and of unlearning: few, but enough for all phases of every method
TINY = ["data.limit=160", "model.width=4", "model.feature_dim=12", f"train.rounds={ROUNDS}", f"unlearn.rounds={MORE}"]
TINY += ["retrain.seeds=1", "audit=quick", "audit.ausuc=null", "engine.workers=1", "gates=warn"]
# Of these, clients that hold alike are the easiest; `make test-slow` has them.
PARTITIONS = (pytest.param("iid", marks=pytest.mark.slow), "dirichlet", "pathological")
REQUESTS = {
    "class": RequestConfig(classes=(0, 8)),  # of seed 0, all that the first pathological client holds
    "client": RequestConfig(clients=(1,)),
    "sample": RequestConfig(samples={"0": 3, "2": 1}),
}
WORDS = {
    "class": ["request.classes=[0,8]"],
    "client": ["request.classes=[]", "request.clients=[1]"],
    "sample": ["request.classes=[]", "request.samples={0: 3, 2: 1}"],
}
SHORTER = {"gradient_ascent": ("method.ascent_steps=10",)}
FOUND = {name: registry.find("method", name) for name in registry.names("method")}
# Of the others, some are finished already, and some are for other tasks.
WORKING = [name for name, found in FOUND.items() if not found.given and defined(found.tasks, "classification")]
PAIRS = [(method, level) for method in WORKING for level in REQUESTS]
DEFINED = [(method, level) for method, level in PAIRS if level in registry.find("method", method).levels]
REFUSED = sorted({*PAIRS} - {*DEFINED})


@cache
def composed(*words: str) -> RunConfig:
    return command_line.read([*TINY, *words], main.conf_dir())


def config_of(method: str, level: str, partition: str) -> RunConfig:
    spread = composed(f"partition={partition}", "partition.clients=5").partition
    return replace(composed(f"method={method}", *SHORTER.get(method, ())), partition=spread, request=REQUESTS[level])


@pytest.fixture(scope="module")
def outcome_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str, str], Outcome]:
    """A run in this process; all of them share a store."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    store = tmp_path_factory.mktemp("matrix") / "store"

    def run(method: str, level: str, partition: str) -> Outcome:
        config = config_of(method, level, partition)
        return pipeline.run(replace(config, store=replace(config.store, dir=str(store))), Console(io.StringIO()))

    return run


@pytest.mark.parametrize("partition", PARTITIONS)
@pytest.mark.parametrize(("method", "level"), DEFINED)
def test_a_run_ends_with_a_model_and_accounts_for_it(method, level, partition, outcome_of):
    outcome = outcome_of(method, level, partition)
    before, after = outcome.original.tensors, outcome.unlearned.tensors
    assert {name: value.shape for name, value in after.items()} == {n: value.shape for n, value in before.items()}
    assert all(torch.isfinite(value).all() for value in after.values())
    assert any(not torch.equal(after[name], before[name]) for name in before), "nothing was done"
    rounds = registry.find("method", method).rounds(outcome.config)
    assert outcome.unlearned.cost["rounds"] == rounds
    assert [entry["round"] for entry in outcome.unlearned.history] == list(range(rounds + 1))
    assert outcome.unlearned.cost["failures"] == 0, "clients were left out"
    summary = json.loads(to_json(summarise(outcome, "")))
    assert set(summary["gap"]) == set(summary["models"]["original"])
    assert 0 <= summary["models"]["unlearned"]["retain_accuracy"] <= 1
    assert (summary["models"]["unlearned"]["forget_accuracy"] is None) == (level != "class")
    assert sum(summary["partition"]["forget"]) > 0


@pytest.mark.parametrize(("method", "level"), REFUSED)
def test_a_level_that_a_method_does_not_define_costs_one_sentence(method, level, monkeypatch, tmp_path, capsys):
    words = [*TINY, f"method={method}", *WORDS[level], f"output.dir={tmp_path}/run", f"store.dir={tmp_path}/store"]
    monkeypatch.setattr(sys, "argv", ["fedunlearn", *words])
    monkeypatch.setattr(runner, "run_stage", None)  # nothing may be trained
    with pytest.raises(SystemExit) as stop:
        main.main()
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"fedunlearn: method {method} forgets at ")
    assert said.endswith(f"level, but the request is for {level}s\n") and said.count("\n") == 1
    assert list(Path(tmp_path).iterdir()) == []


def test_the_table_holds_every_method_and_some_refusals():
    assert {method for method, _ in DEFINED} == set(WORKING)
    assert ("fucrt", "class") in DEFINED and ("fucrt", "client") in REFUSED and ("retrain", "sample") in DEFINED
