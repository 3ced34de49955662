"""A reviewer's way: somebody else's references from a bank, somebody else's model from a file, and every audit."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from fedunlearn.cli import audit, main
from fedunlearn.cli import store as store_command
from fedunlearn.errors import RequestError
from fedunlearn.runs import runner

TINY = [
    "dataset=digits",
    "data.limit=200",
    "partition.clients=2",
    "model.width=2",
    "train.rounds=2",
    "unlearn.rounds=1",
]
TINY += ["retrain.seeds=2", "audit=quick", "audit.ausuc=null", "gates=warn", "report.figures=false"]


def fedunlearn(monkeypatch, *words):
    """Exit status and nothing else; in this process."""
    monkeypatch.setattr(sys, "argv", ["fedunlearn", *map(str, words)])
    try:
        main.main()
    except SystemExit as stop:
        return stop.code
    return 0


def found(folder):
    return json.loads((folder / "summary.json").read_text())


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """The author's run, with its models, and the bank of its references."""
    place = tmp_path_factory.mktemp("theirs")
    with pytest.MonkeyPatch.context() as patch:
        words = ["method=head_mask", *TINY, "output.models=true", f"output.dir={place}/run", f"store.dir={place}/store"]
        assert fedunlearn(patch, *words) == 0
        assert (
            store_command.main(["export", str(place / "b.zip"), "--run", f"{place}/run", "--store", f"{place}/store"])
            == 0
        )
    return place


def test_a_strangers_model_is_audited_without_training(theirs, tmp_path, monkeypatch, capsys):
    assert store_command.main(["import", f"{theirs}/b.zip", "--store", f"{tmp_path}/store"]) == 0
    monkeypatch.setattr(runner, "run_stage", None)  # nothing may be trained
    model, places = theirs / "run" / "models" / "unlearned.safetensors", [f"store.dir={tmp_path}/store"]
    assert fedunlearn(monkeypatch, "audit", model, *TINY, *places, f"output.dir={tmp_path}/mine") == 0
    again = ["audit", model, "--rerun", f"{theirs}/run/config.yaml", *places, f"output.dir={tmp_path}/rerun"]
    assert fedunlearn(monkeypatch, *again) == 0
    author, mine, rerun = (found(path) for path in (theirs / "run", tmp_path / "mine", tmp_path / "rerun"))
    assert mine["models"] == author["models"] == rerun["models"]
    assert mine["title"] == "a model from a file" and mine["cached"]["train"] and mine["cached"]["retrain"]
    assert mine["cost"]["unlearn"]["seconds"] is None, "nobody knows what it cost"
    capsys.readouterr()
    assert fedunlearn(monkeypatch, "audit", model, *TINY, *places, f"output.dir={tmp_path}/mine") == 0
    assert "finished already" in capsys.readouterr().out
    forecast = ["method=checkpoint", f"method.path={model}", *TINY, *places, "sweep.dry_run=true"]
    assert fedunlearn(monkeypatch, *forecast, f"output.dir={tmp_path}/forecast") == 0
    assert "0 stages to compute" in capsys.readouterr().out


def test_another_model_at_the_same_path_is_another_run(theirs, tmp_path, monkeypatch):
    model = tmp_path / "model.safetensors"
    tensors = load_file(theirs / "run" / "models" / "unlearned.safetensors")
    words = ["audit", model, *TINY, f"store.dir={theirs}/store", f"output.dir={tmp_path}/mine"]
    answers = []
    for bias in (0.0, 50.0):
        save_file({**tensors, "head.bias": tensors["head.bias"] + bias * torch.eye(10)[3]}, model)
        assert fedunlearn(monkeypatch, *words) == 0
        answers.append(found(tmp_path / "mine")["models"]["unlearned"]["retain_accuracy"])
    assert answers[0] != answers[1]


