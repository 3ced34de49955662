"""What a run is made of, known before anything is computed: its stages, and exactly what each result depends on.

A stage's key follows from its determinants, and the key of a stage is a determinant of the stages that build on it.
So what a run needs can be looked up in a store without computing any of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from fedunlearn import registry
from fedunlearn.config import Chosen, RunConfig, TrainConfig
from fedunlearn.data.request import held_out
from fedunlearn.federation.plan import Plan
from fedunlearn.federation.world import World
from fedunlearn.methods.base import Method, Server
from fedunlearn.provenance import fingerprint
from fedunlearn.schema import plain
from fedunlearn.store import key_of

Determinants = dict[str, Any]
TRAINING_CODE = ("randomness", "schema", "data", "models", "federation", "methods.base")
AUDIT_CODE = ("audits.base", "audits.observe")


@dataclass(frozen=True)
class Stage:
    """One result of a run. `kind`: train, retrain, history, unlearn or audit, its folder in the store."""

    kind: str
    name: str
    determinants: Determinants

    @cached_property
    def key(self) -> str:
        """What the result is called in the store."""
        return key_of(self.kind, self.determinants)


@dataclass(frozen=True)
class ModelStage:
    """A stage that trains: `rounds` rounds of `plan`, from the model of `start` or from a fresh one.

    `server`: in place of the one of the plan's method. `history`: the stage whose memory this one starts with.
    """

    stage: Stage
    plan: Plan
    rounds: int
    start: ModelStage | None
    server: Server | None = None
    history: ModelStage | None = None


@dataclass(frozen=True)
class ShadowStages:
    """A shadow model: trained without some of the forget samples, then unlearned with the run's method."""

    number: int
    original: ModelStage
    unlearned: ModelStage


@dataclass(frozen=True)
class AuditStage:
    """One audit of the model called `subject`; `retrained` names all retrained models."""

    stage: Stage
    audit: Chosen
    subject: str
    retrained: tuple[str, ...]
    shadows: tuple[ShadowStages, ...]


@dataclass(frozen=True)
class RunStages:
    """All stages of a run. `models`: by subject: original, retrained_0, …, unlearned; `shadows`: by number."""

    models: dict[str, ModelStage]
    shadows: tuple[ShadowStages, ...]
    audits: tuple[AuditStage, ...]

    def __iter__(self) -> Iterator[Stage]:
        of_shadows = [model for shadow in self.shadows for model in (shadow.original, shadow.unlearned)]
        for model in [*self.models.values(), *of_shadows]:
            yield from (part.stage for part in (model.history, model) if part)
        yield from (audit.stage for audit in self.audits)


def of_run(config: RunConfig, world: World) -> RunStages:
    """The stages of a run, in the order in which they are needed."""
    original = _train(config, world)
    retrained = {f"retrained_{number}": _retrain(config, world, number) for number in range(config.retrain.seeds)}
    models = {"original": original, **retrained, "unlearned": _unlearn(config, world, original)}
    wanted = max((_shadows_of(chosen) for chosen in config.audit), default=0)
    shadows = tuple(_shadow(config, world, number) for number in range(wanted))
    audits = tuple(_audit(config, world, models, shadows, name, chosen) for name in models for chosen in config.audit)
    return RunStages(models, shadows, audits)


def code(config: RunConfig) -> str:
    """A fingerprint of all code that a run's results depend on."""
    method: Method = registry.find("method", config.method.name)
    measures = [registry.find("audit", audit.name).measure for audit in config.audit]
    parts = [fingerprint(TRAINING_CODE, method.objective), *(fingerprint(AUDIT_CODE, measure) for measure in measures)]
    return key_of("code", {"parts": parts})


def _train(config: RunConfig, world: World, shadow: int | None = None) -> ModelStage:
    """The original model w_o, on all data. Depends on neither the request nor the method."""
    plan = _plan(config, world, "train", Chosen("fedavg", None), config.train, shadow)
    return _model(config, world, plan, config.train.rounds, None, {})


def _retrain(config: RunConfig, world: World, number: int) -> ModelStage:
    """The retrained model w_r number 0, 1, …: a fresh start on D_r, for all rounds of training and unlearning."""
    plan = _plan(config, world, f"retrain_{number}", Chosen("retrain", None), config.train)
    return _model(config, world, plan, config.train.rounds + config.unlearn.rounds, None, _request(world))


