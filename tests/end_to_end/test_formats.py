"""Runs whose models are rounded: no training, everything next to models of the same format, shared and resumed."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

import fedunlearn
from fedunlearn.deploy.base import Format, rounded
from fedunlearn.report import figures
from fedunlearn.runs import runner
from fedunlearn.settings import registry

TINY = (
    *("data.limit=200", "partition.clients=3", "gates=warn", "train.rounds=2", "unlearn.rounds=1", "retrain.seeds=2"),
    *("audit=quick", "method=finetune"),
)
FORMATS = "deploy.formats=[int8,int4]"


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "draw", lambda run, *names, **how: [])
    monkeypatch.setattr(figures, "draw_sweep", lambda rows, declared, folder, titled: [])


def counted(monkeypatch: pytest.MonkeyPatch, name: str) -> list[str]:
    """The names of the steps that a method of the runner computes from now on."""
    made, work = [], getattr(runner.Runner, name)

    def noted(self, step, *given):
        made.append(step.name)
        return work(self, step, *given)

    monkeypatch.setattr(runner.Runner, name, noted)
    return made


def test_all_models_go_through_the_same_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained, converted = counted(monkeypatch, "_train"), counted(monkeypatch, "_convert")
    store = f"store.dir={tmp_path / 'store'}"
    fedunlearn.run(*TINY, store, f"output.dir={tmp_path / 'plain'}", quiet=True)
    assert len(trained) == 4 and converted == []
    result = fedunlearn.run(*TINY, FORMATS, store, f"output.dir={tmp_path / 'run'}", quiet=True)
    assert len(trained) == 4, "to round a model is no training"
    names = ("train", "retrain_0", "retrain_1", "unlearn")
    assert converted == [f"{name}.{format}" for format in ("int8", "int4") for name in names]

    assert result.formats == ("float32", "int8", "int4")
    for name in result.formats[1:]:
        there = result.at(name)
        pairs = zip(everything(result.models), everything(there.models), strict=True)
        for before, after in pairs:
            expected = rounded(before["head.weight"], registry.find(Format, name)).values
            assert torch.equal(after["head.weight"], expected)
            assert torch.equal(after["head.bias"], before["head.bias"])
        found = result.summary.deployed[name]
        seeds = [seed["retain_accuracy"] for seed in found.retrained_seeds]
        assert found.models["retrained"]["retain_accuracy"] == pytest.approx(sum(seeds) / 2)
        assert found.noise_floor["retain_accuracy"] == pytest.approx(max(seeds) - min(seeds))
        gap = found.models["unlearned"]["retain_accuracy"] - sum(seeds) / 2
        assert there.gap["retain_accuracy"] == pytest.approx(gap)
        assert 0 < result.survival[name]["flipped"] < 1
    assert result.survival["int8"]["flipped"] > result.survival["int4"]["flipped"]

    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    stages = {line["stage"] for line in lines}
    assert {"audit_unlearned", "audit_unlearned.int4", "audit_original.int8", "audit_retrained_1.int4"} <= stages
    assert "At int8 and int4" in result.summary.headline
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "As it ships" in page and "At int4" in page
    assert result.table().index.get_level_values("setting").nunique() == 3


def everything(models) -> list[dict[str, torch.Tensor]]:
    return [model.state_dict() for model in (models.original, *models.retrained, models.unlearned)]


def test_a_sweep_shares_what_is_rounded_and_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted = counted(monkeypatch, "_convert")
    places = (f"store.dir={tmp_path / 'store'}", f"output.dir={tmp_path / 'sweep'}")
    sweep = fedunlearn.sweep(*TINY, "method=finetune,head_mask", FORMATS, *places, quiet=True)
    assert not sweep.failed and len(sweep) == 2
    assert len(converted) == 2 * 5, "original, two retrained and two unlearned models, in each format once"

    table = pd.read_csv(tmp_path / "sweep" / "runs.csv")
    assert table["format"].value_counts().to_dict() == {"float32": 2, "int8": 2, "int4": 2}
    row = table[(table["format"] == "int4") & (table["method"] == "head_mask")].iloc[0]
    assert row["unlearned.retain_accuracy"] == sweep[1].at("int4").findings["unlearned"]["retain_accuracy"]
    assert row["setting"].endswith("at int4")

    (tmp_path / "sweep" / "1_head_mask_s0" / "summary.json").unlink()
    again = fedunlearn.sweep(*TINY, "method=finetune,head_mask", FORMATS, *places, quiet=True)
    assert len(converted) == 10 and again[1].summary.deployed == sweep[1].summary.deployed
    fedunlearn.run(*TINY, "deploy.formats=[int4]", "deploy.group_size=8", places[0], f"output.dir={tmp_path / 'other'}")
    assert len(converted) == 14, "other groups are other models"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("deploy.formats=[int5]", "there is no format called 'int5': choose int3, int4, int8 or nf4"),
        ("deploy.formats=int4", "deploy.formats must be a list in brackets"),
        ("deploy.group_size=0", "deploy.group_size must be a whole number at least 1 or null"),
        ("deploy.backend=torch", "deploy.backend must be reference or torchao"),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(tmp_path: Path, word: str, said: str) -> None:
    with pytest.raises(fedunlearn.RequestError) as error:
        fedunlearn.run(*TINY, word, f"output.dir={tmp_path / 'run'}", quiet=True)
    assert said in str(error.value)
    assert not (tmp_path / "run").exists()
