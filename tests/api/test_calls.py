"""fedunlearn from Python: small real runs, against what the command line does with the same settings."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from pathlib import Path

import matplotlib.figure
import numpy as np
import pytest
import torch
from hydra import compose, initialize
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra

import fedunlearn
from fedunlearn.federation.federation import open_federation
from fedunlearn.report import figures
from fedunlearn.results import summary as summaries
from fedunlearn.runs import composing

TINY = (
    *("data.limit=100", "partition.clients=2", "train.rounds=2", "unlearn.rounds=1", "retrain.seeds=1", "gates=warn"),
    *("audit=quick", "audit.ausuc=null", "method=finetune", "report.figures=false"),
)
DRAWN = "report.figures=true"
ONE_FIGURE = {"erasure_utility": figures.OF_A_RUN["erasure_utility"]}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("python")


@pytest.fixture(scope="module")
def words(place):
    return (*TINY, f"store.dir={place / 'my store (1)'}")


@pytest.fixture(scope="module")
def done(words, place):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "OF_A_RUN", ONE_FIGURE)
        return fedunlearn.run(*words, DRAWN, f"output.dir={place / 'runs (é)' / 'first'}", seed=1, quiet=True)


def test_importing_it_costs_next_to_nothing():
    code = "import sys, fedunlearn; print({'torch', 'hydra', 'flwr', 'pandas', 'matplotlib'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "set()"


def test_what_it_offers_is_listed_and_nothing_else():
    assert {"run", "sweep", "audit", "__version__"} <= set(dir(fedunlearn))
    with pytest.raises(AttributeError, match="has no attribute 'rnu'"):
        fedunlearn.rnu  # noqa: B018


def test_a_run_is_the_command_lines(done, words, place, fedunlearn_command):
    status, *_ = fedunlearn_command(*words, "seed=1", f"output.dir={place / 'by command'}")
    assert status == 0
    theirs = summaries.read(place / "by command")
    assert done.summary.signature == theirs.signature and done.findings == theirs.models
    assert theirs.cached == {"train": True, "retrain": True, "unlearn": True}, "one store, the same keys"


def test_a_result_has_what_the_summary_says(done):
    assert done.summary == summaries.read(done.folder)
    assert done.config["seed"] == 1 and done.verdict == "no verdict" and done.judged.reasons
    assert done.gap["retain_accuracy"] == pytest.approx(
        done.findings["unlearned"]["retain_accuracy"] - done.findings["retrained"]["retain_accuracy"]
    )
    assert done.cost["unlearn"]["rounds"] == 1
    assert done.paths["summary.json"].is_file() and "figures/erasure_utility.png" in done.paths
    assert not [name for name in done.paths if name.startswith(".")]


def test_its_table_has_the_models_and_the_findings_that_count(done):
    table = done.table()
    assert list(table.index) == ["original", "retrained", "noise floor", "finetune"]
    assert table.loc["finetune", "retain accuracy"] == done.findings["unlearned"]["retain_accuracy"]
    assert table.loc["finetune", "rounds"] == 1


def test_its_figures_are_drawn_when_they_are_asked_for(done):
    assert isinstance(done.figure("erasure_utility"), matplotlib.figure.Figure)
    with pytest.raises(fedunlearn.RequestError, match="did you mean class_flow"):
        done.figure("clas_flow")


def test_its_page_in_a_notebook_is_escaped(done):
    shown = done._repr_html_()
    assert "no verdict" in shown and "<td>" in shown
    assert "<script>" not in fedunlearn.Result(Path("<script>"), done.summary, done.load)._repr_html_()


def test_its_models_are_those_that_were_measured(done):
    models = done.models
    federation = open_federation(composing.read([*TINY, "seed=1"], composing.conf_dir()))
    test = federation.dataset.test
    with torch.no_grad():
        said = models.unlearned(federation.dataset.prepare(test.inputs)).argmax(dim=1)
    stays = ~np.isin(test.groups.numpy(), federation.request.classes)
    accuracy = float((said == test.targets).numpy()[stays].mean())
    assert accuracy == pytest.approx(done.findings["unlearned"]["retain_accuracy"])
    assert len(models.retrained) == 1


def test_a_finished_run_is_not_run_again_and_its_models_come_from_the_store(done, words):
    again = fedunlearn.run(*words, f"output.dir={done.folder}", seed=1, quiet=True)
    assert again.summary == done.summary
    ours, theirs = again.models.unlearned.state_dict(), done.models.unlearned.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_calls_without_a_folder_do_not_meet_in_one(words, place, monkeypatch):
    monkeypatch.chdir(place)
    first, second = (fedunlearn.run(*words, seed=1, method=method, quiet=True) for method in ("finetune", "head_mask"))
    assert first.folder != second.folder and first.folder.is_relative_to(place / "outputs")


def test_it_leaves_no_traces_in_the_process_and_runs_beside_a_running_loop(words, place):
    """Somebody else's Hydra application, with a loop that runs, as in a notebook."""
    flower, threads, nodes = logging.getLogger("flwr"), torch.get_num_threads(), list(ConfigStore.instance().repo)
    before = flower.handlers[:], flower.level, flower.propagate, logging.getLogger().handlers[:]

    async def cell():
        return fedunlearn.run(*words, f"output.dir={place / 'loop'}", seed=1, quiet=True)

    with initialize(config_path=None, version_base="1.2"):
        theirs = GlobalHydra.instance().hydra
        assert asyncio.run(cell()).findings
        assert GlobalHydra.instance().hydra is theirs
        assert compose(overrides=["+a=1"]) == {"a": 1}
    after = flower.handlers[:], flower.level, flower.propagate, logging.getLogger().handlers[:]
    assert after == before
    assert torch.get_num_threads() == threads and list(ConfigStore.instance().repo) == nodes


