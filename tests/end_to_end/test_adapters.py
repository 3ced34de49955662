"""A run in which the method trains adapters, from one command: what is shared, what travels, what is refused."""

from __future__ import annotations

import json

import pytest

from fedunlearn.report import tables

TINY = [
    *("dataset=digits", "data.limit=300", "partition.clients=4", "gates=warn", "train.rounds=3", "unlearn.rounds=2"),
    *("train.local_epochs=2", "retrain.seeds=1", "audit=quick", "audit.ausuc=null"),
]


@pytest.fixture
def command(undrawn, tmp_path):
    return lambda *words: undrawn(*TINY, f"store.dir={tmp_path / 'store'}", *words)


def test_whole_models_and_adapters_share_all_but_the_unlearning(command, tmp_path, made_in):
    out, store = tmp_path / "out", tmp_path / "store"
    status, _, _ = command("-m", "method=fucrt", "adapter=none,lora", f"output.dir={out}")
    assert status == 0
    assert [made_in(store).count(stage) for stage in ("train", "retrain", "unlearn")] == [1, 1, 2]
    whole, adapted = (json.loads((out / f"{n}_fucrt_s0" / "summary.json").read_text()) for n in (0, 1))
    assert adapted["config"]["adapter"] == {
        "name": "lora",
        "rank": 8,
        "alpha": 8.0,
        "targets": ["conv", "linear"],
        "aggregation": "product",
    }
    assert whole["models"]["original"] == adapted["models"]["original"]
    assert whole["models"]["unlearned"] != adapted["models"]["unlearned"]
    assert adapted["cost"]["unlearn"]["bytes_up"] < whole["cost"]["unlearn"]["bytes_up"]
    assert list(tables.tidy([out / "0_fucrt_s0", out / "1_fucrt_s0"])["label"]) == ["fucrt", "fucrt by lora"]

    again = command("method=fucrt", "adapter=lora", "adapter.rank=2", f"output.dir={tmp_path / 'rank'}")
    assert again[0] == 0
    assert [made_in(store).count(stage) for stage in ("train", "retrain", "unlearn")] == [1, 1, 3]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["method=head_mask"], "adapter=lora does not go with method head_mask, which edits weights without training"),
        (["method=fucrt", "adapter.targets=[hed]"], "adapter.targets=hed is no layer of this model"),
        (["method=fucrt", "adapter.rank=0"], "adapter.rank must be"),
        (["method=fucrt", "adapter.aggregation=mean"], "adapter.aggregation must be"),
    ],
)
def test_what_does_not_go_together_is_refused_before_training(command, tmp_path, words, said, made_in):
    status, _, complaint = command("adapter=lora", *words, f"output.dir={tmp_path / 'out'}")
    assert status == 2
    assert said in complaint
    assert not (tmp_path / "store").exists() or made_in(tmp_path / "store") == []
