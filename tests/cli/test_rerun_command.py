"""The command as people type it, given a configuration of somebody else's: one sentence, and nothing of it is done."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)
CALLBACK = """hydra:
  callbacks:
    x: {_target_: sympy.sympify, a: '__import__("os").system("touch executed")'}
"""
HOSTILE = {
    "a callback": (CALLBACK.encode(), "called 'hydra'"),
    "an environment variable": (b"device: ${oc.env:SECRET}\n", "device holds an interpolation"),
    "an alias bomb": (BOMB.encode(), "anchor or alias"),
    "no method": (b"method: {}\n", "method.name must be"),
    "a name for a method": (b"method: fucrt\n", "method takes a group of settings"),
    "a binary file": (bytes(range(256)) * 8, "not a text file"),
    "a folder": (None, "not a file"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_costs_one_sentence(tmp_path: Path, name: str) -> None:
    content, reason = HOSTILE[name]
    path = tmp_path / "config.yaml"
    path.mkdir() if content is None else path.write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-m", "fedunlearn", "--rerun", path.name, "audit=quick", "output.dir=out", "store.dir=store"],
        cwd=tmp_path,
        env={**os.environ, "SECRET": "a-secret", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("fedunlearn: --rerun config.yaml: ")
    assert reason in done.stderr and "a-secret" not in done.stderr
    assert list(tmp_path.iterdir()) == [path], "nothing was written, and nothing was executed"
