"""The story of a run: train, retrain, unlearn, audit, report.

Every stage is a function of its own part of the configuration and of the stages before it; the store computes it
once and shares it between runs.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from fedunlearn import registry
from fedunlearn.audits.base import Evidence, Findings, Reference
from fedunlearn.audits.observe import observe
from fedunlearn.config import Chosen, RunConfig, TrainConfig
from fedunlearn.console import Console
from fedunlearn.errors import RequestError, listed
from fedunlearn.federation.engines import Progress, run_stage
from fedunlearn.federation.plan import Plan
from fedunlearn.federation.world import World, open_world
from fedunlearn.methods.base import Method
from fedunlearn.provenance import fingerprint
from fedunlearn.randomness import derive
from fedunlearn.schema import plain
from fedunlearn.store import Artifact, Checkpoint, Store, Stored

Determinants = dict[str, Any]
TRAINING_CODE = ("randomness", "schema", "data", "models", "federation", "methods.base")
TENSORS = ("model", "shared", "memory")  # of a stage's progress, as the store keeps them
AUDIT_CODE = ("audits.base", "audits.observe")


@dataclass(frozen=True)
class StageModel:
    """A stage's outcome. `history`: per round, test accuracy of every class and training loss; `notes`: the method's."""

    key: str
    cached: bool
    tensors: dict[str, Any]
    history: list[dict[str, Any]]
    cost: dict[str, float]
    notes: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """Everything a report is made of."""

    config: RunConfig
    world: World
    original: StageModel
    retrained: list[StageModel]
    unlearned: StageModel
    findings: dict[str, Findings]  # subject ("original", "retrained_0", …, "unlearned") -> audits


def run(config: RunConfig, console: Console) -> Outcome:
    """Train, retrain, unlearn and audit. Raises RequestError before any training, RunError afterwards."""
    check_method(config)
    world = open_world(config)
    store = Store(Path(config.store.dir).expanduser(), console.say)
    stages = Stages(config, world, store, console)
    original = stages.train()
    retrained = [stages.retrain(number) for number in range(config.retrain.seeds)]
    unlearned = stages.unlearn(original)
    findings = stages.audit(original, retrained, unlearned)
    return Outcome(config, world, original, retrained, unlearned, findings)


def check_method(config: RunConfig) -> None:
    """Does the method define the kind of request that is made? Raises RequestError."""
    method: Method = registry.find("method", config.method.name)
    request = config.request
    asked = bool(request.classes or request.clients or request.samples)  # an empty request is refused elsewhere
    level = request.level
    if asked and level not in method.levels:
        raise RequestError(
            f"method {method.name} forgets at {listed(sorted(method.levels))} level, but the request is for {level}s"
        )


class Stages:
    """The stages of one run, each looked up in the store before it is computed."""

    def __init__(self, config: RunConfig, world: World, store: Store, console: Console) -> None:
        self.config, self.world, self.store, self.console = config, world, store, console

    def train(self) -> StageModel:
        """The original model w_o, on all data. Does not depend on the request or the method."""
        plan = self._plan("train", Chosen("fedavg", None), self.config.train)
        return self._model(plan, self.config.train.rounds, None, {})

    def retrain(self, number: int) -> StageModel:
        """The retrained model w_r number 0, 1, … : a fresh start on D_r, for all rounds of training and unlearning."""
        plan = self._plan(f"retrain_{number}", Chosen("retrain", None), self.config.train)
        return self._model(plan, self.config.train.rounds + self.config.unlearn.rounds, None, self._request())

    def unlearn(self, original: StageModel) -> StageModel:
        """The unlearned model w_u of the chosen method."""
        method: Method = registry.find("method", self.config.method.name)
        plan = self._plan("unlearn", self.config.method, self.config.unlearning_budget())
        rounds = method.rounds(self.config.train.rounds, self.config.unlearn.rounds)
        start = original if method.start == "original" else None
        return self._model(plan, rounds, start, self._request())

    def audit(
        self, original: StageModel, retrained: list[StageModel], unlearned: StageModel
    ) -> dict[str, Findings]:
        """Every audit on every model, against the same reference."""
        subjects = {"original": original, **{f"retrained_{i}": model for i, model in enumerate(retrained)}}
        subjects["unlearned"] = unlearned
        findings: dict[str, Findings] = {name: {} for name in subjects}
        evidence = cache(lambda name: self._evidence(subjects[name]))
        with self.console.progress("audit", len(subjects) * len(self.config.audit)) as advance:
            for done, (name, chosen) in enumerate((n, c) for n in subjects for c in self.config.audit):
                others = [f"retrained_{i}" for i in range(len(retrained)) if f"retrained_{i}" != name]
                keys = [subjects[n].key for n in (name, "original", *others)]
                findings[name] |= self._measure(chosen, keys, lambda n=name, o=others: (evidence(n), self._reference(evidence, o)))
                advance(done + 1, f"{chosen.name} of {name}")
        return findings

    def _plan(self, stage: str, method: Chosen, training: TrainConfig) -> Plan:
        settings = plain(method.settings) if method.settings is not None else {}
        forget = self.world.request
        return Plan(
            stage=stage,
            seed=self.config.seed,
            method=method.name,
            training=training,
            classes=self.world.dataset.classes,
            level=forget.level,
            forget_classes=forget.classes,
            settings=settings,
        )

    def _request(self) -> Determinants:
        forget = self.world.request
        return {"classes": forget.classes, "samples": hashlib.sha256(np.packbits(forget.forget).tobytes()).hexdigest()}

    def _model(self, plan: Plan, rounds: int, start: StageModel | None, request: Determinants) -> StageModel:
        """A trained model from the store, or from running the stage (from its last round, if it was interrupted)."""
        method: Method = registry.find("method", plan.method)
        determinants = {
            "data": {"fingerprint": self.world.dataset.fingerprint, "partition": plain(self.config.partition)},
            "model": plain(self.config.model),
            "device": self.world.device.type,
            "seed": plan.seed,
            "stage": plan.stage,
            "method": {"name": plan.method, **plan.settings},
            "training": {**plain(plan.training), "rounds": rounds},
            "request": plain(request),
            "start": start.key if start else "fresh",
            "code": fingerprint(TRAINING_CODE, method.objective),
        }
        kind = plan.stage.split("_")[0]

        def compute(checkpoint: Checkpoint) -> Artifact:
            return self._compute(plan, rounds, start, checkpoint)

        stored = self.store.get(kind, determinants, compute)
        if stored.cached:
            self.console.say(f"{plan.stage}: found in the store ({stored.key})", style="dim")
        return _stage_model(stored)

    def _compute(self, plan: Plan, rounds: int, start: StageModel | None, checkpoint: Checkpoint) -> Artifact:
        saved = checkpoint.load()
        if saved:
            begin = _progress(saved)
        elif start:
            begin = Progress({name: value.to(self.world.device) for name, value in start.tensors.items()})
        else:
            begin = Progress(self.world.fresh_model(derive(plan.seed, plan.stage)).state_dict())
        if saved:
            done = begin.cost["rounds"]
            self.console.say(f"{plan.stage}: going on after round {done} of {rounds}")
        with self.console.progress(plan.stage, rounds) as advance:

            def after_round(progress: Progress) -> None:
                checkpoint.save(_artifact(progress))
                advance(progress.cost["rounds"], self._headline(progress))

            return _artifact(run_stage(plan, begin, rounds, self.world, self.config, after_round))

    def _headline(self, progress: Progress) -> str:
        forget, retain = split_accuracy(progress.history[-1]["class_accuracy"], self.world)
        parts = [] if forget is None else [f"forget {forget:.3f}"]
        return "  ".join([*parts, f"retain {retain:.3f}"])

    def _evidence(self, stage: StageModel) -> Evidence:
        model = self.world.fresh_model(0)
        model.load_state_dict(stage.tensors)
        return observe(model, self.world.dataset, self.world.request, self.world.device)

    def _reference(self, evidence: Any, others: list[str]) -> Reference:
        retrained = tuple(evidence(name) for name in others)
        world = self.world
        return Reference(
            evidence("original"), retrained, world.request.classes, world.dataset.classes, self.config.seed
        )

    def _measure(self, chosen: Chosen, keys: list[str], look: Any) -> Findings:
        audit = registry.find("audit", chosen.name)
        determinants = {
            "audit": plain(chosen),
            "subject": keys[0],
            "original": keys[1],
            "retrained": keys[2:],
            "request": plain(self._request()),
            "seed": self.config.seed,
            "code": fingerprint(AUDIT_CODE, audit.measure),
        }
        stored = self.store.get(
            "audit", determinants, lambda checkpoint: Artifact({}, audit.measure(*look(), chosen.settings))
        )
        return stored.data


def split_accuracy(class_accuracy: list[float], world: World) -> tuple[float | None, float]:
    """(forget, retain) test accuracy from the accuracies of the classes; forget is None below class level."""
    counts = np.bincount(world.test.labels.cpu().numpy(), minlength=world.dataset.classes)
    forget = np.isin(np.arange(world.dataset.classes), world.request.classes)
    accuracy = np.asarray(class_accuracy)
    retain = float(np.average(accuracy[~forget], weights=counts[~forget]))
    return (float(np.average(accuracy[forget], weights=counts[forget])) if forget.any() else None), retain


def _artifact(progress: Progress) -> Artifact:
    tensors = {f"{part}/{name}": value for part in TENSORS for name, value in getattr(progress, part).items()}
    return Artifact(tensors, {"history": progress.history, "notes": progress.notes, "cost": progress.cost})


def _progress(saved: Artifact) -> Progress:
    parts: dict[str, dict[str, Any]] = {part: {} for part in TENSORS}
    for name, value in saved.tensors.items():
        part, _, rest = name.partition("/")
        parts[part][rest] = value
    return Progress(**parts, notes=saved.data["notes"], history=saved.data["history"], cost=saved.data["cost"])


def _stage_model(stored: Stored) -> StageModel:
    progress = _progress(Artifact(stored.tensors, stored.data))
    return StageModel(stored.key, stored.cached, progress.model, progress.history, progress.cost, progress.notes)


def with_output(config: RunConfig, folder: str) -> RunConfig:
    """The same run with its results in `folder` (a sweep gives every run its own)."""
    return replace(config, output=replace(config.output, dir=folder))
