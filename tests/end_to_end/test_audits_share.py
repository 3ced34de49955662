"""Audits keep to the job's share of the cores, whatever the machine has, and find the same with any share."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from fedunlearn.audits import observe
from fedunlearn.audits.base import Audit, Evidence, Findings, Reference
from fedunlearn.cli import command_line
from fedunlearn.cli.main import conf_dir
from fedunlearn.runs import pipeline, resources, runner
from fedunlearn.runs.console import Console
from fedunlearn.runs.resources import Slot

WORDS = [
    "gates=warn",
    "method=head_mask",
    "data.limit=150",
    "train.rounds=1",
    "retrain.seeds=2",
    "unlearn.rounds=0",
    "partition.clients=2",
    "audit.relearning.cap=3",
    "audit.feature_map=null",
    "store.enabled=false",
]


def test_audits_use_the_cores_of_their_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (resources, runner):
        monkeypatch.setattr(module, "cpu_count", lambda: 4)
    lock, threads, at_work, most = threading.Lock(), set[int](), 0, 0
    measured, viewed, seen = Audit.measured, observe.viewed, list[int]()

    def watched(audit: Audit, evidence: Evidence, reference: Reference, settings: Any) -> Findings:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
            threads.update([torch.get_num_threads(), *(each["num_threads"] for each in threadpool_info())])
        try:
            return measured(audit, evidence, reference, settings)
        finally:
            with lock:
                at_work -= 1

    def counted(*given: Any, **named: Any) -> Any:
        seen.append(id(given[0]))
        return viewed(*given, **named)

    monkeypatch.setattr(Audit, "measured", watched)
    monkeypatch.setattr(observe, "viewed", counted)
    found = {}
    config = command_line.read(WORDS, conf_dir())
    torch.set_num_threads(4)  # as on a machine with four cores
    try:
        for at_once in (4, 1):
            threads, most, seen = set(), 0, []
            share = 4 // at_once
            settled = resources.settled(config, Slot(jobs=at_once, at_once=at_once))
            found[share] = pipeline.run(settled, Console()).findings
            assert threads == {1}, "one thread for each audit"
            assert most == share if share == 1 else 1 < most <= share
            assert len(seen) == 2 * 4, "each of four models says once what it makes of both splits"
            assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(1)
    np.testing.assert_equal(found[1], found[4])


def test_more_workers_than_cores_make_no_more_audits_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "cpu_count", lambda: 2)
    config = command_line.read(WORDS, conf_dir())
    engine = replace(config.engine, settings=replace(config.engine.settings, workers=64))
    assert runner.cores_of(replace(config, engine=engine)) == 2
