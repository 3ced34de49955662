"""Where a result came from."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

import fedunlearn
from fedunlearn.results import provenance
from fedunlearn.results.provenance import environment, git_state

NOBODY = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    done = subprocess.run(
        ["git", "-C", str(folder), *who, *words],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **NOBODY},
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    """A repository with a package and something beside it, all committed."""
    for name in ("package/code.py", "package/room/more.py", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


@needs_git
def test_the_state_of_a_checkout(checkout):
    commit = git(checkout, "rev-parse", "HEAD")
    assert git_state(checkout / "package") == {"commit": commit, "changed": False}
    (checkout / "notes.txt").write_text("2\n")
    assert git_state(checkout / "package") == {"commit": commit, "changed": False}  # none of the code
    (checkout / "package" / "room" / "more.py").write_text("2\n")
    assert git_state(checkout / "package") == {"commit": commit, "changed": True}
    git(checkout, "commit", "-q", "-a", "-m", "second")
    later = git_state(checkout / "package")
    assert later["commit"] != commit and not later["changed"]
    (checkout / "package" / "new.py").write_text("1\n")
    assert git_state(checkout / "package")["changed"]


@needs_git
def test_there_is_none_outside_a_checkout_or_before_the_first_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state(tmp_path) is None
    assert git_state(tmp_path / "missing") is None
    git(tmp_path, "init", "-q")
    assert git_state(tmp_path) is None


def test_there_is_none_without_git_or_if_git_hangs(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(Path(__file__).parent) is None

    def hangs(*arguments, timeout, **rest):
        raise subprocess.TimeoutExpired("git", timeout)

    monkeypatch.setattr(subprocess, "run", hangs)
    assert git_state(Path(__file__).parent) is None


def test_the_environment_names_versions_machine_seed_and_code(monkeypatch):
    asked = []
    monkeypatch.setattr(provenance, "git_state", lambda folder: asked.append(folder) or {"commit": "c"})
    told = environment(5)
    assert json.loads(json.dumps(told)) == told
    assert told["seed"] == 5 and told["git"] == {"commit": "c"}
    assert asked == [Path(fedunlearn.__file__).resolve().parent]  # the whole package, not one room of it
    assert told["versions"]["python"] == platform.python_version()
    assert told["versions"]["torch"] == version("torch")
    assert told["hardware"]["cores"] == os.cpu_count()
    assert told["hardware"]["processor"] == platform.machine()


def test_a_package_that_is_not_installed_has_no_version(monkeypatch):
    monkeypatch.setattr(provenance, "PACKAGES", ("flwr", "not-installed-anywhere"))
    versions = environment(0)["versions"]
    assert versions["flwr"] == version("flwr") and versions["not-installed-anywhere"] is None
