"""The built wheel carries conf/ and runs from any directory."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(TOP)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return next(folder.glob("*.whl"))


def test_it_holds_the_package_and_its_configuration_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    here = {str(path.relative_to(TOP)) for path in (TOP / "conf").rglob("*.yaml")}
    assert {name.removeprefix("fedunlearn/") for name in names if name.startswith("fedunlearn/conf/")} == here
    assert {name.split("/")[0] for name in names} == {"fedunlearn", wheel.name.rpartition("-py3")[0] + ".dist-info"}


@pytest.mark.slow  # what .ci/release_check.py does with the wheel that it builds
def test_it_runs_from_elsewhere(wheel, tmp_path):
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(wheel)]
    subprocess.run(install, check=True, capture_output=True, timeout=300)
    words = [
        "data.limit=300",
        "gates=warn",
        "train.rounds=2",
        "unlearn.rounds=1",
        "retrain.seeds=1",
        "output.dir=out",
        "audit=quick",
        "report.figures=false",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "fedunlearn", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "summary.json").is_file()
    assert (tmp_path / "outputs" / "store").is_dir()
