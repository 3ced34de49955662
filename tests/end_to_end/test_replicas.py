"""Audits of ensembles from end to end: replicas are trained, unlearned, counted and compared."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from fedunlearn.audits import ensembles
from fedunlearn.cli import command_line
from fedunlearn.cli.main import conf_dir
from fedunlearn.errors import RequestError
from fedunlearn.results.summary import to_json
from fedunlearn.runs import pipeline, preflight
from fedunlearn.runs.console import Console
from fedunlearn.runs.summarise import summarise
from fedunlearn.settings.config import RunConfig


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer models than make sense, which take less time."""
    monkeypatch.setattr(ensembles, "RETRAINED", 8)
    monkeypatch.setattr(ensembles, "REPLICAS", 3)


def configured(place: Path, seeds: int) -> RunConfig:
    small = [
        "dataset=digits",
        "data.limit=120",
        "partition.clients=2",
        "gates=warn",
        "train.rounds=1",
        "unlearn.rounds=1",
    ]
    asked = ["audit.klom={replicas: 3, samples: 40}", "audit.epsilon={replicas: 3, samples: 40}"]
    others = ["audit=quick", "audit.ausuc=null", "audit.class_flow=null", *(f"+{word}" for word in asked)]
    where = [f"store.dir={place / 'store'}", f"output.dir={place / 'run'}"]
    return command_line.read([*small, *others, *where, "method=head_mask", f"retrain.seeds={seeds}"], conf_dir())


def test_replicas_are_trained_unlearned_counted_and_compared(tmp_path: Path) -> None:
    outcome = pipeline.run(configured(tmp_path, 8), Console(io.StringIO()))
    found = json.loads(to_json(summarise(outcome, "")))
    original, unlearned = (found["models"][role] for role in ("original", "unlearned"))
    for name in ("klom", "energy", "epsilon", "forgetting_quality"):
        assert unlearned[f"{name}_neighbour"] == original[f"{name}_neighbour"] is not None, (
            "a mask changes nothing there"
        )
    assert unlearned["klom_forget"] == pytest.approx(11.51, abs=0.01) and unlearned["epsilon"] == 2
    assert unlearned["klom_test"] is not None and original["klom_forget"] < 11.5
    assert len({each["klom_neighbour"] for each in found["retrained_seeds"]}) == 8
    assert found["noise_floor"]["energy_neighbour"] > 0
    assert found["cost"]["unlearn"]["rounds"] == 0 and found["cost"]["train"]["rounds"] == 1
    assert found["cost"]["replicas"]["rounds"] == 3, "their training counts, and not as the method's own"
    assert {kind: len(list((tmp_path / "store" / kind).iterdir())) for kind in ("train", "unlearn", "retrain")} == {
        "train": 1 + 3,
        "unlearn": 1 + 3,
        "retrain": 8,
    }


def test_too_few_retrained_models_are_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"^audit.klom needs at least 8 retrained models, not 7: retrain.seeds=8$"):
        preflight.check(configured(tmp_path, 7))
