"""From a run's outcome to what it leaves in its folder: the summary, metrics.jsonl, exhibits and its setting."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf
from torch import Tensor

from fedunlearn.audits.base import FigureData, Findings
from fedunlearn.data.partition import counts
from fedunlearn.deploy import backends
from fedunlearn.deploy.base import Quantiser
from fedunlearn.errors import RequestError
from fedunlearn.federation import selection
from fedunlearn.federation.federation import Federation
from fedunlearn.files import write_text
from fedunlearn.plain import finite, shortened
from fedunlearn.results import gates, headline, judgement, sampling, survival
from fedunlearn.results.findings import Finding
from fedunlearn.results.provenance import environment
from fedunlearn.results.summary import MENDED, Deployed, Lists, Numbers, Partition, Summary
from fedunlearn.results.verdict import Compared, judge
from fedunlearn.runs import early
from fedunlearn.runs.curves import round_values
from fedunlearn.runs.declarations import declared, expected
from fedunlearn.runs.pipeline import Outcome
from fedunlearn.runs.step_model import COSTS, StepModel
from fedunlearn.runs.steps import BARE, ORIGINAL, REPAIRED, RETRAINED, UNLEARNED, Form, Training
from fedunlearn.settings import registry
from fedunlearn.settings.config import FLOAT32, RunConfig
from fedunlearn.settings.schema import plain


def summarise(outcome: Outcome, command: str) -> Summary:
    """The summary of a run that is done."""
    config, federation = outcome.config, outcome.federation
    findings = declared(config)
    bare = _in_form(outcome, findings, BARE)
    deployed = {name: _deployed(outcome, findings, bare, name) for name in config.deploy.formats}
    samples = _samples(federation)
    stages = {"train": [outcome.original], "retrain": outcome.retrained, "unlearn": [outcome.unlearned]}
    mended = [each.model for each in outcome.of(UNLEARNED, REPAIRED)]
    stages |= {"repair": mended} if mended else {}
    summary = Summary(
        status="done",
        config=config.as_dict(),
        command=command,
        signature=outcome.signature,
        models=bare.models,
        repaired=bare.repaired,
        retrained_seeds=bare.retrained_seeds,
        noise_floor=bare.noise_floor,
        gap=bare.gap,
        details=bare.details,
        findings=findings,
        verdict=bare.verdict,
        gates=bare.gates,
        judgement=bare.judgement,
        warnings=(
            *_failed(bare.gates),
            *_lost(bare.gates, deployed),
            *filter(None, [early.left_in_float32(config, federation)]),
            *sampling.caution(samples),
            *_not_finite(outcome.findings),
            *map(shortened, federation.dataset.remarks),
        ),
        method=plain(outcome.unlearned.notes),
        repair=plain(mended[0].notes) if mended else {},
        class_names=tuple(federation.dataset.class_names),
        forget_classes=tuple(federation.request.classes),
        samples=samples | _replayed(outcome),
        partition=_partition(federation),
        cost={stage: _cost(models) for stage, models in stages.items()} | _together(outcome.further),
        cached={stage: all(model.cached for model in models) for stage, models in stages.items()},
        profile=_profile(stages) if config.engine.settings.profile else {},
        spent={name: {**parts} for name, parts in outcome.spent.items()} if config.engine.settings.profile else {},
        deployed=deployed,
        title=_title(config.method.name),
    )
    return replace(summary, headline=headline.of_run(summary))


def _deployed(outcome: Outcome, findings: Mapping[str, Finding], bare: Deployed, name: str) -> Deployed:
    """What the audits found in the models in the format called `name`, and what of the forgetting survives it."""
    found = _surviving(outcome, findings, bare, _in_form(outcome, findings, Form(name)), Form(name))
    if bare.repaired is None or found.repaired is None:
        return found
    mended = _surviving(outcome, findings, bare.repaired, found.repaired, Form(name, repaired=True))
    return replace(found, repaired=mended)


def _surviving(
    outcome: Outcome, findings: Mapping[str, Finding], before: Deployed, found: Deployed, form: Form
) -> Deployed:
    """`found` in a form, with what of the forgetting `before` the format survives it."""
    deploy, exact = outcome.config.deploy, replace(form, format=FLOAT32)
    network, quantise = outcome.federation.models.fresh(0), backends.quantiser(form.format, deploy)
    original, unlearned = (outcome.of(role, exact)[0].model.tensors for role in (ORIGINAL, UNLEARNED))
    layers = (_layer(original[each], unlearned[each], quantise) for each in backends.plan(network, deploy).rounded)
    of_findings = survival.of_findings(
        before.models[UNLEARNED], found.models[UNLEARNED], found.models[ORIGINAL], findings
    )
    return replace(found, survival={UNLEARNED: {**of_findings, **survival.of_weights(layers)}})


def _layer(original: Tensor, unlearned: Tensor, quantise: Quantiser) -> survival.Layer:
    first, then = quantise(original), quantise(unlearned)
    parts = (original, unlearned, first.codes, then.codes, first.values, then.values, first.half_steps)
    return survival.Layer(*(part.numpy() for part in parts))


def _in_form(outcome: Outcome, findings: Mapping[str, Finding], form: Form) -> Deployed:
    """What the audits found in the models of a form, next to each other, and in the same after a repair."""
    federation, task = outcome.federation, outcome.federation.task
    found = {role: [each.findings for each in outcome.of(role, form)] for role in (ORIGINAL, RETRAINED, UNLEARNED)}
    seeds = [_numbers(each, findings) for each in found[RETRAINED]]
    original, unlearned = (_numbers(found[role][0], findings) for role in (ORIGINAL, UNLEARNED))
    mean = {name: _mean([seed.get(name) for seed in seeds]) for name in seeds[0]}
    chance = task.chance(federation.dataset)
    passed = gates.check(original, seeds, chance, task.unseen_at_chance, task.learnt)
    samples, models = _samples(federation), Compared(original, unlearned, seeds)
    after = replace(form, repaired=True)
    repaired = _in_form(outcome, findings, after) if form != after and outcome.of(UNLEARNED, after) else None
    return Deployed(
        models={
            **{ORIGINAL: original, RETRAINED: mean, UNLEARNED: unlearned},
            **({MENDED: repaired.models[UNLEARNED]} if repaired else {}),
        },
        repaired=repaired,
        retrained_seeds=tuple(seeds),
        noise_floor={name: _spread([seed.get(name) for seed in seeds]) for name in mean},
        gap={name: _difference(value, mean.get(name)) for name, value in unlearned.items()},
        details={role: _lists(each) for role, each in found.items()},
        gates=passed,
        verdict=judge(
            models,
            findings,
            passed,
            chance=chance if task.unseen_at_chance else None,
            samples=samples["forget_test"],
            expected=expected(task.name),
        ),
        judgement=None
        if federation.request.classes
        else judgement.judge(models, findings, passed, samples=samples["forget_train"]),
    )


def _title(method: str) -> str:
    """What the method is called; a model from elsewhere that is audited by its own name."""
    with suppress(RequestError):
        return str(registry.find("method", method).title)
    return method


def failed(reason: str, config: Mapping[str, Any], command: str) -> Summary:
    """The summary of a run that ended with an error."""
    summary = Summary("failed", plain(config), command, reason)
    return replace(summary, headline=headline.of_run(summary))


def metric_lines(outcome: Outcome) -> list[dict[str, Any]]:
    """The content of metrics.jsonl: every stage by round, then every audit."""
    stages = {"train": outcome.original}
    stages |= {f"retrain_{i}": model for i, model in enumerate(outcome.retrained)}
    stages["unlearn"] = outcome.unlearned
    for mended in outcome.of(UNLEARNED, REPAIRED):
        stages["repair"] = mended.model
    lines = [line for stage, model in stages.items() for line in _stage_lines(stage, model, outcome)]
    for subject, findings in outcome.findings.items():
        values = {name: value for name, value in findings.items() if not isinstance(value, dict)}
        lines += [{"stage": f"audit_{subject}", "round": 0, "name": n, "value": v} for n, v in values.items()]
    return lines


def exhibits(outcome: Outcome) -> dict[str, dict[str, FigureData]]:
    """The content of exhibits/NAME.json by name, each by model. Models are pictured in float32 alone."""
    found: dict[str, dict[str, FigureData]] = {}
    for each in outcome.models:
        for name, value in each.findings.items() if each.step.form == BARE else ():
            if isinstance(value, dict):
                found.setdefault(name, {})[each.step.label] = value
    return found


def write_metrics(folder: Path, lines: list[dict[str, Any]]) -> None:
    """metrics.jsonl."""
    write_text(folder / "metrics.jsonl", "".join(json.dumps(finite(line), allow_nan=False) + "\n" for line in lines))


def write_exhibits(folder: Path, found: dict[str, dict[str, FigureData]]) -> None:
    """exhibits/NAME.json, from which figures are drawn."""
    for name, models in found.items():
        text = json.dumps(finite(models), separators=(",", ":"), allow_nan=False)
        write_text(folder / "exhibits" / f"{name}.json", text + "\n")


def write_setting(folder: Path, config: RunConfig, here: dict[str, Any]) -> None:
    """config.yaml and environment.json, known before the run starts. `here`: the workers and device it runs on."""
    header = "# Run this again with: fedunlearn --rerun <path of this file> output.dir=<another folder>\n"
    write_text(folder / "config.yaml", header + OmegaConf.to_yaml(OmegaConf.create(config.as_dict())))
    write_text(folder / "environment.json", json.dumps({**environment(config.seed), **here}, indent=1) + "\n")


def _numbers(found: Findings, declared: Mapping[str, Finding]) -> Numbers:
    return {name: finite(value) for name, value in found.items() if declared[name].kind == "number"}


def _lists(every: Sequence[Findings]) -> Lists:
    """The findings that are lists, as the mean over models."""
    found = {name: [each[name] for each in every] for name, value in every[0].items() if isinstance(value, list)}
    return {
        name: tuple(finite(np.mean(np.array(values, dtype=float), axis=0).tolist())) for name, values in found.items()
    }


def _not_finite(findings: Mapping[str, Findings]) -> list[str]:
    """A sentence for each finding that has no finite value on some model."""
    bad: dict[str, list[str]] = {}
    for subject, found in findings.items():
        for name, value in found.items():
            values: Iterable[Any] = value if isinstance(value, list) else [value]
            if any(isinstance(x, float) and not math.isfinite(x) for x in values):
                bad.setdefault(name, []).append(subject)
    return [f"the finding {name} is not a finite number (of {', '.join(models)})" for name, models in bad.items()]


def _failed(passed: Mapping[str, bool]) -> list[str]:
    return [gates.sentence(name) for name, ok in passed.items() if not ok]


def _lost(passed: Mapping[str, bool], deployed: Mapping[str, Deployed]) -> Iterator[str]:
    """A sentence for every format and gate that float32 models pass and those of the format do not."""
    for name, found in deployed.items():
        for gate in (gate for gate, ok in passed.items() if ok and not found.gates[gate]):
            yield f"at {name}, {gates.AFTER_ROUNDING[gate]}"


def _samples(federation: Federation) -> dict[str, int]:
    """How many samples of each split are to be forgotten, and how many stay."""
    forget = federation.request.forget, np.isin(federation.dataset.test.groups.numpy(), federation.request.classes)
    return {
        f"{part}_{split}": int(rows.sum())
        for split, mask in zip(("train", "test"), forget, strict=True)
        for part, rows in (("forget", mask), ("retain", ~mask))
    }


def _replayed(outcome: Outcome) -> dict[str, int]:
    """How many retain samples clients had while they unlearned; nothing of a model that was made elsewhere."""
    work = outcome.of(UNLEARNED)[0].step.work
    return {"replayed_train": selection.replayed(outcome.federation, work.spec)} if isinstance(work, Training) else {}


def _partition(federation: Federation) -> Partition:
    groups, classes = federation.dataset.train.groups.numpy(), federation.dataset.classes
    return Partition(
        tuple(tuple(row) for row in counts(federation.parts, groups, classes).tolist()),
        tuple(int(federation.request.forget[part].sum()) for part in federation.parts),
    )


def _stage_lines(stage: str, model: StepModel, outcome: Outcome) -> list[dict[str, Any]]:
    lines = []
    for entry in model.history:
        values = round_values(entry, outcome.federation)
        lines += [{"stage": stage, "round": entry["round"], "name": n, "value": v} for n, v in values.items()]
    return lines


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _spread(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return max(known) - min(known) if len(known) == len(values) > 1 else None


def _difference(value: float | None, reference: float | None) -> float | None:
    return None if value is None or reference is None else value - reference


def _cost(models: Sequence[StepModel]) -> Numbers:
    return {name: finite(float(np.mean([model.cost[name] for model in models]))) for name in COSTS}


def _together(further: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, Numbers]:
    return {
        kind: {name: finite(sum(float(cost[name]) for cost in costs)) for name in COSTS}
        for kind, costs in further.items()
    }


def _profile(stages: Mapping[str, Sequence[StepModel]]) -> dict[str, Numbers]:
    """Seconds per round by stage and part, of the stages that ran (also if that was earlier, for the store)."""
    spent = {name: _per_round([model.cost for model in models]) for name, models in stages.items()}
    return {name: parts for name, parts in spent.items() if parts}


def _per_round(costs: Sequence[Mapping[str, Any]]) -> Numbers:
    rounds = max(1, sum(cost["rounds"] for cost in costs))
    profiles = [cost.get("profile", {}) for cost in costs]
    return {part: sum(spent.get(part, 0.0) for spent in profiles) / rounds for part in profiles[0]}
