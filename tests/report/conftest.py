"""Run folders as a run leaves them behind, with numbers chosen by the test."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from fedunlearn.cli import command_line, main
from fedunlearn.runs.declarations import declared
from fedunlearn.settings.schema import plain

Numbers = Mapping[str, float | None]

NAMES = ["top", "trouser", "dress", "coat"]
ORIGINAL: Numbers = {"forget_accuracy": 0.9, "retain_accuracy": 0.8, "leak": 1.0, "flow_tv": 0.9}
RETRAINED: tuple[Numbers, ...] = (
    {"forget_accuracy": 0.04, "retain_accuracy": 0.78, "leak": -0.1, "flow_tv": 0.1},
    {"forget_accuracy": 0.06, "retain_accuracy": 0.80, "leak": 0.1, "flow_tv": 0.1},
)
UNLEARNED: Numbers = {"forget_accuracy": 0.02, "retain_accuracy": 0.75, "leak": 0.3, "flow_tv": 0.2}
FINDINGS = {name: plain(finding) for name, finding in declared(command_line.read([], main.conf_dir())).items()}
MakeRun = Callable[..., Path]


def config(method: str, seed: int, changes: dict[str, Any]) -> dict[str, Any]:
    """The layout of RunConfig.as_dict(); `changes` such as {"train.lr": 1} on top."""
    made: dict[str, Any] = {
        "seed": seed,
        "data": {"root": "/somewhere", "download": False, "limit": None},
        "request": {"classes": [2], "clients": [], "samples": {}},
        "train": {"rounds": 5, "lr": 0.1},
        "retrain": {"seeds": 2},
        "unlearn": {"rounds": 2, "lr": None},
        "dataset": {"name": "clothes"},
        "model": {"name": "lenet"},
        "partition": {"name": "dirichlet", "clients": 3, "alpha": 0.5},
        "method": {"name": method, "strength": 1.0},
        "audit": {"accuracy": {}},
    }
    for key, value in changes.items():
        *path, last = key.split(".")
        inner = made
        for part in path:
            inner = inner[part]
        inner[last] = value
    return made


def summary(
    method: str = "fucrt",
    seed: int = 0,
    original: Numbers = ORIGINAL,
    retrained: Sequence[Numbers] = RETRAINED,
    unlearned: Numbers = UNLEARNED,
    changes: dict[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """The content of summary.json, its means, floors and gaps worked out from the given numbers."""
    known = {name: [x for seed in retrained if (x := seed[name]) is not None] for name in retrained[0]}
    mean = {name: sum(values) / len(values) if values else None for name, values in known.items()}
    spread = {name: max(values) - min(values) if len(values) > 1 else None for name, values in known.items()}
    gap = {n: None if x is None or (m := mean.get(n)) is None else x - m for n, x in unlearned.items()}
    cost = {"rounds": 2.0, "seconds": 12.0, "bytes_up": 1.5e6, "bytes_down": 0.5e6, "samples": 100.0}
    return {
        "status": "done",
        "config": config(method, seed, changes or {}),
        "models": {"original": original, "retrained": mean, "unlearned": unlearned},
        "retrained_seeds": list(retrained),
        "noise_floor": spread,
        "gap": gap,
        "details": {
            "original": {"class_accuracy": [0.8] * 4, "class_flow": [0.05, 0.0, 0.9, 0.05]},
            "retrained": {"class_accuracy": [0.8] * 4, "class_flow": [0.6, 0.1, 0.0, 0.3]},
            "unlearned": {"class_accuracy": [0.8] * 4, "class_flow": [0.5, 0.0, 0.02, 0.48]},
        },
        "class_names": NAMES,
        "forget_classes": [2],
        "partition": {"counts": [[5, 0, 7, 1], [0, 9, 0, 2], [3, 3, 3, 3]], "forget": [7, 0, 3]},
        "gates": {"original_learnt_task": True, "original_learnt_forget": True, "retrained_at_chance": True},
        "warnings": [],
        "findings": FINDINGS,
        "cost": {"train": {**cost, "rounds": 5.0}, "retrain": {**cost, "rounds": 7.0}, "unlearn": cost},
        "cached": {"train": True, "retrain": False, "unlearn": False},
        "command": f"fedunlearn method={method} seed={seed}",
        **more,
    }


def curve_lines(original: dict[str, Any], unlearned: dict[str, Any], rounds: int) -> list[dict[str, Any]]:
    """metrics.jsonl of the stage unlearn, in a straight line from the original to the unlearned model."""
    return [
        {"stage": "unlearn", "round": r, "name": name, "value": original[name] + (end - original[name]) * r / rounds}
        for name, end in unlearned.items()
        if name.endswith("accuracy") and end is not None
        for r in range(rounds + 1)
    ]


@pytest.fixture(scope="session")
def make_run() -> MakeRun:
    """Call with a folder and any argument of `summary`: writes summary.json and metrics.jsonl, returns the folder."""

    def make(folder: Path, **given: Any) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        content = summary(**given)
        lines = curve_lines(content["models"]["original"], content["models"]["unlearned"], 2)
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (folder / "summary.json").write_text(json.dumps(content))
        return folder

    return make


@pytest.fixture(scope="session")
def make_failed() -> MakeRun:
    """Call with a folder: a run that failed after it had been configured."""

    def make(folder: Path, reason: str = "the loss is not finite in round 3", **given: Any) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        content = {"status": "failed", "reason": reason, "command": "fedunlearn", "config": config("fucrt", 0, given)}
        (folder / "summary.json").write_text(json.dumps(content))
        return folder

    return make


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of 200 runs: 20 methods, 10 seeds, as the runs leave them."""
    root = tmp_path_factory.mktemp("many")
    for number in range(200):
        folder = root / f"{number}_m_s{number % 10}"
        folder.mkdir()
        values = {**UNLEARNED, "retain_accuracy": 0.5 + 0.4 * ((number * 37) % 200) / 200}
        content = summary(method=f"method_{number // 10}", seed=number % 10, unlearned=values)
        lines = curve_lines(content["models"]["original"], values, 10)
        (folder / "summary.json").write_text(json.dumps(content))
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (folder / "figures").mkdir()
        (folder / "figures" / "partition.svg").write_text('<svg width="1" height="1"></svg>')
    return root
