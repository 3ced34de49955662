"""Where a result came from: the machine, the versions, the state of the repository."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

PACKAGE = Path(__file__).resolve().parents[1]
PACKAGES = ("fedunlearn", "torch", "torchvision", "flwr", "flwr-datasets", "hydra-core", "numpy", "scikit-learn", "ray")


def environment(seed: int) -> dict[str, Any]:
    """What environment.json holds."""
    return {
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "hardware": {
            "platform": platform.platform(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        },
        "seed": seed,
        "git": git_state(PACKAGE),
    }


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit of the checkout that the code runs from, and whether it was changed; None outside a checkout."""
    commit = _git(folder, "rev-parse", "HEAD")
    return {"commit": commit, "changed": bool(_git(folder, "status", "--porcelain", "--", "."))} if commit else None


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
