"""Runs in which clients replay some of their retain samples, from one command: what is shared, said and refused."""

from __future__ import annotations

import json

import pytest

from fedunlearn.report import tables

TINY = [
    *("dataset=digits", "data.limit=300", "partition.clients=3", "gates=warn", "train.rounds=2", "unlearn.rounds=1"),
    *("retrain.seeds=1", "audit=quick", "audit.ausuc=null", "audit.class_flow=null"),
]


@pytest.fixture
def command(undrawn, tmp_path):
    return lambda *words: undrawn(*TINY, f"store.dir={tmp_path / 'store'}", *words)


def test_selectors_share_all_but_the_stages_in_which_clients_select(command, tmp_path, made_in):
    out, store = tmp_path / "out", tmp_path / "store"
    status, _, _ = command("-m", "method=finetune", "select=all,energy", "repair=finetune", f"output.dir={out}")
    assert status == 0
    stages = ("train", "retrain", "unlearn", "repair")
    assert [made_in(store).count(stage) for stage in stages] == [1, 1, 2, 6]
    whole, near = (json.loads((out / f"{n}_finetune_s0" / "summary.json").read_text()) for n in range(2))
    assert near["config"]["select"] == {"name": "energy", "share": None, "to": None, "components": 16}
    assert whole["models"]["original"] == near["models"]["original"]
    assert whole["models"]["unlearned"] != near["models"]["unlearned"]
    assert whole["samples"]["replayed_train"] == whole["samples"]["retain_train"]
    assert near["samples"]["replayed_train"] < 0.2 * near["samples"]["retain_train"]
    for stage in ("unlearn", "repair"):
        assert near["cost"][stage]["samples"] < 0.2 * whole["cost"][stage]["samples"]
    rows = tables.as_unlearned(tables.tidy(sorted(out.glob("*_finetune_s0"))))
    assert list(rows["select"]) == ["all", "energy"]
    assert rows["label"].iloc[1].startswith("finetune (select.name=energy")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["select=enrgy"], "energy"),
        (["select=random", "select.share=0"], "select.share must be"),
        (["select=energy", "select.shar=0.1"], "share"),
        (["select=random", "select.components=3"], "components"),
        (["select=energy", "select.to=majority"], "select.to must be minority"),
        (["select=mutual_information", "select.bins=1"], "select.bins must be"),
        (["select=energy", "method=head_mask"], "select=energy has no stage to select for"),
    ],
    ids=lambda given: given[-1] if isinstance(given, list) else "",
)
def test_a_mistake_costs_one_sentence(command, tmp_path, words, said, made_in):
    status, _, complaint = command(*words, f"output.dir={tmp_path / 'out'}")
    assert status == 2 and said in complaint and len(complaint.strip().splitlines()) == 1
    assert not (tmp_path / "store").exists() or made_in(tmp_path / "store") == []
