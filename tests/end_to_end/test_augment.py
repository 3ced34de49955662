"""Augmentation from the command line: what depends on it, what is shared, and what is refused before any training."""

from __future__ import annotations

import json

import pytest

from fedunlearn.cli import command_line
from fedunlearn.cli.main import conf_dir
from fedunlearn.federation.federation import open_federation
from fedunlearn.report import tables
from fedunlearn.runs import steps

TINY = [
    *("dataset=digits", "data.limit=200", "partition.clients=3", "gates=warn", "train.rounds=2", "unlearn.rounds=1"),
    *("retrain.seeds=1", "audit=quick", "audit.ausuc=null"),
]


@pytest.fixture
def command(undrawn, tmp_path):
    return lambda *words: undrawn(*TINY, f"store.dir={tmp_path / 'store'}", *words)


def test_models_are_shared_by_runs_of_the_same_augmentation(command, tmp_path, made_in):
    out = tmp_path / "out"
    status, _, _ = command("-m", "augment=none,flip_crop", "method=finetune,relabel", f"output.dir={out}")
    assert status == 0
    counts = [made_in(tmp_path / "store").count(stage) for stage in ("train", "retrain", "unlearn")]
    assert counts == [2, 2, 4]
    runs = [json.loads(path.read_text()) for path in sorted(out.glob("*/summary.json"))]
    assert runs[2]["config"]["augment"] == {"name": "flip_crop", "strength": 0.125, "flip": 0.5}
    assert runs[0]["models"]["original"] == runs[1]["models"]["original"] != runs[2]["models"]["original"]
    named = tables.tidy(sorted(path.parent for path in out.glob("*/summary.json")))["setting"]
    assert ["augmented by flip_crop" in name for name in named] == [False, False, True, True]
    again = command("method=relabel", "augment=flip_crop", "augment.strength=0.25", f"output.dir={tmp_path / 'more'}")
    assert again[0] == 0
    assert made_in(tmp_path / "store").count("train") == 3


def keys(*words):
    config = command_line.read([*TINY, *words], conf_dir())
    return {step.label: step.key for step in steps.of_run(config, open_federation(config)).models}


def test_it_is_part_of_every_key_of_what_trains():
    plain, mixed = keys("repair=finetune"), keys("repair=finetune", "augment=mixup", "method.prototypes_by=trained")
    assert plain.keys() == mixed.keys() and not set(plain.values()) & set(mixed.values())
    assert keys("augment=blur")["original"] != keys("augment=blur", "augment.strength=2")["original"]


@pytest.mark.parametrize("augment", ["none", "blur"])
def test_what_comes_after_a_stage_does_not_change_its_key(augment):
    """So that runs that augment alike share all stages up to where they part."""
    one = keys(f"augment={augment}", "method=relabel")
    other = keys(f"augment={augment}", "method=finetune", "repair=finetune", "audit=default")
    assert {label for label in one if one[label] == other[label]} == {"original", "retrained_0"}
    more = keys(f"augment={augment}", "method=relabel", "repair=finetune")
    assert {label for label in more if more[label] == one.get(label)} == set(one)


def test_a_model_that_was_made_elsewhere_does_not_depend_on_it():
    def given(*words):
        config = command_line.read([*TINY, *words], conf_dir())
        federation = open_federation(config)
        made = steps.of_model(config, federation, federation.models.fresh(0).state_dict()).models
        return {step.label: step.key for step in made}

    plain, blurred = given(), given("augment=blur")
    assert {label for label in plain if plain[label] == blurred[label]} == {"unlearned"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["augment=mixupp"], "mixup"),
        (["augment=mixup", "augment.strength=0"], "augment.strength must be"),
        (["augment=blur", "augment.alpha=1"], "there is no setting in augment called 'alpha'"),
        (["augment=mixup", "method=fucrt"], "does not go with method fucrt, which keeps"),
        (["augment=cutmix", "method=relabel", "repair=climbq"], "does not go with repair climbq, which changes"),
    ],
)
def test_what_cannot_be_is_refused_before_training(command, tmp_path, words, said, made_in):
    status, _, complaint = command(*words, f"output.dir={tmp_path / 'out'}")
    assert status == 2
    assert said in complaint and "Traceback" not in complaint
    assert not (tmp_path / "store").exists() or made_in(tmp_path / "store") == []