def _unlearn(config: RunConfig, world: World, original: ModelStage, shadow: int | None = None) -> ModelStage:
    """The unlearned model w_u of the chosen method."""
    method: Method = registry.find("method", config.method.name)
    rounds, budget = method.rounds(config.train.rounds, config.unlearn.rounds), config.unlearning_budget()
    training = replace(budget, rounds=rounds) if rounds else budget  # clients who train hear of a round at least
    plan = _plan(config, world, "unlearn", config.method, training, shadow)
    start = original if method.start == "original" else None
    unlearned = _model(config, world, plan, rounds, start, _request(world))
    return _after(unlearned, _history(original, method.history)) if method.history else unlearned


def _shadow(config: RunConfig, world: World, number: int) -> ShadowStages:
    """As the run's own stages, with random streams of its own. Its original does not depend on the method."""
    original = _train(config, world, number)
    return ShadowStages(number, original, _unlearn(config, world, original, number))


def _shadows_of(audit: Chosen) -> int:
    """How many shadow models an audit needs."""
    return int(registry.find("audit", audit.name).shadows(audit.settings))


def _history(original: ModelStage, server: Server) -> ModelStage:
    """The original training once more, for what `server` remembers of it."""
    watched = {"server": fingerprint((), server), "forget_clients": plain(original.plan.forget_clients)}
    stage = Stage("history", _title("history", original.plan.shadow), {**original.stage.determinants, **watched})
    return replace(original, stage=stage, server=server)


def _after(model: ModelStage, history: ModelStage) -> ModelStage:
    """The same stage, with the history that it starts with."""
    determinants = {**model.stage.determinants, "history": history.stage.key}
    return replace(model, stage=replace(model.stage, determinants=determinants), history=history)


def _plan(
    config: RunConfig, world: World, stage: str, method: Chosen, training: TrainConfig, shadow: int | None = None
) -> Plan:
    return Plan(
        stage=stage,
        seed=world.of_shadow(shadow).seed,
        method=method.name,
        training=training,
        classes=world.dataset.classes,
        level=world.request.level,
        forget_classes=world.request.classes,
        forget_clients=tuple(sorted(config.request.clients)),
        settings=plain(method.settings) if method.settings is not None else {},
        shadow=shadow,
    )


def _title(stage: str, shadow: int | None) -> str:
    return stage if shadow is None else f"shadow_{shadow}_{stage}"


def _request(world: World) -> Determinants:
    return {"classes": plain(world.request.classes), "samples": _digest(world.request.forget)}


def _held_out(world: World, shadow: int | None) -> Determinants:
    return {} if shadow is None else {"held_out": _digest(held_out(world.request, world.seed, shadow))}


def _digest(mask: np.ndarray) -> str:
    return hashlib.sha256(np.packbits(mask).tobytes()).hexdigest()


def _model(
    config: RunConfig, world: World, plan: Plan, rounds: int, start: ModelStage | None, request: Determinants
) -> ModelStage:
    method: Method = registry.find("method", plan.method)
    determinants = {
        "data": {
            "fingerprint": world.dataset.fingerprint,
            "partition": plain(config.partition),
            **_held_out(world, plan.shadow),
        },
        "model": plain(config.model),
        "device": world.device.type,
        "engine": config.engine.traits,
        "seed": plan.seed,
        "stage": plan.stage,
        "method": {"name": plan.method, **plan.settings},
        "training": {**plain(plan.training), "rounds": rounds},
        "request": request,
        "start": start.stage.key if start else "fresh",
        "code": fingerprint(TRAINING_CODE, method.objective),
    }
    kind = plan.stage.split("_")[0]
    return ModelStage(Stage(kind, _title(plan.stage, plan.shadow), determinants), plan, rounds, start)


def _audit(
    config: RunConfig,
    world: World,
    models: dict[str, ModelStage],
    shadows: tuple[ShadowStages, ...],
    subject: str,
    audit: Chosen,
) -> AuditStage:
    retrained = tuple(name for name in models if name.startswith("retrained_"))
    needed = shadows[: _shadows_of(audit)]
    seen = [[shadow.original.stage.key, shadow.unlearned.stage.key] for shadow in needed]
    determinants = {
        "audit": plain(audit),
        "subject": models[subject].stage.key,
        "original": models["original"].stage.key,
        "retrained": [models[name].stage.key for name in retrained],
        "request": _request(world),
        "seed": config.seed,
        "code": fingerprint(AUDIT_CODE, registry.find("audit", audit.name).measure),
        **({"shadows": seen} if seen else {}),
    }
    return AuditStage(Stage("audit", f"{audit.name} of {subject}", determinants), audit, subject, retrained, needed)