def test_quiet_is_quiet_and_flower_speaks_in_the_log_alone(words, place, capfd):
    result = fedunlearn.run(*words, f"output.dir={place / 'quiet'}", seed=2, quiet=True)
    assert capfd.readouterr() == ("", "")
    assert "INFO Flower: " in result.paths["log.txt"].read_text()
    fedunlearn.run(*words, f"output.dir={place / 'loud'}", seed=2)
    out, err = capfd.readouterr()
    assert "found in the store" in out and "\x1b" not in out and err == ""


def test_a_failed_run_raises_and_leaves_its_reason(words, place, monkeypatch):
    from fedunlearn.runs import pipeline

    def broken(*args, **kwargs):
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(pipeline, "run", broken)
    with pytest.raises(fedunlearn.RunError, match="ZeroDivisionError: by zero") as failed:
        fedunlearn.run(*words, f"output.dir={place / 'broken'}", quiet=True)
    assert isinstance(failed.value.__cause__, ZeroDivisionError)
    assert summaries.read(place / "broken").reason == "ZeroDivisionError: by zero"


def test_a_sweep_runs_every_combination(words, place):
    swept = fedunlearn.sweep(
        *words, f"output.dir={place / 'sweep'}", method=["finetune", "head_mask"], seed=range(1, 3), quiet=True
    )
    assert [(one.config["method"]["name"], one.config["seed"]) for one in swept] == [
        *(("finetune", 1), ("finetune", 2), ("head_mask", 1), ("head_mask", 2))
    ]
    assert not swept.failed and len(swept) == 4 and list(swept.frame["seed"]) == [1, 2, 1, 2]
    assert list(swept.table().index) == ["original", "retrained", "noise floor", "finetune", "head_mask"]
    assert {"report.html", "runs.csv", "sweep.json"} <= set(swept.paths)
    assert isinstance(swept.figure("distance_cost"), matplotlib.figure.Figure)
    assert "4 finished runs" in swept._repr_html_()
    assert "fedunlearn -m " in swept.paths["sweep.json"].read_text()


def test_a_job_that_fails_is_listed_and_does_not_end_the_sweep(words, place, monkeypatch):
    from fedunlearn.runs import pipeline

    true_run = pipeline.run

    def run(config, *rest):
        if config.method.name == "head_mask":
            raise fedunlearn.RunError("the disk is on fire")
        return true_run(config, *rest)

    monkeypatch.setattr(pipeline, "run", run)
    monkeypatch.setattr(figures, "OF_A_RUN", ONE_FIGURE)
    monkeypatch.setattr(figures, "OF_A_SWEEP", {})
    swept = fedunlearn.sweep(
        *words, DRAWN, f"output.dir={place / 'half'}", method=["finetune", "head_mask"], seed=1, quiet=True
    )
    assert len(swept) == 1 and swept.failed == ("1_head_mask_s1 failed: the disk is on fire",)
    assert "figures/erasure_utility.png" in swept[0].paths, "runs of a sweep are drawn too"


