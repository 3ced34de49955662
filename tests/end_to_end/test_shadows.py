"""U-LiRA from end to end: shadow models are trained, unlearned, shared and attacked, and find what is there to find."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fedunlearn.cli import command_line
from fedunlearn.cli.main import conf_dir
from fedunlearn.federation.federation import open_federation
from fedunlearn.results.summary import to_json
from fedunlearn.runs import pipeline, steps
from fedunlearn.runs.console import Console
from fedunlearn.runs.summarise import summarise
from fedunlearn.store import Store

ATTACK = ["audit=quick", "+audit.u_lira.shadows=6", "retrain.seeds=2", "partition=iid", "partition.clients=2"]
BY_HEART = ["train.rounds=4", "train.local_epochs=10", "unlearn.rounds=0"]
SAMPLES = ["request.classes=[]", "request.samples={0: 20, 1: 20}"]
BRIEF = ["gates=warn", "train.rounds=2", "unlearn.rounds=1", "request.classes=[1]"]
Summary = dict[str, Any]
Run = Callable[..., Summary]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images that are noise: there is nothing to learn about them but by heart, and that only from themselves."""
    folder = tmp_path_factory.mktemp("shadows")
    stream = np.random.default_rng(0)
    for name in ("train", "test"):
        for label in range(4):
            (folder / name / str(label)).mkdir(parents=True)
            for number in range(20 if name == "train" else 5):
                noise = stream.integers(0, 256, (8, 8)).astype(np.uint8)
                Image.fromarray(noise).save(folder / name / str(label) / f"{number}.png")
    return folder


def words_of(place: Path, *more: str) -> list[str]:
    data = ["dataset=image_folder", f"dataset.path={place}", "dataset.size=8", "dataset.channels=grey"]
    return [*data, *ATTACK, f"store.dir={place / 'store'}", f"output.dir={place / 'run'}", *more]


@pytest.fixture(scope="module")
def run(place: Path) -> Run:
    """The summary of a run by its words; all of them share a store."""

    def summary_of(*words: str) -> Summary:
        config = command_line.read(words_of(place, "gates=warn", *words), conf_dir())
        made: Summary = json.loads(to_json(summarise(pipeline.run(config, Console(io.StringIO())), "")))
        return made

    return summary_of


def held_by(place: Path, kind: str) -> int:
    return len(list((place / "store" / kind).iterdir()))


def test_what_a_method_leaves_is_found_and_retraining_leaves_nothing(run: Run, place: Path) -> None:
    """A method of no rounds leaves everything; retraining forgets by construction. They share the shadows' training."""
    nothing = run(*SAMPLES, *BY_HEART, "method=finetune")
    assert nothing["models"]["original"]["u_lira_auc"] > 0.75
    assert nothing["models"]["unlearned"]["u_lira_auc"] == nothing["models"]["original"]["u_lira_auc"]
    assert nothing["models"]["unlearned"]["u_lira_tpr"] > nothing["models"]["retrained"]["u_lira_tpr"]
    assert nothing["gap"]["u_lira_auc"] > 3 * nothing["noise_floor"]["u_lira_auc"]
    assert held_by(place, "train") == 1 + 6
    retrain = run(*SAMPLES, *BY_HEART, "method=retrain")
    assert held_by(place, "train") == 1 + 6
    assert held_by(place, "unlearn") == 2 * (1 + 6)
    assert retrain["models"]["original"]["u_lira_auc"] == nothing["models"]["original"]["u_lira_auc"]
    every = [retrain["models"]["unlearned"], *retrain["retrained_seeds"]]
    # An AUC of 20 against 20 samples has a deviation of 0.09, a mean of six of them one of about 0.04.
    assert [model["u_lira_auc"] for model in every] == pytest.approx([0.5] * 3, abs=0.12)


def test_head_masking_has_the_u_lira_of_the_original(run: Run) -> None:
    """Among the classes that stay, it says what the original says."""
    models = run(*BRIEF, "method=head_mask")["models"]
    assert models["unlearned"]["u_lira_auc"] == models["original"]["u_lira_auc"] != 0.5


def test_shadows_have_a_history_of_their_own(run: Run, place: Path) -> None:
    """FedEraser looks back on the original training: every shadow on its own, which is the same training once more."""
    assert run(*BRIEF, "method=federaser")["models"]["unlearned"]["u_lira_auc"] is not None
    config = command_line.read(words_of(place, *BRIEF, "method=federaser"), conf_dir())
    store = Store(place / "store")
    unlearned = [step for step in steps.of_run(config, open_federation(config)).variants if step.role == "unlearned"]
    assert len(unlearned) == 6
    for step in unlearned:
        looked_up = (step.inputs["history"][0], step.inputs["start"][0])
        again, first = (store.peek(each.kind, each.determinants()) for each in looked_up)
        assert again and first
        assert all(torch.equal(again.tensors[name], first.tensors[name]) for name in first.tensors)


def test_other_engines_train_the_same_shadows(run: Run) -> None:
    """The clients of a shadow know what they lack, whoever runs them."""
    local = run(*BRIEF, "method=finetune")
    stacked = run(*BRIEF, "method=finetune", "engine=stacked")
    for name in ("original", "unlearned"):
        found = [summary["models"][name]["u_lira_auc"] for summary in (local, stacked)]
        assert found[0] == pytest.approx(found[1], abs=0.02)
