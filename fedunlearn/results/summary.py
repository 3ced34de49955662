"""From a run's outcome to the files of its folder: summary.json, metrics.jsonl, config.yaml, environment.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from fedunlearn.audits.base import FigureData, Findings
from fedunlearn.data.partition import counts
from fedunlearn.files import write_text
from fedunlearn.results.provenance import environment
from fedunlearn.results.verdict import judge
from fedunlearn.runs import steps
from fedunlearn.runs.pipeline import Outcome, round_values
from fedunlearn.runs.step_model import StageModel
from fedunlearn.settings.config import RunConfig

LEARNT = 0.3  # gate: the original model is at least this far from chance (0) towards perfection (1)
COSTS = ("rounds", "seconds", "bytes_up", "bytes_down", "samples", "failures")


def summarise(outcome: Outcome, command: str) -> dict[str, Any]:
    """The content of summary.json (docs/output.md)."""
    numbers = {subject: _scalars(findings) for subject, findings in outcome.findings.items()}
    seeds = [numbers[f"retrained_{i}"] for i in range(len(outcome.retrained))]
    retrained = {name: _mean([seed[name] for seed in seeds]) for name in seeds[0]}
    original, unlearned = numbers["original"], numbers["unlearned"]
    gates = check_gates(original, seeds, outcome.federation.dataset.classes)
    lists = {subject: _lists(findings) for subject, findings in outcome.findings.items()}
    every = [lists[f"retrained_{i}"] for i in range(len(outcome.retrained))]
    federation = outcome.federation
    forget_test_samples = int(np.isin(federation.dataset.test.groups.numpy(), federation.request.classes).sum())
    return {
        "status": "done",
        "config": outcome.config.as_dict(),
        "command": command,
        "code": steps.code(outcome.config),
        "models": {"original": original, "retrained": retrained, "unlearned": unlearned},
        "retrained_seeds": seeds,
        "noise_floor": {name: _spread([seed[name] for seed in seeds]) for name in retrained},
        "gap": {name: _difference(unlearned[name], retrained[name]) for name in unlearned},
        "details": {
            "original": lists["original"],
            "retrained": {name: np.mean([seed[name] for seed in every], axis=0).tolist() for name in every[0]},
            "unlearned": lists["unlearned"],
        },
        "method": outcome.unlearned.notes,
        "class_names": list(federation.dataset.class_names),
        "forget_classes": list(federation.request.classes),
        "forget_samples": int(federation.request.forget.sum()),
        "partition": {
            "counts": counts(
                federation.parts, federation.dataset.train.groups.numpy(), federation.dataset.classes
            ).tolist(),
            "forget": [int(federation.request.forget[part].sum()) for part in federation.parts],
        },
        "gates": gates,
        "verdict": judge(
            original, unlearned, seeds, gates, classes=federation.dataset.classes, samples=forget_test_samples
        ),
        "warnings": [GATES[name] for name, passed in gates.items() if not passed],
        "cost": {
            "train": _cost([outcome.original]),
            "retrain": _cost(outcome.retrained),
            "unlearn": _cost([outcome.unlearned]),
        },
        "cached": {
            "train": outcome.original.cached,
            "retrain": all(model.cached for model in outcome.retrained),
            "unlearn": outcome.unlearned.cached,
        },
        **({"profile": profile(outcome)} if outcome.config.engine.settings.profile else {}),
    }


def profile(outcome: Outcome) -> dict[str, dict[str, float]]:
    """Seconds per round by stage and part, of the stages that ran (also if that was earlier, for the store)."""
    stages = {"train": [outcome.original], "retrain": outcome.retrained, "unlearn": [outcome.unlearned]}
    spent = {name: _per_round([model.cost for model in models]) for name, models in stages.items()}
    return {name: parts for name, parts in spent.items() if parts}


def _per_round(costs: list[dict[str, Any]]) -> dict[str, float]:
    rounds = max(1, sum(cost["rounds"] for cost in costs))
    profiles = [cost.get("profile", {}) for cost in costs]
    return {part: sum(spent.get(part, 0.0) for spent in profiles) / rounds for part in profiles[0]}


GATES = {
    "original_learnt_task": "the original model has hardly learnt the task: no verdict about forgetting is possible",
    "original_learnt_forget": "the original model hardly knew the forget class: there is nothing to forget",
    "retrained_at_chance": "a retrained model is above chance on the forget class: this is no reference",
}


def check_gates(original: dict[str, Any], retrained: list[dict[str, Any]], classes: int) -> dict[str, bool]:
    """Sanity before any verdict. Gates whose audit was switched off or is not defined are left out."""
    chance = 1.0 / classes
    learnt = chance + LEARNT * (1 - chance)
    gates = {}
    if original.get("retain_accuracy") is not None:
        gates["original_learnt_task"] = original["retain_accuracy"] >= learnt
    if original.get("forget_accuracy") is not None:
        gates["original_learnt_forget"] = original["forget_accuracy"] >= learnt
        gates["retrained_at_chance"] = all(seed["forget_accuracy"] <= chance for seed in retrained)
    return gates


def metric_lines(outcome: Outcome) -> list[dict[str, Any]]:
    """The content of metrics.jsonl: every stage by round, then every audit."""
    stages = {"train": outcome.original}
    stages |= {f"retrain_{i}": model for i, model in enumerate(outcome.retrained)}
    stages["unlearn"] = outcome.unlearned
    lines = [line for stage, model in stages.items() for line in _stage_lines(stage, model, outcome)]
    for subject, findings in outcome.findings.items():
        values = {**_scalars(findings), **_lists(findings)}
        lines += [{"stage": f"audit_{subject}", "round": 0, "name": n, "value": v} for n, v in values.items()]
    return lines


def exhibits(outcome: Outcome) -> dict[str, dict[str, FigureData]]:
    """The content of exhibits/NAME.json by name, each by model."""
    found: dict[str, dict[str, FigureData]] = {}
    for subject, findings in outcome.findings.items():
        for name, value in findings.items():
            if isinstance(value, dict):
                found.setdefault(name, {})[subject] = value
    return found


def _stage_lines(stage: str, model: StageModel, outcome: Outcome) -> list[dict[str, Any]]:
    lines = []
    for entry in model.history:
        values = round_values(entry, outcome.federation)
        lines += [{"stage": stage, "round": entry["round"], "name": n, "value": v} for n, v in values.items()]
    return lines


def write_metrics(folder: Path, lines: list[dict[str, Any]]) -> None:
    """metrics.jsonl."""
    write_text(folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))


def write_exhibits(folder: Path, found: dict[str, dict[str, FigureData]]) -> None:
    """exhibits/NAME.json, from which figures are drawn."""
    for name, models in found.items():
        write_text(folder / "exhibits" / f"{name}.json", json.dumps(models, separators=(",", ":")) + "\n")


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    """summary.json, which says that the run is done."""
    write_text(folder / "summary.json", json.dumps(summary, indent=1) + "\n")


def write_setting(folder: Path, config: RunConfig, here: dict[str, Any]) -> None:
    """config.yaml and environment.json, known before the run starts. `here`: the workers and device it runs on."""
    header = "# Run this again with: fedunlearn --rerun <path of this file> output.dir=<another folder>\n"
    write_text(folder / "config.yaml", header + OmegaConf.to_yaml(OmegaConf.create(config.as_dict())))
    write_text(folder / "environment.json", json.dumps({**environment(config.seed), **here}, indent=1) + "\n")


def _scalars(findings: Findings) -> dict[str, float | None]:
    return {name: value for name, value in findings.items() if not isinstance(value, (list, dict))}


def _lists(findings: Findings) -> dict[str, list[float]]:
    return {name: value for name, value in findings.items() if isinstance(value, list)}


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _spread(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return max(known) - min(known) if len(known) == len(values) > 1 else None


def _difference(value: float | None, reference: float | None) -> float | None:
    return None if value is None or reference is None else value - reference


def _cost(models: list[StageModel]) -> dict[str, float]:
    return {name: float(np.mean([model.cost[name] for model in models])) for name in COSTS}
