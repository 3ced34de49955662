"""The story of a run: train, retrain, unlearn, audit, report.

Every stage is a function of its own part of the configuration and of the stages before it (see `stages`); the store
computes it once and shares it between runs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedunlearn import registry, stages
from fedunlearn.audits.base import Evidence, Findings, Reference
from fedunlearn.audits.observe import observe
from fedunlearn.config import RunConfig
from fedunlearn.console import Console
from fedunlearn.errors import RequestError, listed
from fedunlearn.federation.engines import Progress, run_stage
from fedunlearn.federation.world import World, open_world
from fedunlearn.methods.base import Method
from fedunlearn.randomness import derive
from fedunlearn.stages import AuditStage, ModelStage, RunStages
from fedunlearn.store import Artifact, Checkpoint, Store, Stored
from fedunlearn.tracking.base import SILENT, Tracker

TENSORS = ("model", "shared", "memory")  # of a stage's progress, as the store keeps them
History = list[dict[str, Any]]


@dataclass(frozen=True)
class StageModel:
    """A stage's outcome. `history`: test accuracy of every class and training loss, by round.

    `memory` and `notes`: what the method's server remembers.
    """

    key: str
    cached: bool
    tensors: dict[str, Any]
    memory: dict[str, Any]
    history: History
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


def run(config: RunConfig, console: Console, tracker: Tracker = SILENT) -> Outcome:
    """Train, retrain, unlearn and audit. Raises RequestError before any training, RunError afterwards."""
    check_method(config)
    world = open_world(config)
    planned = stages.of_run(config, world)
    with opened_store(config, console) as store:
        runner = Runner(config, world, store, console, tracker)
        models = {subject: runner.model(stage) for subject, stage in planned.models.items()}
        findings = runner.audit(planned, models)
    retrained = [model for subject, model in models.items() if subject.startswith("retrained_")]
    return Outcome(config, world, models["original"], retrained, models["unlearned"], findings)


@contextmanager
def opened_store(config: RunConfig, console: Console) -> Iterator[Store]:
    """The store of a run; one of its own, gone afterwards, if it is to share nothing."""
    if config.store.enabled:
        yield Store(Path(config.store.dir).expanduser(), console.say)
        return
    with tempfile.TemporaryDirectory(prefix="fedunlearn-") as folder:
        yield Store(Path(folder), console.say)


def check_method(config: RunConfig) -> None:
    """Does the method define the kind of request that is made, and do its settings fit the run? Raises RequestError."""
    method: Method = registry.find("method", config.method.name)
    request = config.request
    asked = bool(request.classes or request.clients or request.samples)  # an empty request is refused elsewhere
    level = request.level
    if asked and level not in method.levels:
        raise RequestError(
            f"method {method.name} forgets at {listed(sorted(method.levels))} level, but the request is for {level}s"
        )
    method.check(config.method.settings, config)


class Runner:
    """Carries out the stages of one run in order, each looked up in the store before it is computed."""

    def __init__(self, config: RunConfig, world: World, store: Store, console: Console, tracker: Tracker) -> None:
        self.config, self.world, self.store, self.console, self.tracker = config, world, store, console, tracker
        self._models: dict[str, StageModel] = {}  # by key
        self._say_once = cache(lambda text: console.say(text, style="yellow"))

    def model(self, planned: ModelStage) -> StageModel:
        """A trained model from the store, or from running the stage (from its last round, if it was interrupted)."""
        stage = planned.stage
        stored = self.store.get(stage.kind, stage.determinants, lambda checkpoint: self._train(planned, checkpoint))
        model = self._models[stage.key] = _stage_model(stored)
        if stored.cached:
            self.console.say(f"{stage.name}: found in the store ({stored.key})", style="dim")
            self._track(stage.name, model.history)
        return model

    def audit(self, planned: RunStages, models: dict[str, StageModel]) -> dict[str, Findings]:
        """Every audit on every model, against the same reference."""
        findings: dict[str, Findings] = {subject: {} for subject in models}
        evidence = cache(lambda subject: self._evidence(models[subject]))
        with self.console.progress("audit", len(planned.audits), "audits") as advance:
            for done, audit in enumerate(planned.audits, start=1):
                findings[audit.subject] |= self._measure(audit, evidence)
                advance(done, audit.stage.name)
        return findings

    def _train(self, planned: ModelStage, checkpoint: Checkpoint) -> Artifact:
        name, rounds = planned.stage.name, planned.rounds
        saved = checkpoint.load()
        begin = _progress(saved, self.world.device) if saved else self._begin(planned)
        if saved:
            self.console.say(f"{name}: going on after round {begin.cost['rounds']} of {rounds}")
            self._track(name, begin.history)
        with self.console.progress(name, rounds) as advance:

            def after_round(progress: Progress) -> None:
                checkpoint.save(_artifact(progress))
                advance(progress.cost["rounds"], self._headline(progress.history[-1]))
                self._say_failures(name, progress.history[-1])
                self._track(name, progress.history[-1:])

            done = run_stage(
                planned.plan, begin, rounds, self.world, self.config, after_round, planned.server, self._say_once
            )
            return _artifact(done)

    def _begin(self, planned: ModelStage) -> Progress:
        """What the first round starts from."""
        if planned.start is None:
            return Progress(self.world.fresh_model(derive(planned.plan.seed, planned.plan.stage)).state_dict())
        start = self._models[planned.start.stage.key].tensors
        memory = self.model(planned.history).memory if planned.history else {}
        return Progress(_on(self.world.device, start), memory=_on(self.world.device, memory))

    def _headline(self, entry: dict[str, Any]) -> str:
        values = round_values(entry, self.world)
        shown = {name.split("_")[0]: value for name, value in values.items() if name.endswith("_accuracy")}
        return "  ".join(f"{name} {value:.3f}" for name, value in shown.items())

    def _say_failures(self, stage: str, entry: dict[str, Any]) -> None:
        if "failures" in entry:
            left_out = f"clients left out: {entry['failures']}; the last: {entry['failure']}"
            self.console.say(f"{stage}: round {entry['round']}: {left_out}", style="yellow")

    def _track(self, stage: str, history: History) -> None:
        for entry in history:
            self.tracker.measured(stage, entry["round"], round_values(entry, self.world))

    def _evidence(self, model: StageModel) -> Evidence:
        network = self.world.fresh_model(0)
        network.load_state_dict(model.tensors)
        return observe(network, self.world.dataset, self.world.request, self.world.device)

    def _measure(self, planned: AuditStage, evidence: Callable[[str], Evidence]) -> Findings:
        audit = registry.find("audit", planned.audit.name)

        def compute(checkpoint: Checkpoint) -> Artifact:
            reference = Reference(
                original=evidence("original"),
                retrained=tuple(evidence(name) for name in planned.retrained),
                forget_classes=self.world.request.classes,
                classes=self.world.dataset.classes,
                seed=self.config.seed,
                parts=tuple(self.world.parts),
                backdoor=self.config.request.backdoor,
            )
            return Artifact({}, audit.measure(evidence(planned.subject), reference, planned.audit.settings))

        return self.store.get(planned.stage.kind, planned.stage.determinants, compute).data


def round_values(entry: dict[str, Any], world: World) -> dict[str, float]:
    """What a round's entry in a history says.

    Forget and retain accuracy on the test split, the training loss and, if there were any, the clients left out.
    """
    forget, retain = split_accuracy(entry["class_accuracy"], world)
    values = {
        "forget_accuracy": forget,
        "retain_accuracy": retain,
        "train_loss": entry.get("loss"),
        "failures": entry.get("failures"),
    }
    return {name: value for name, value in values.items() if value is not None}


def split_accuracy(class_accuracy: list[float], world: World) -> tuple[float | None, float]:
    """(forget, retain) test accuracy from the accuracies of the classes; forget is None below class level."""
    counts = np.bincount(world.test.labels.cpu().numpy(), minlength=world.dataset.classes)
    forget = np.isin(np.arange(world.dataset.classes), world.request.classes)
    accuracy = np.asarray(class_accuracy)
    retain = float(np.average(accuracy[~forget], weights=counts[~forget]))
    return (float(np.average(accuracy[forget], weights=counts[forget])) if forget.any() else None), retain


def _on(device: torch.device, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.to(device) for name, value in tensors.items()}


def _artifact(progress: Progress) -> Artifact:
    tensors = {f"{part}/{name}": value for part in TENSORS for name, value in getattr(progress, part).items()}
    return Artifact(tensors, {"history": progress.history, "notes": progress.notes, "cost": progress.cost})


def _progress(saved: Artifact, device: torch.device) -> Progress:
    parts: dict[str, dict[str, Any]] = {part: {} for part in TENSORS}
    for name, value in _on(device, saved.tensors).items():
        part, _, rest = name.partition("/")
        parts[part][rest] = value
    return Progress(**parts, notes=saved.data["notes"], history=saved.data["history"], cost=saved.data["cost"])


def _stage_model(stored: Stored) -> StageModel:
    progress = _progress(stored, torch.device("cpu"))
    kept = progress.model, progress.memory, progress.history, progress.cost, progress.notes
    return StageModel(stored.key, stored.cached, *kept)
