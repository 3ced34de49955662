"""Code that is edited while a sweep runs: what the old code made is never served for what the new one would make."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TINY = ["data.limit=150", "partition.clients=2", "gates=warn", "train.rounds=2", "unlearn.rounds=1", "retrain.seeds=1"]
TINY += ["audit=quick", "audit.ausuc=null", "report.figures=false"]


def start(place: Path, *words: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(place), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "fedunlearn", *TINY, *words]
    return subprocess.Popen(
        command, cwd=place, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def summary_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


def test_a_method_edited_during_the_first_job_of_a_sweep(tmp_path: Path) -> None:
    for part in ("fedunlearn", "conf"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("*.pyc.*"))  # half written
    method = tmp_path / "fedunlearn" / "methods" / "soft_relabel.py"
    store = f"store.dir={tmp_path / 'store'}"
    log = tmp_path / "sweep" / "0_finetune_s0" / "log.txt"
    sweep = start(tmp_path, "-m", "method=finetune,soft_relabel", store, f"output.dir={tmp_path / 'sweep'}")
    while not log.exists():
        assert sweep.poll() is None
        time.sleep(0.01)
    assert "finetune" in log.parent.name and not (tmp_path / "sweep" / "1_soft_relabel_s0").exists()
    text = method.read_text()
    line = "    labels[held] = "
    assert line in text
    method.write_text(text.replace(line, "    labels[held] = 0.1 * "))
    said, _ = sweep.communicate(timeout=600)
    assert sweep.returncode == 0, said
    stale = summary_of(tmp_path / "sweep" / "1_soft_relabel_s0")
    assert said.count("soft_relabel.py changed after this process had read it") == 1

    words = ["-m", "method=soft_relabel", "store.enabled=true,false", store, f"output.dir={tmp_path / 'later'}"]
    later = start(tmp_path, *words)
    said, _ = later.communicate(timeout=600)
    assert later.returncode == 0, said
    served, made = (summary_of(folder) for folder in sorted((tmp_path / "later").glob("*_soft_relabel_*")))
    assert served["cached"] == {"train": True, "retrain": True, "unlearn": False}
    assert not any(made["cached"].values())
    assert served["models"] == made["models"] and served["cost"]["unlearn"]["rounds"] == 1
    assert stale["signature"] != served["signature"] == made["signature"]
