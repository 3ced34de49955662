"""The story of a run: train, retrain, unlearn, repair, deploy, audit, report.

Every step is a function of its own part of the configuration and of the steps before it (see `steps`); the store
computes it once and shares it between runs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from fedunlearn.audits.base import Audit, Findings
from fedunlearn.augment.base import Augmentation
from fedunlearn.deploy import backends
from fedunlearn.errors import RequestError, listed
from fedunlearn.federation import adaptable, augmentable, selection
from fedunlearn.federation.clock import Stopwatch
from fedunlearn.federation.federation import Federation
from fedunlearn.federation.method import Method
from fedunlearn.federation.repair import Repair
from fedunlearn.models.base import linear_head
from fedunlearn.runs import early, federations, steps
from fedunlearn.runs.console import Console
from fedunlearn.runs.declarations import check_needs, declared
from fedunlearn.runs.runner import Runner
from fedunlearn.runs.step_model import StepModel
from fedunlearn.runs.steps import BARE, ORIGINAL, RETRAINED, UNLEARNED, Form, RunSteps, Setting, Step
from fedunlearn.settings import registry
from fedunlearn.settings.config import RunConfig
from fedunlearn.store import Store
from fedunlearn.tasks.base import defined
from fedunlearn.tracking.base import SILENT, Tracker

Plan = Callable[[RunConfig, Federation], RunSteps]


@dataclass(frozen=True)
class Audited:
    """A model of a run, and what the audits found in it."""

    step: Step
    model: StepModel
    findings: Findings


@dataclass(frozen=True)
class Outcome:
    """Everything a report is made of. `signature`: what the finished run is recognised by (see `steps.signature`).

    `further`: what each of the models cost that audits needed besides, by what these are to them.
    """

    config: RunConfig
    federation: Federation
    models: tuple[Audited, ...]
    signature: str
    further: Mapping[str, list[dict[str, float]]] = field(default_factory=dict)
    spent: dict[str, dict[str, float]] = field(default_factory=dict)  # see `Summary`

    def of(self, role: str, form: Form = BARE) -> list[Audited]:
        """The models of that role in that form."""
        return [each for each in self.models if (each.step.role, each.step.form) == (role, form)]

    @property
    def original(self) -> StepModel:
        """w_o."""
        return self.of(ORIGINAL)[0].model

    @property
    def retrained(self) -> list[StepModel]:
        """w_r, of several seeds."""
        return [each.model for each in self.of(RETRAINED)]

    @property
    def unlearned(self) -> StepModel:
        """w_u."""
        return self.of(UNLEARNED)[0].model

    @property
    def findings(self) -> dict[str, Findings]:
        """By the label of the model: original, retrained_0, …, unlearned, original.int4, …"""
        return {each.step.label: each.findings for each in self.models}


def run(config: RunConfig, console: Console, tracker: Tracker = SILENT) -> Outcome:
    """Train, retrain, unlearn and audit. Raises RequestError before any training, RunError afterwards."""
    check_method(config)
    for remark in early.method_remarks(config):
        console.warn(remark)
    check_model(config, federations.opened(config))
    check_augmented_method(config, federations.opened(config))
    return carried_out(config, steps.of_run, console, tracker)


def carried_out(config: RunConfig, plan: Plan, console: Console, tracker: Tracker = SILENT) -> Outcome:
    """All steps of the plan. Raises as `run` does."""
    watch = Stopwatch()
    declared(config)  # raises where two audits declare the same
    check_needs(config)
    backends.check(config.deploy)
    federation = federations.opened(config)
    check_repair(config, federation)
    check_augmentation(config, federation)
    for remark in early.remarks(config, federation):
        console.warn(remark)
    planned = plan(config, federation)
    watch.lap("data")
    with opened_store(config, console) as store:
        runner = Runner(config, federation, store, console, tracker)
        models: dict[str, StepModel] = {}
        for step in planned.models:
            models[step.label] = runner.keep(step)
            watch.lap(step.kind)
            if (step.role, step.form) == (ORIGINAL, BARE) and config.gates == "stop":
                early.check_learnt(config, federation, models[step.label])
        further: dict[str, list[dict[str, float]]] = {}
        for step in planned.variants:  # they are many: seen to now, read again when an audit needs them
            assert step.variant is not None
            further.setdefault(f"{step.variant.kind}s", []).append(runner.model(step).cost)
            watch.lap(f"{step.variant.kind} models")
        findings = runner.audit(planned.audits)
        watch.lap("audits")
    spent = {"run": dict(watch.seconds), "audits": dict(runner.audit_seconds)}
    audited = [Audited(step, models[step.label], findings.get(step.label, {})) for step in planned.models]
    return Outcome(config, federation, tuple(audited), planned.signature(runner.kept), further, spent)


def models_alone(config: RunConfig, console: Console) -> Outcome:
    """The models of a run without findings: from the store, or trained where it does not hold them."""
    return carried_out(config, lambda *given: replace(steps.of_run(*given), audits=()), console)


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
    if method.given:
        check_given(config)
    check_floor(method, config)
    selection.check(config)


def check_given(config: RunConfig) -> None:
    """Can a model that was made elsewhere go through the rest of the run? Raises RequestError."""
    if config.engine.name == "deployment":
        raise RequestError("a model that is given is audited in this process: choose another engine than deployment")
    for chosen in config.audit:
        wanted = registry.find(Audit, chosen.name).variants(chosen.settings)
        if kinds := [f"{kind} models" for kind, count in wanted.items() if count]:
            raise RequestError(
                f"audit.{chosen.name} trains {listed(kinds)}, which only a method can make forget: it is not for a "
                "model that is given"
            )


def check_floor(method: Method, config: RunConfig) -> None:
    """Does the method take steps that a floor can keep out? Raises RequestError."""
    fresh = "starts from a fresh model" if method.start == "fresh" else ""
    why = fresh or ("" if method.trains(config) else adaptable.untrained(method))
    if why and config.unlearn.min_step:
        raise RequestError(f"unlearn.min_step does not go with method {method.name}, which {why}")


def check_model(config: RunConfig, federation: Federation) -> None:
    """Does the method fit the model, also with the adapters that are asked for? Raises RequestError."""
    method, model = registry.find(Method, config.method.name), federation.models.fresh(0)
    method.fits(config.method.settings, model)
    spec = steps.unlearning_spec(Setting(config, federation), config.unlearning_budget())
    adaptable.check(method, config, spec, model)


def check_repair(config: RunConfig, federation: Federation) -> None:
    """Does the repair fit the task and the model? Raises RequestError."""
    repair = registry.find(Repair, config.repair.name)
    if not defined(repair.tasks, federation.task.name):
        given = f"dataset={config.dataset.name} is for {federation.task.name}"
        raise RequestError(f"repair {repair.name} is for {listed(sorted(repair.tasks))}, but {given}")
    if repair.edits_head:
        try:
            linear_head(federation.models.fresh(0))
        except RequestError as error:
            raise RequestError(f"repair {repair.name} cannot mend model={config.model.name}: {error}") from error


def check_augmentation(config: RunConfig, federation: Federation) -> None:
    """Can the images of the data set be augmented, and the repair train on them? Raises RequestError."""
    augmentation, repair = registry.find(Augmentation, config.augment.name), registry.find(Repair, config.repair.name)
    augmentable.check(augmentation, federation.dataset)
    spec = Setting(config, federation).spec(steps.REPAIR, config.repair, config.train)
    if repair.rounds(config.repair.settings):
        objective = repair.objective(config.repair.settings, replace(spec, kind="repair"))
        augmentable.check_mixing(augmentation, f"repair {repair.name}", objective)


def check_augmented_method(config: RunConfig, federation: Federation) -> None:
    """Can the method train on images that are augmented so? Raises RequestError."""
    augmentation, method = registry.find(Augmentation, config.augment.name), registry.find(Method, config.method.name)
    spec = steps.unlearning_spec(Setting(config, federation), config.unlearning_budget())
    if method.rounds(config):
        objective = method.objective(config.method.settings, spec)
        augmentable.check_mixing(augmentation, f"method {method.name}", objective)
