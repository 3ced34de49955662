"""The experiment on survival: its jobs run, what it plants is as large as it says, its pages say what is there."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from experiments.survival import __main__ as survival
from experiments.survival import answers, page, planted
from fedunlearn.cli import command_line
from fedunlearn.cli.main import conf_dir
from fedunlearn.deploy.base import Format, rounded, weights_of
from fedunlearn.runs import federations
from fedunlearn.runs.pipeline import check_method
from fedunlearn.settings import registry

SWEEPS = [*survival.fashion(), *survival.cifar(), *survival.quick()]
SEEDS = (0, 1, 2)


@pytest.mark.parametrize("sweep", SWEEPS, ids=lambda sweep: sweep.name)
def test_what_is_asked_for_is_a_configuration(sweep):
    for words in {words[-1]: words for words in survival.jobs(sweep)}.values():
        check_method(command_line.read(words, conf_dir()))


def test_jobs_are_all_combinations_seed_by_seed():
    jobs = survival.jobs(survival.fashion()[0])
    assert len(jobs) == 21 and len({tuple(words) for words in jobs}) == 21
    assert [words[0] for words in jobs] == [f"seed={seed}" for seed in SEEDS for _ in range(7)]


@pytest.fixture(scope="module")
def federation():
    return federations.opened(command_line.read(["data.limit=100", "partition.clients=2", "model.width=2"], conf_dir()))


def original(federation):
    return {name: tensor.clone() for name, tensor in federation.models.fresh(3).state_dict().items()}


def test_planted_updates_below_half_a_step_are_rounded_away(federation):
    before = original(federation)
    after = planted.update(federation, before, "on the grid", 0.95)
    names = weights_of(federation.models.fresh(0))
    for name in names:
        grid = rounded(before[name], registry.find(Format, "int4"))
        moved = (after[name] - grid.values).abs().double() / grid.half_steps
        assert 0.9 < moved.max() < 0.96
        assert torch.equal(rounded(after[name], registry.find(Format, "int4")).values, grid.values)
    assert all(torch.equal(after[name], before[name]) for name in before if name not in names)


def test_larger_ones_are_not_and_stay_in_their_box(federation):
    before = original(federation)
    after = planted.update(federation, before, "as trained", 2.0)
    for name in weights_of(federation.models.fresh(0)):
        grid = rounded(before[name], registry.find(Format, "int4"))
        assert ((after[name] - before[name]).abs().double() / grid.half_steps).max() < 2.01
        assert not torch.equal(rounded(after[name], registry.find(Format, "int4")).codes, grid.codes)


def rows(method: str, back: tuple[float, ...], **more: object) -> list[dict]:
    """A method's rows in float32 and int3, by seed; `back`: what comes back, by seed."""
    same = {"dataset": "d", "method": method, "way": "whole", "rate": "default", "repair": "", "weighting": ""}
    same |= {"given_repair": "none", "original.forget_accuracy": 1.0, "unlearned.retain_accuracy": 0.8, **more}
    exact = [{**same, "seed": seed, "format": "float32", "unlearned.forget_accuracy": 0.0} for seed in SEEDS]
    low = [
        {**same, "seed": seed, "format": "int3", "unlearned.forget_accuracy": value, page.BACK: value}
        | {page.RATIO: 0.1 * (1 + seed)}
        for seed, value in zip(SEEDS, back, strict=True)
    ]
    return [*exact, *low]


def test_a_class_comes_back_where_the_whole_interval_is_above_zero():
    frame = pd.DataFrame([*rows("a", (0.3, 0.31, 0.32)), *rows("b", (0.9, 0.0, 0.0))])
    said = answers.rounding(frame)
    assert "rises in 1 of 6 cells" in said and "a whole at int3 (+0.310" in said and "b whole at int3 (" not in said


def test_what_was_not_forgotten_cannot_come_back():
    kept = [{**row, "unlearned.forget_accuracy": 0.9} for row in rows("a", (0.0, 0.0, 0.0))]
    assert answers.rounding(pd.DataFrame(kept)) == ""


def test_adapters_are_held_against_whole_weights_of_the_same_seed():
    frame = pd.DataFrame([*rows("a", (0.1, 0.5, 0.9)), *rows("a", (0.0, 0.4, 0.8), way="rank 4")])
    assert "what comes back at int3 rises in 0 and falls in 1 (means from −0.100 to −0.100)" in answers.adapters(frame)  # noqa: RUF001
    assert answers.adapters(frame[frame["way"] == "whole"]) == ""


def test_pairs_and_intervals_by_hand():
    one = pd.DataFrame({"seed": SEEDS, "x": [1.0, 2.0, 4.0]})
    other = pd.DataFrame({"seed": SEEDS[::-1], "x": [1.0, 1.0, 1.0]})
    found = page.paired(one, other, "x")
    assert found.mean == pytest.approx(4 / 3)
    assert found.half == pytest.approx(4.3027 * np.std([0, 1, 3], ddof=1) / np.sqrt(3), rel=1e-4)
    assert page.shown(page.paired(one[:1], other, "x")) == "0.000"


def test_the_control_says_so_where_nothing_reverts():
    def controls(back: float) -> pd.DataFrame:
        every = [(start, size) for start in planted.STARTS for size in planted.SIZES]
        cells = [{"start": start, "size": size, "format": "int4", "seed": 0} for start, size in every]
        way = {"survival.way_back.forget_accuracy": back, "survival.flipped": 0.0}
        return pd.DataFrame([{**cell, **way} for cell in cells])

    assert "The measurement sees a reversion" in answers.planted(controls(1.0))
    assert "does not always see" in answers.planted(controls(0.5))
