"""Where a result came from: the code behind a function, the machine, the versions, the state of the repository."""

from __future__ import annotations

import inspect
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from fedunlearn.store import code_fingerprint

PACKAGES = ("fedunlearn", "torch", "torchvision", "flwr", "flwr-datasets", "hydra-core", "numpy", "scikit-learn", "ray")


def fingerprint(shared: tuple[str, ...], function: Callable[..., Any]) -> str:
    """A hash of the modules `shared` of this package and of the code behind `function`."""
    return code_fingerprint(*(f"fedunlearn.{name}" for name in shared), *sources_behind(function))


def sources_behind(function: Callable[..., Any]) -> list[Path]:
    """Files that define `function` and what it uses from its own package (not `base`, which every member shares)."""
    found: dict[str, None] = {}
    waiting = [inspect.getmodule(inspect.unwrap(function))]
    while waiting:
        module = waiting.pop()
        if module is None or module.__file__ is None or module.__file__ in found:
            continue
        found[module.__file__] = None
        package = module.__name__.rpartition(".")[0]
        waiting += [other for other in map(_home, vars(module).values()) if _is_sibling(other, package)]
    return sorted(map(Path, found))


def _home(value: object) -> ModuleType | None:
    return value if isinstance(value, ModuleType) else sys.modules.get(getattr(value, "__module__", None) or "")


def _is_sibling(module: ModuleType | None, package: str) -> bool:
    name = module.__name__ if module else ""
    return bool(package) and name.startswith(f"{package}.") and not name.endswith(".base")


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
        "git": git_state(Path(__file__).parent),
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
