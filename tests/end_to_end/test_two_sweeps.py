"""Sweeps at the same time: in one folder the second is refused, in two folders they share what they compute."""

from __future__ import annotations

import json
import os
import re
import sys
import time

import pytest
from filelock import FileLock

from fedunlearn.cli import main
from fedunlearn.report import figures
from tests import forked

pytestmark = pytest.mark.skipif(os.name != "posix", reason="processes are forked")

TINY = ["data.limit=100", "partition.clients=2", "gates=warn", "train.rounds=2", "unlearn.rounds=1", "retrain.seeds=2"]
TINY += ["audit=quick", "audit.ausuc=null", "report.figures=false"]
GRID = ["-m", "method=finetune,head_mask", "seed=0"]
STAGES = 1 + 2 + 2  # an original, two retrained and two unlearned models


def command(root, folder, said):
    """In a child: a sweep into `folder`, with the store of all; figures are not what this is about."""
    import torch

    torch.set_num_threads(1)
    figures.OF_A_RUN = figures.OF_A_SWEEP = {}
    sys.stdout = sys.stderr = (root / said).open("a", buffering=1)
    sys.argv = ["fedunlearn", *TINY, *GRID, f"output.dir={root / folder}", f"store.dir={root / 'store'}"]
    main.main()


def read(path):
    return path.read_text() if path.exists() else ""


def wait_for(happened, seconds=60):
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.02)


def test_two_in_one_folder_and_two_with_one_store(tmp_path):
    (tmp_path / "a" / "0_finetune_s0").mkdir(parents=True)
    with FileLock(tmp_path / "a" / "0_finetune_s0" / ".lock"):  # the first sweep stays at its first job
        first = forked.started(command, tmp_path, "a", "first")
        wait_for(lambda: "waiting for another" in read(tmp_path / "first"))
        before = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir() if path.is_file()}
        second = forked.started(command, tmp_path, "a", "second")
        second.join(60)
        assert second.exitcode == 2
        refusal = f"fedunlearn: another sweep is running in {tmp_path / 'a'}: wait for its end, or give this one"
        assert (tmp_path / "second").read_text() == f"{refusal} another output.dir\n"
        assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir() if path.is_file()} == before
        assert first.is_alive()
    elsewhere = forked.started(command, tmp_path, "b", "elsewhere")
    for sweep in (first, elsewhere):
        sweep.join(120)
        assert sweep.exitcode == 0
    told = (tmp_path / "first").read_text() + (tmp_path / "elsewhere").read_text()
    assert len(re.findall(r"^\w+: \d rounds in ", told, re.MULTILINE)) == STAGES, "each computed by one of the two"
    found = [
        {path.parent.name: json.loads(path.read_text()) for path in (tmp_path / folder).glob("*/summary.json")}
        for folder in ("a", "b")
    ]
    assert [len(summaries) for summaries in found] == [2, 2]
    for name, summary in found[0].items():
        assert summary["status"] == "done" and summary["models"] == found[1][name]["models"]
    assert (tmp_path / "a" / "report.html").is_file() and (tmp_path / "b" / "report.html").is_file()
