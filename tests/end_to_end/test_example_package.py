"""The example package of the tutorial: built, installed and run, without touching this environment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder that the package was installed into, and the environment in which Python finds it."""
    source = tmp_path_factory.mktemp("source") / "fedunlearn-example"
    shutil.copytree(ROOT / "examples" / "fedunlearn-example", source, ignore=shutil.ignore_patterns("__pycache__"))
    site = tmp_path_factory.mktemp("site")
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--quiet"]
    subprocess.run([sys.executable, "-m", "pip", "install", *offline, "--target", site, source], check=True)
    path = os.pathsep.join([str(site), str(ROOT)])
    return source, {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def call(arguments, environment, folder):
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


def test_its_own_tests_pass(installed, tmp_path):
    source, environment = installed
    done = call(["pytest", "-q", "-p", "no:cacheprovider", str(source / "tests")], environment, tmp_path)
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def test_its_method_runs_beside_ours(installed, tmp_path):
    _, environment = installed
    words = ["-m", "+experiment=quick", "method=uniform,head_mask", "data.limit=400"]
    done = call(
        ["fedunlearn", *words, "train.rounds=3", "train.local_epochs=1", "output.dir=out"], environment, tmp_path
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "out" / "0_uniform_s0" / "summary.json").read_text())
    assert summary["config"]["method"] == {"name": "uniform", "amount": 1.0}
    assert summary["models"]["unlearned"] != summary["models"]["original"]
    assert "uniform" in (tmp_path / "out" / "table.md").read_text()


def test_mistakes_in_its_settings_are_one_sentence(installed, tmp_path):
    _, environment = installed
    done = call(["fedunlearn", "method=uniform", "method.amount=2"], environment, tmp_path)
    assert done.returncode == 2
    assert done.stderr == "fedunlearn: method.amount must be a number above 0 and at most 1, not 2\n"
