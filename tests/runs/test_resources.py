"""Who gets which cores and which GPU."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fedunlearn.cli import command_line, main
from fedunlearn.engines.local import Local
from fedunlearn.runs import resources
from fedunlearn.runs.resources import Slot
from fedunlearn.settings.config import Choice


@pytest.fixture(scope="module")
def config():
    return command_line.read([], main.conf_dir())


@pytest.fixture
def cores(monkeypatch):
    monkeypatch.setattr(resources, "cpu_count", lambda: 8)


def workers(config, place):
    return resources.settled(config, place).engine.settings.workers


def test_a_single_run_has_the_machine(config, cores):
    assert workers(config, Slot()) == 8


@pytest.mark.parametrize(("at_once", "expected"), [(2, 4), (3, 2), (8, 1), (20, 1)])
def test_jobs_side_by_side_share_the_cores(config, cores, at_once, expected):
    assert workers(config, Slot(1, 40, at_once)) == expected


def test_a_launcher_that_gives_cores_is_obeyed(config, cores):
    assert workers(config, resources.of_job({"cpus_per_task": 2}, 0, 10)) == 2
    assert workers(config, resources.of_job({"cpus_per_task": 64}, 0, 10)) == 8


def test_a_number_that_was_asked_for_stays(config, cores):
    asked = replace(config, engine=Choice("local", Local(workers=5)))
    assert workers(asked, Slot(0, 9, 4)) == 5


def test_only_joblib_runs_jobs_side_by_side(cores):
    assert resources.of_job({}, 3, 10) == Slot(3, 10, 1)
    assert resources.of_job({"n_jobs": 4}, 3, 10).at_once == 4
    assert resources.of_job({"n_jobs": 4}, 0, 2).at_once == 2, "there are but two jobs"
    assert resources.of_job({"n_jobs": 1}, 0, 2).at_once == 1


def test_gpus_are_used_in_turn(config, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    devices = [resources.settled(config, Slot(number, 5, 4)).device for number in range(5)]
    assert devices == ["cuda:0", "cuda:1", "cuda:2", "cuda:0", "cuda:1"]
    assert resources.settled(config, Slot(1, 5, 1)).device == "auto", "one at a time: no need to choose"
    assert resources.settled(replace(config, device="cuda:2"), Slot(0, 5, 4)).device == "cuda:2"


def test_without_a_gpu_nothing_is_chosen(config, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert resources.settled(config, Slot(1, 5, 4)).device == "auto"


def test_titles():
    assert Slot(6, 45).title == "job 7 of 45"
    assert Slot(6, 0).title == "job 7"
