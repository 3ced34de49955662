"""A run's configuration: composed, checked, frozen, and written so that it reads back the same."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from fedunlearn.cli import command_line, main
from fedunlearn.errors import RequestError
from fedunlearn.settings import registry
from fedunlearn.settings.config import (
    CHOSEN_SECTIONS,
    PLAIN_SECTIONS,
    Backdoor,
    Choice,
    RequestConfig,
    RunConfig,
    TrainConfig,
    UnlearnConfig,
    essence,
    from_omegaconf,
    load,
)
from fedunlearn.settings.schema import parse, plain

LEAST = {  # no engine and no tracker: these have defaults
    "dataset": {"name": "digits"},
    "model": {"name": "cnn"},
    "partition": {"name": "iid", "clients": 4},
    "method": {"name": "head_mask", "constant": 10},
}
PRESETS = sorted(path.stem for path in (main.conf_dir() / "experiment").glob("*.yaml"))


def changed(**sections):
    return {**LEAST, **sections}


def test_the_least_that_can_be_said():
    config = load(LEAST)
    assert config.engine == Choice("local", registry.find("engine", "local").settings())
    assert config.tracking.name == "none"
    assert config.audit == () and config.seed == 0
    assert config.partition.settings.clients == 4
    assert config.method.settings.constant == 10.0
    assert config.request.level == "sample"  # nothing is asked for yet


def test_a_configuration_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        load(LEAST).seed = 1


@pytest.mark.parametrize("words", [[], ["+experiment=quick"], ["method=fucrt", "request.classes=[1,2]", "engine=ray"]])
def test_what_is_written_is_read_back(words):
    config = command_line.read(words, main.conf_dir())
    assert load(json.loads(json.dumps(config.as_dict()))) == config
    assert load(yaml.safe_load(yaml.safe_dump(config.as_dict(), sort_keys=False))) == config


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_a_configuration(preset):
    config = command_line.read([f"+experiment={preset}"], main.conf_dir())
    assert load(config.as_dict()) == config


def test_every_section_is_written():
    written = load(changed(audit={"accuracy": {}, "linear_probe": None})).as_dict()
    assert set(written) == {*PLAIN_SECTIONS, *CHOSEN_SECTIONS, "audit"}
    assert {*written, "sweep"} == {field.name for field in fields(RunConfig)}  # a sweep is no part of a run
    assert written["audit"] == {"accuracy": {}}  # null switches one off
    assert written["method"] == {"name": "head_mask", "constant": 10.0}


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        (
            {"method": {"name": "head_mas"}},
            r"there is no method called 'head_mas': choose .*; did you mean head_mask\?",
        ),
        ({"method": {}}, r"method\.name must be the name of a method, not None"),
        ({"method": "fucrt"}, r"method takes a group of settings, not 'fucrt'"),
        ({"method": None}, r"method takes a group of settings, not None"),
        (
            {"partition": {"name": "iid", "alpha": 1}},
            r"there is no setting in partition called 'alpha': choose clients",
        ),
        ({"tracking": {"name": "nobody"}}, r"there is no tracker called 'nobody': .*"),
        ({"audit": ["accuracy"]}, r"audit takes a group of audits with their settings, not \['accuracy'\]"),
        ({"audit": {"accuracy": 1}}, r"audit\.accuracy takes a group of settings \(or null to switch it off\), not 1"),
        ({"audit": {"acuracy": {}}}, r"there is no audit called 'acuracy'.*; did you mean accuracy\?"),
        ({"audit": {"accuracy": {"k": 1}}}, r"there is no setting in audit\.accuracy called 'k'"),
        ({"seeds": 1}, r"there is no setting in the configuration called 'seeds': .*; did you mean seed\?"),
        ({"seed": 2**70}, r"seed must be a whole number at least 0 and at most 9223372036854775807, not 1180\d+"),
        ({"train": {"lr": 0}}, r"train\.lr must be a number above 0, not 0"),
        ({"train": {"momentum": 1}}, r"train\.momentum must be a number at least 0 and below 1, not 1"),
        ({"engine": {"name": "local", "fit_gpus": 1}}, r"there is no setting in engine called 'fit_gpus': .*"),
    ],
)
def test_what_does_not_fit_is_one_sentence(sections, sentence):
    with pytest.raises(RequestError, match=f"^{sentence}$"):
        load(changed(**sections))


def test_a_section_that_is_missing_is_named():
    with pytest.raises(RequestError, match=r"^model takes a group of settings, not None$"):
        load({name: value for name, value in LEAST.items() if name != "model"})


def test_what_hydra_composed_is_resolved():
    composed = OmegaConf.create({**LEAST, "train": {"lr": 0.5}, "unlearn": {"lr": "${train.lr}"}})
    assert from_omegaconf(composed).unlearn.lr == 0.5


@pytest.mark.parametrize(
    ("request_", "level"),
    [
        (RequestConfig(classes=(1,)), "class"),
        (RequestConfig(clients=(0,)), "client"),
        (RequestConfig(samples={"0": 5}), "sample"),
        (RequestConfig(clients=(0,), backdoor=Backdoor(target=3)), "client"),
    ],
)
def test_the_level_is_that_of_what_is_asked_for(request_, level):
    assert request_.level == level
    assert parse(RequestConfig, plain(request_)) == request_


def test_the_budget_of_unlearning_takes_what_it_lacks_from_training():
    train = TrainConfig(rounds=30, local_epochs=3, batch_size=7, lr=0.2, momentum=0.5, participation=0.4)
    config = replace(load(LEAST), train=train)
    assert config.unlearning_budget() == replace(train, rounds=10)
    own = UnlearnConfig(rounds=0, lr=0.01, momentum=0.0, weight_decay=0.0)
    budget = replace(config, unlearn=own).unlearning_budget()
    assert budget == replace(train, rounds=0, lr=0.01, momentum=0.0, weight_decay=0.0)  # a zero is a value


def test_a_run_in_a_folder_of_its_own_is_else_the_same():
    config = load(LEAST)
    moved = config.in_folder(Path("sweep") / "0_fucrt_s0")
    assert moved.output.dir == "sweep/0_fucrt_s0"
    assert replace(moved, output=config.output) == config


WHERE_THINGS_ARE = {
    "data": {"root": "/elsewhere", "download": True},
    "engine": {"name": "local", "workers": 7},
    "store": {"dir": "else", "enabled": False},
    "output": {"dir": "out", "overwrite": True},
    "tracking": {"name": "tensorboard"},
}


@given(st.sets(st.sampled_from(sorted(WHERE_THINGS_ARE))))
def test_where_things_are_is_not_the_essence_of_a_run(moved):
    there = load(changed(**{name: WHERE_THINGS_ARE[name] for name in moved}))
    assert essence(there.as_dict()) == essence(load(LEAST).as_dict())


@pytest.mark.parametrize(
    "sections",
    [
        {"seed": 1},
        {"device": "cpu"},
        {"data": {"limit": 100}},
        {"engine": {"name": "local", "min_replies": 0.9}},
        {"engine": {"name": "stacked"}},
        {"method": {"name": "head_mask", "constant": 11}},
        {"audit": {"accuracy": {}}},
        {"request": {"classes": [1]}},
        {"unlearn": {"lr": 0.1}},
    ],
)
def test_what_can_change_a_result_is(sections):
    assert essence(load(changed(**sections)).as_dict()) != essence(load(LEAST).as_dict())


def test_the_essence_leaves_what_it_is_given_as_it_was():
    written = load(LEAST).as_dict()
    before = json.dumps(written)
    essence(written)
    assert json.dumps(written) == before