def test_an_audit_of_a_runs_own_model_finds_the_same(done, words, place):
    audited = fedunlearn.audit(
        done.models.unlearned, *words, f"output.dir={place / 'mine'}", seed=1, name="<mine>", quiet=True
    )
    assert audited.findings == done.findings
    assert audited.summary.cached["train"] and audited.summary.cached["retrain"]
    assert list(audited.table().index)[-1] == "<mine>" and "&lt;mine&gt;" in audited._repr_html_()
    assert audited.cost["unlearn"]["seconds"] is None


def test_an_audit_of_another_model_finds_something_else(done, words, place):
    weights = {name: torch.zeros_like(value) for name, value in done.models.original.state_dict().items()}
    audited = fedunlearn.audit(weights, *words, f"output.dir={place / 'zero'}", seed=1, quiet=True)
    assert audited.findings["unlearned"]["flow_confidence"] == pytest.approx(1 / 9), "all others as likely"
    assert audited.findings["retrained"] == done.findings["retrained"]


def broken_models():
    from torch import nn

    yield "a torch module or its state dict, not int", lambda state: 3
    yield "it lacks the tensor head.bias", lambda state: {n: v for n, v in state.items() if n != "head.bias"}
    yield "beyond those, the tensor more", lambda state: {**state, "more": torch.zeros(1)}
    yield "head.bias has the shape \\[3\\], not \\[10\\]", lambda state: {**state, "head.bias": torch.zeros(3)}
    yield "head.bias holds torch.float64", lambda state: {**state, "head.bias": state["head.bias"].double()}
    yield "not finite", lambda state: {**state, "head.bias": torch.full([10], torch.nan)}
    yield "it lacks the tensors encoder.0.bias", lambda state: nn.Linear(2, 2)


@pytest.mark.parametrize(("said", "make"), list(broken_models()))
def test_a_model_that_does_not_fit_is_refused_in_one_sentence(done, words, place, said, make):
    model = make(done.models.original.state_dict())
    with pytest.raises(fedunlearn.RequestError, match=said) as refused:
        fedunlearn.audit(model, *words, f"output.dir={place / 'refused'}", quiet=True)
    assert "\n" not in str(refused.value) and not (place / "refused").exists()


MISTAKES = {
    "an option of the command line": (
        lambda: fedunlearn.run("-m", "seed=0,1"),
        "is an option of the command line",
    ),
    "several values": (lambda: fedunlearn.run("seed=0,1"), "fedunlearn.sweep"),
    "a misspelt setting": (lambda: fedunlearn.run(sed=1), "did you mean seed"),
    "a misspelt setting in a group": (lambda: fedunlearn.run(train={"round": 3}), "did you mean rounds"),
    "a misspelt method": (lambda: fedunlearn.run(method="FUCRTT"), "did you mean fucrt"),
    "no text": (lambda: fedunlearn.run({"seed": 1}), "is not a setting in words"),
    "an object": (lambda: fedunlearn.run(seed=object()), "of the type object"),
    "nothing to sweep over": (lambda: fedunlearn.sweep(seed=[]), "seed has no values to run"),
    "one bad value of many": (lambda: fedunlearn.sweep(method=["fucrt", "fintune"]), "did you mean finetune"),
    "a forecast": (lambda: fedunlearn.run("sweep.dry_run=true"), "use it on the command line"),
    "a text for a number": (lambda: fedunlearn.run(train={"rounds": "many"}), "train.rounds must be a whole number"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_costs_one_sentence_and_nothing_is_made(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, said = MISTAKES[name]
    with pytest.raises(fedunlearn.RequestError) as refused:
        call()
    assert said in str(refused.value) and "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_shadow_models_are_not_for_a_model_of_ones_own(done):
    with pytest.raises(fedunlearn.RequestError, match="u_lira trains shadow models"):
        fedunlearn.audit(done.models.original, *TINY, audit={"u_lira": {"shadows": 16}}, quiet=True)
