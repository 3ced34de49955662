"""The story of a run: train, retrain, unlearn, audit, report.

Every stage is a function of its own part of the configuration and of the stages before it (see `stages`); the store
computes it once and shares it between runs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedunlearn.audits.base import Evidence, Findings, Reference, Shadow
from fedunlearn.audits.observe import observe, viewed
from fedunlearn.engines.base import Progress, run_stage
from fedunlearn.errors import RequestError, listed
from fedunlearn.federation.federation import Federation, open_federation
from fedunlearn.federation.method import Method
from fedunlearn.models.base import Network
from fedunlearn.randomness import derive
from fedunlearn.runs import steps
from fedunlearn.runs.console import Console
from fedunlearn.runs.step_model import History, StageModel, artifact_of, model_of, on, progress_of
from fedunlearn.runs.steps import AuditStage, ModelStage, RunStages, ShadowStages
from fedunlearn.settings import registry
from fedunlearn.settings.config import RunConfig
from fedunlearn.store import Artifact, Checkpoint, Store
from fedunlearn.tasks.base import defined
from fedunlearn.tracking.base import SILENT, Tracker


@dataclass(frozen=True)
class Outcome:
    """Everything a report is made of."""

    config: RunConfig
    federation: Federation
    original: StageModel
    retrained: list[StageModel]
    unlearned: StageModel
    findings: dict[str, Findings]  # subject ("original", "retrained_0", …, "unlearned") -> audits


def run(config: RunConfig, console: Console, tracker: Tracker = SILENT) -> Outcome:
    """Train, retrain, unlearn and audit. Raises RequestError before any training, RunError afterwards."""
    check_method(config)
    federation = open_federation(config)
    planned = steps.of_run(config, federation)
    with opened_store(config, console) as store:
        runner = Runner(config, federation, store, console, tracker)
        models = {subject: runner.model(stage) for subject, stage in planned.models.items()}
        runner.train_shadows(planned.shadows)
        findings = runner.audit(planned, models)
    retrained = [model for subject, model in models.items() if subject.startswith("retrained_")]
    return Outcome(config, federation, models["original"], retrained, models["unlearned"], findings)


@contextmanager
def opened_store(config: RunConfig, console: Console) -> Iterator[Store]:
    """The store of a run; one of its own, gone afterwards, if it is to share nothing."""
    if config.store.enabled:
        yield Store(Path(config.store.dir).expanduser(), console.say)
        return
    with tempfile.TemporaryDirectory(prefix="fedunlearn-") as folder:
        yield Store(Path(folder), console.say)


def check_method(config: RunConfig) -> None:
    """Does the method fit the task, the kind of request and the rest of the run? Raises RequestError."""
    method: Method = registry.find("method", config.method.name)
    task = registry.find("dataset", config.dataset.name).task
    if not defined(method.tasks, task):
        given = f"dataset={config.dataset.name} is for {task}"
        raise RequestError(f"method {method.name} is for {listed(sorted(method.tasks))}, but {given}")
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

    def __init__(
        self, config: RunConfig, federation: Federation, store: Store, console: Console, tracker: Tracker
    ) -> None:
        self.config, self.federation, self.store, self.console, self.tracker = (
            config,
            federation,
            store,
            console,
            tracker,
        )
        self._models: dict[str, StageModel] = {}  # by key
        self._say_once = cache(lambda text: console.say(text, style="yellow"))

    def model(self, planned: ModelStage) -> StageModel:
        """A trained model from the store, or from running the stage (from its last round, if it was interrupted)."""
        model = self._models[planned.stage.key] = self._stored(planned)
        if model.cached:
            self.console.say(f"{planned.stage.name}: found in the store ({model.key})", style="dim")
            self._track(planned, model.history)
        return model

    def train_shadows(self, planned: Sequence[ShadowStages]) -> None:
        """See to it that the store has them. They are many, and large: none is kept in memory."""
        for shadow in planned:
            before = set(self._models)
            self.model(shadow.original)
            self.model(shadow.unlearned)
            self._models = {key: self._models[key] for key in before}

    def audit(self, planned: RunStages, models: dict[str, StageModel]) -> dict[str, Findings]:
        """Every audit on every model, against the same reference."""
        findings: dict[str, Findings] = {subject: {} for subject in models}
        evidence = cache(lambda subject: self._evidence(models[subject]))
        shadow = cache(lambda number: self._shadow(planned.shadows[number]))
        with self.console.progress("audit", len(planned.audits), "audits") as advance:
            for done, audit in enumerate(planned.audits, start=1):
                findings[audit.subject] |= self._measure(audit, evidence, shadow)
                advance(done, audit.stage.name)
        return findings

    def _stored(self, planned: ModelStage) -> StageModel:
        stage = planned.stage
        return model_of(self.store.get(stage.kind, stage.determinants, lambda saved: self._train(planned, saved)))

    def _train(self, planned: ModelStage, checkpoint: Checkpoint) -> Artifact:
        name, rounds = planned.stage.name, planned.rounds
        saved = checkpoint.load()
        begin = progress_of(saved, self.federation.device) if saved else self._begin(planned)
        if saved:
            self.console.say(f"{name}: going on after round {begin.cost['rounds']} of {rounds}")
            self._track(planned, begin.history)
        with self.console.progress(name, rounds) as advance:

            def after_round(progress: Progress) -> None:
                checkpoint.save(artifact_of(progress))
                advance(progress.cost["rounds"], self._headline(progress.history[-1]))
                self._say_failures(name, progress.history[-1])
                self._track(planned, progress.history[-1:])

            done = run_stage(
                planned.spec, begin, rounds, self.federation, self.config, after_round, planned.server, self._say_once
            )
            return artifact_of(done)

    def _begin(self, planned: ModelStage) -> Progress:
        """What the first round starts from."""
        if planned.start is None:
            return Progress(self.federation.models.fresh(derive(planned.spec.seed, planned.spec.stage)).state_dict())
        start = self._models[planned.start.stage.key].tensors
        memory = self.model(planned.history).memory if planned.history else {}
        return Progress(on(self.federation.device, start), memory=on(self.federation.device, memory))

    def _headline(self, entry: dict[str, Any]) -> str:
        values = round_values(entry, self.federation)
        shown = {name.split("_")[0]: value for name, value in values.items() if name.endswith("_accuracy")}
        return "  ".join(f"{name} {value:.3f}" for name, value in shown.items())

    def _say_failures(self, stage: str, entry: dict[str, Any]) -> None:
        if "failures" in entry:
            left_out = f"clients left out: {entry['failures']}; the last: {entry['failure']}"
            self.console.say(f"{stage}: round {entry['round']}: {left_out}", style="yellow")

    def _track(self, planned: ModelStage, history: History) -> None:
        for entry in history if planned.spec.shadow is None else ():
            self.tracker.measured(planned.stage.name, entry["round"], round_values(entry, self.federation))

    def _network(self, model: StageModel) -> Network:
        network = self.federation.models.fresh(0)
        network.load_state_dict(model.tensors)
        return network

    def _evidence(self, model: StageModel) -> Evidence:
        return observe(self._network(model), self.federation.dataset, self.federation.request, self.federation.device)

    def _shadow(self, planned: ShadowStages) -> Shadow:
        forget, parts = self.federation.request.forget, self.federation.of_shadow(planned.number).parts
        held = np.isin(np.flatnonzero(forget), np.concatenate(parts))
        asked = self.federation.dataset.train.at(torch.from_numpy(np.flatnonzero(forget)))
        task, prepare, device = self.federation.task, self.federation.dataset.prepare, self.federation.device
        everything = np.ones(len(asked), dtype=bool)
        original, unlearned = (
            viewed(self._network(self._stored(stage)).eval(), task, asked, everything, prepare, device).logits
            for stage in (planned.original, planned.unlearned)
        )
        return Shadow(held, original, unlearned)

    def _measure(
        self, planned: AuditStage, evidence: Callable[[str], Evidence], shadow: Callable[[int], Shadow]
    ) -> Findings:
        audit = registry.find("audit", planned.audit.name)

        def compute(checkpoint: Checkpoint) -> Artifact:
            reference = Reference(
                original=evidence("original"),
                retrained=tuple(evidence(name) for name in planned.retrained),
                forget_classes=self.federation.request.classes,
                classes=self.federation.dataset.classes,
                seed=self.config.seed,
                parts=tuple(self.federation.parts),
                backdoor=self.config.request.backdoor,
                shadows=tuple(shadow(each.number) for each in planned.shadows),
            )
            return Artifact({}, audit.measured(evidence(planned.subject), reference, planned.audit.settings))

        return self.store.get(planned.stage.kind, planned.stage.determinants, compute).data


def round_values(entry: dict[str, Any], federation: Federation) -> dict[str, float]:
    """What a round's entry in a history says.

    Forget and retain accuracy on the test split, the training loss and, if there were any, the clients left out.
    """
    forget, retain = split_scores(entry["scores"], federation)
    values = {
        "forget_accuracy": forget,
        "retain_accuracy": retain,
        "train_loss": entry.get("loss"),
        "failures": entry.get("failures"),
    }
    return {name: value for name, value in values.items() if value is not None}


def split_scores(scores: list[float], federation: Federation) -> tuple[float | None, float]:
    """(forget, retain) test score from the mean scores of the groups; forget is None below class level."""
    counts = np.bincount(federation.test.groups.cpu().numpy(), minlength=federation.dataset.classes)
    forget = np.isin(np.arange(federation.dataset.classes), federation.request.classes)
    each = np.asarray(scores)
    retain = float(np.average(each[~forget], weights=counts[~forget]))
    return (float(np.average(each[forget], weights=counts[forget])) if forget.any() else None), retain
