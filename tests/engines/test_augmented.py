"""Augmented images are the same on every engine and for any number of workers: what is random comes from the client."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch

from fedunlearn.cli import command_line
from fedunlearn.engines.base import Progress, run_stage
from fedunlearn.federation.federation import open_federation
from fedunlearn.runs.steps import Setting
from fedunlearn.settings.config import Choice

CONF = Path(__file__).parents[2] / "conf"
SMALL = ["data.limit=200", "partition.clients=4", "model.width=4", "train.batch_size=8", "device=cpu"]


def run(augment: str, *words: str) -> dict[str, torch.Tensor]:
    """The model after a round of relabelling on the digits."""
    config = command_line.read([*SMALL, f"augment={augment}", *words], CONF)
    federation = open_federation(config)
    setting = Setting(config, federation)
    relabel = command_line.read(["method=relabel"], CONF).method
    spec = setting.with_request(setting.spec("unlearn", Choice("relabel", relabel.settings), config.train))
    begin = Progress(federation.models.fresh(0).state_dict())
    return run_stage(spec, begin, 1, federation, config, lambda progress: None).model


@pytest.fixture(scope="module")
def alone():
    """By one worker: `alone(augmentation)`."""
    return cache(lambda name: run(name, "engine.workers=1"))


@pytest.mark.parametrize("name", ["cutmix", "erasing"])
@pytest.mark.parametrize("workers", [2, 4])
def test_any_number_of_workers_gives_the_same_bits(alone, name, workers):
    found = run(name, f"engine.workers={workers}")
    assert all(torch.equal(value, found[tensor]) for tensor, value in alone(name).items())


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["engine.backend=processes", "engine.workers=2"], id="processes"),
        pytest.param(["engine=ray", "engine.workers=2"], id="ray", marks=pytest.mark.slow),
    ],
)
def test_so_do_processes_and_ray(alone, words):
    found = run("cutmix", *words)
    assert all(torch.equal(value, found[tensor]) for tensor, value in alone("cutmix").items())


def test_a_stack_is_within_its_tolerance(alone):
    for name in ("cutmix", "erasing"):
        found = run(name, "engine=stacked", "engine.workers=1")
        for tensor, value in alone(name).items():
            torch.testing.assert_close(found[tensor], value, atol=1e-4, rtol=0)


def test_augmentation_changes_the_model_and_none_does_not(alone):
    none, plain = run("none"), run("none", "engine.workers=2")
    assert all(torch.equal(value, plain[tensor]) for tensor, value in none.items())
    assert any(not torch.equal(value, alone("cutmix")[tensor]) for tensor, value in none.items())