def test_models_are_the_runs_own(theirs):
    folder = theirs / "run" / "models"
    names = ["original", "retrained_0", "retrained_1", "unlearned"]
    assert sorted(path.stem for path in folder.iterdir()) == names
    original, masked = (load_file(folder / f"{name}.safetensors") for name in ("original", "unlearned"))
    assert [name for name in original if not torch.equal(original[name], masked[name])] == ["head.bias"]


def test_models_that_were_not_asked_for_are_written_when_they_are(theirs, tmp_path, monkeypatch):
    words = ["method=head_mask", *TINY, f"store.dir={theirs}/store", f"output.dir={tmp_path}/run"]
    assert fedunlearn(monkeypatch, *words) == 0
    assert not (tmp_path / "run" / "models").exists()
    assert fedunlearn(monkeypatch, *words, "output.models=true") == 0
    assert len(list((tmp_path / "run" / "models").iterdir())) == 4


def spoiled(path, kind, tensors):
    """A file that is no model of that architecture, in some way."""
    if kind == "pickle":
        torch.save(tensors, path)
    elif kind == "text":
        path.write_text("not a model")
    elif kind == "shape":
        save_file({**tensors, "head.bias": torch.zeros(7)}, path)
    elif kind == "name":
        save_file({name: value for name, value in tensors.items() if name != "head.bias"}, path)
    elif kind == "number":
        save_file({**tensors, "head.bias": torch.full((10,), float("nan"))}, path)
    elif kind == "type":
        save_file({name: value.half() for name, value in tensors.items()}, path)
    return path


SENTENCES = {
    "pickle": "is a pickle, which can run code when it is read, so it is not read",
    "text": "is no safetensors file",
    "shape": "head.bias has the shape [7], not [10]",
    "name": "it lacks the tensor head.bias",
    "number": "head.bias holds numbers that are not finite",
    "type": "holds torch.float16, not torch.float32",
    "nothing": "cannot be read (No such file or directory)",
}


@pytest.mark.parametrize("kind", SENTENCES)
def test_what_is_no_such_model_costs_a_sentence(theirs, tmp_path, monkeypatch, capsys, kind):
    path = spoiled(tmp_path / "model", kind, load_file(theirs / "run" / "models" / "original.safetensors"))
    monkeypatch.setattr(runner, "run_stage", None)
    assert fedunlearn(monkeypatch, "audit", path, *TINY, f"output.dir={tmp_path}/run", f"store.dir={tmp_path}/s") == 2
    said = capsys.readouterr().err
    assert SENTENCES[kind] in said and said.count("\n") == 1
    assert not (tmp_path / "run").exists()


WRONG = {
    "engine=deployment": "choose another engine than deployment",
    "adapter=lora": "adapter=lora does not go with method checkpoint, which is a finished model",
    "unlearn.min_step=int4": "unlearn.min_step does not go with method checkpoint, which is a finished model",
    "audit.u_lira.shadows=6": "audit.u_lira trains shadow models",
    "method.path=null": "method checkpoint needs method.path",
}


@pytest.mark.parametrize("word", WRONG)
def test_what_does_not_go_with_a_finished_model(theirs, tmp_path, monkeypatch, capsys, word):
    model = theirs / "run" / "models" / "unlearned.safetensors"
    words = [
        "method=checkpoint",
        f"method.path={model}",
        *TINY,
        f"output.dir={tmp_path}/run",
        f"store.dir={tmp_path}/s",
    ]
    assert fedunlearn(monkeypatch, *words, word if "u_lira" not in word else f"++{word}") == 2
    assert WRONG[word] in (said := capsys.readouterr().err) and said.count("\n") == 1


@pytest.mark.parametrize("words", [["audit"], ["audit", "--rerun", "x"], ["audit", "seed=1"]])
def test_a_model_must_be_named(words):
    with pytest.raises(RequestError, match="audit needs a model"):
        audit.expand(words)


def test_other_commands_stay_as_they_are():
    assert audit.expand(["method=fucrt"]) == ["method=fucrt"]
    assert audit.expand(["audit", "a b.safetensors", "seed=1"])[-1] == 'method.path="a b.safetensors"'
