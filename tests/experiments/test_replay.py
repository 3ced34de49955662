"""The experiment on replay: its jobs run, what is kept is held against what there is, its page says so."""

from __future__ import annotations

from itertools import cycle

import pandas as pd
import pytest

from experiments.replay import __main__ as replay
from experiments.replay import page
from experiments.sweeps import Location
from fedunlearn.cli import command_line
from fedunlearn.cli.main import conf_dir
from fedunlearn.runs.pipeline import check_method


def test_what_is_asked_for_is_a_configuration():
    kinds = {words[0]: words for words in replay.FULL.choices()}.values()
    for choice, cell in zip(kinds, cycle(replay.FULL.cells()), strict=False):
        check_method(command_line.read([*cell, *choice], conf_dir()))


def test_three_hundred_runs():
    assert len(replay.FULL.cells()) * len(replay.FULL.choices()) == 300
    assert {replay.share(choice) for choice in replay.FULL.choices()} == {0.01, 0.05, 0.1, 0.2, 1.0}


def test_a_quick_look_finds_what_clients_kept(tmp_path, capsys):
    frame = replay.run(replay.QUICK, Location(tmp_path / "work", tmp_path / "store"))
    assert list(frame["select"]) == ["all", *replay.SELECTORS] and set(frame["share"]) == {1.0, 0.2}
    distance = frame.set_index("select")["distance"]
    assert distance["all"] == 0 < distance["energy"] < distance["random"]
    assert frame["samples.replayed_train"].nunique() == 2 and (frame["selecting"][1:] > 0).all()
    assert "| energy | 20 % | 0.2" in page.build(frame)


def rows(select: str, share: float, values: tuple[float, ...], samples: float, distance: float) -> list[dict]:
    """A row for each seed; `values`: retain accuracies."""
    same = {"setting": "d", "method": "m", "select": select, "share": share, "status": "done", page.SAMPLES: samples}
    return [
        {**same, "seed": seed, page.RETAIN: value, page.WORST: value / 2, page.DISTANCE: distance * (1 + seed / 100)}
        for seed, value in enumerate(values)
    ]


@pytest.fixture
def frame():
    runs = [*rows("all", 1.0, (0.9, 0.8, 0.7), 1000, 0.0), *rows("random", 0.1, (0.88, 0.79, 0.66), 200, 0.3)]
    runs += rows("energy", 0.1, (0.895, 0.795, 0.69), 200, 0.1)
    return pd.DataFrame([*runs, *rows("herding", 0.5, (0.9, 0.8, 0.7), 500, 0.1)])


def test_enough_is_within_a_point_and_the_budget(frame):
    said = page.enough(page.against_all(frame))
    assert "| m | d | energy 10 % | energy 10 % (−0.007) |" in said  # noqa: RUF001 (a minus sign)
    frame.loc[frame["select"] == "energy", page.RETAIN] -= 0.1
    assert "| m | d | none | random 10 % (−0.023) |" in page.enough(page.against_all(frame))  # noqa: RUF001


def test_better_than_random_is_the_whole_interval(frame):
    both = frame[frame["select"] != "herding"].copy()
    lines = page.versus_random(page.against_all(both)).splitlines()
    assert lines[2].startswith("| energy | 10 % | +0.017 ±") and lines[2].endswith("| 3 of 3 | distance |")
    both.loc[both["select"] == "energy", page.RETAIN] += 0.1
    assert page.versus_random(page.against_all(both)).splitlines()[2].endswith("| accuracy, distance |")
