"""Who gets which cores and which GPU."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fedunlearn import cli, overrides, placement
from fedunlearn.config import EngineConfig
from fedunlearn.placement import Place


@pytest.fixture(scope="module")
def config():
    return overrides.read([], cli.conf_dir())


@pytest.fixture
def cores(monkeypatch):
    monkeypatch.setattr(placement, "cpu_count", lambda: 8)


def workers(config, place):
    return placement.settled(config, place).engine.workers


def test_a_single_run_has_the_machine(config, cores):
    assert workers(config, Place()) == 8


@pytest.mark.parametrize(("at_once", "expected"), [(2, 4), (3, 2), (8, 1), (20, 1)])
def test_jobs_side_by_side_share_the_cores(config, cores, at_once, expected):
    assert workers(config, Place(1, 40, at_once)) == expected


def test_a_launcher_that_gives_cores_is_obeyed(config, cores):
    assert workers(config, placement.of_job({"cpus_per_task": 2}, 0, 10)) == 2
    assert workers(config, placement.of_job({"cpus_per_task": 64}, 0, 10)) == 8


def test_a_number_that_was_asked_for_stays(config, cores):
    asked = replace(config, engine=EngineConfig(workers=5))
    assert workers(asked, Place(0, 9, 4)) == 5


def test_only_joblib_runs_jobs_side_by_side(cores):
    assert placement.of_job({}, 3, 10) == Place(3, 10, 1)
    assert placement.of_job({"n_jobs": 4}, 3, 10).at_once == 4
    assert placement.of_job({"n_jobs": 4}, 0, 2).at_once == 2, "there are but two jobs"
    assert placement.of_job({"n_jobs": 1}, 0, 2).at_once == 1


def test_gpus_are_used_in_turn(config, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    devices = [placement.settled(config, Place(number, 5, 4)).device for number in range(5)]
    assert devices == ["cuda:0", "cuda:1", "cuda:2", "cuda:0", "cuda:1"]
    assert placement.settled(config, Place(1, 5, 1)).device == "auto", "one at a time: no need to choose"
    assert placement.settled(replace(config, device="cuda:2"), Place(0, 5, 4)).device == "cuda:2"


def test_without_a_gpu_nothing_is_chosen(config, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert placement.settled(config, Place(1, 5, 4)).device == "auto"


def test_titles():
    assert Place(6, 45).title == "job 7 of 45"
    assert Place(6, 0).title == "job 7"
