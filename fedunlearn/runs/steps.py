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

from fedunlearn.data.request import held_out
from fedunlearn.engines.base import traits as engine_traits
from fedunlearn.federation.federation import Federation
from fedunlearn.federation.method import MakeStrategy, Method
from fedunlearn.federation.spec import StageSpec
from fedunlearn.results.provenance import fingerprint
from fedunlearn.settings import registry
from fedunlearn.settings.config import Choice, RunConfig, TrainConfig
from fedunlearn.settings.schema import plain
from fedunlearn.store import key_of
from fedunlearn.tasks.base import defined

Determinants = dict[str, Any]
TRAINING_CODE = ("randomness", "settings", "data", "models", "federation", "engines")
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
    """A stage that trains: `rounds` rounds of `spec`, from the model of `start` or from a fresh one.

    `server`: in place of the one of the spec's method. `history`: the stage whose memory this one starts with.
    """

    stage: Stage
    spec: StageSpec
    rounds: int
    start: ModelStage | None
    server: MakeStrategy | None = None
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
    audit: Choice
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


def of_run(config: RunConfig, federation: Federation) -> RunStages:
    """The stages of a run, in the order in which they are needed."""
    original = _train(config, federation)
    retrained = {f"retrained_{number}": _retrain(config, federation, number) for number in range(config.retrain.seeds)}
    models = {"original": original, **retrained, "unlearned": _unlearn(config, federation, original)}
    measured = [
        chosen for chosen in config.audit if defined(registry.find("audit", chosen.name).tasks, federation.task.name)
    ]
    wanted = max((_shadows_of(chosen) for chosen in measured), default=0)
    shadows = tuple(_shadow(config, federation, number) for number in range(wanted))
    audits = tuple(_audit(config, federation, models, shadows, name, chosen) for name in models for chosen in measured)
    return RunStages(models, shadows, audits)


def code(config: RunConfig) -> str:
    """A fingerprint of all code that a run's results depend on."""
    method: Method = registry.find("method", config.method.name)
    measures = [registry.find("audit", audit.name).measure for audit in config.audit]
    parts = [fingerprint(TRAINING_CODE, method.objective), *(fingerprint(AUDIT_CODE, measure) for measure in measures)]
    return key_of("code", {"parts": parts})


def _train(config: RunConfig, federation: Federation, shadow: int | None = None) -> ModelStage:
    """The original model w_o, on all data. Depends on neither the request nor the method."""
    spec = _spec(config, federation, "train", Choice("fedavg", None), config.train, shadow)
    return _model(config, federation, spec, config.train.rounds, None, {})


def _retrain(config: RunConfig, federation: Federation, number: int) -> ModelStage:
    """The retrained model w_r number 0, 1, …: a fresh start on D_r, for all rounds of training and unlearning."""
    spec = _spec(config, federation, f"retrain_{number}", Choice("retrain", None), config.train)
    return _model(config, federation, spec, config.train.rounds + config.unlearn.rounds, None, _request(federation))


def _unlearn(config: RunConfig, federation: Federation, original: ModelStage, shadow: int | None = None) -> ModelStage:
    """The unlearned model w_u of the chosen method."""
    method: Method = registry.find("method", config.method.name)
    rounds, budget = method.rounds(config.train.rounds, config.unlearn.rounds), config.unlearning_budget()
    training = replace(budget, rounds=rounds) if rounds else budget  # clients who train hear of a round at least
    spec = _spec(config, federation, "unlearn", config.method, training, shadow)
    start = original if method.start == "original" else None
    unlearned = _model(config, federation, spec, rounds, start, _request(federation))
    return _after(unlearned, _history(original, method.history)) if method.history else unlearned


def _shadow(config: RunConfig, federation: Federation, number: int) -> ShadowStages:
    """As the run's own stages, with random streams of its own. Its original does not depend on the method."""
    original = _train(config, federation, number)
    return ShadowStages(number, original, _unlearn(config, federation, original, number))


def _is_defined(audit: Choice, federation: Federation) -> bool:
    """Audits that the task does not define are left out, since the default set is the same for all of them."""
    return defined(registry.find("audit", audit.name).tasks, federation.task.name)


def _shadows_of(audit: Choice) -> int:
    """How many shadow models an audit needs."""
    return int(registry.find("audit", audit.name).shadows(audit.settings))


def _history(original: ModelStage, server: MakeStrategy) -> ModelStage:
    """The original training once more, for what `server` remembers of it."""
    watched = {"server": fingerprint((), server), "forget_clients": plain(original.spec.forget_clients)}
    stage = Stage("history", _title("history", original.spec.shadow), {**original.stage.determinants, **watched})
    return replace(original, stage=stage, server=server)


def _after(model: ModelStage, history: ModelStage) -> ModelStage:
    """The same stage, with the history that it starts with."""
    determinants = {**model.stage.determinants, "history": history.stage.key}
    return replace(model, stage=replace(model.stage, determinants=determinants), history=history)


def _spec(
    config: RunConfig,
    federation: Federation,
    stage: str,
    method: Choice,
    training: TrainConfig,
    shadow: int | None = None,
) -> StageSpec:
    return StageSpec(
        stage=stage,
        seed=federation.of_shadow(shadow).seed,
        method=method.name,
        training=training,
        classes=federation.dataset.classes,
        level=federation.request.level,
        forget_classes=federation.request.classes,
        forget_clients=tuple(sorted(config.request.clients)),
        settings=plain(method.settings) if method.settings is not None else {},
        shadow=shadow,
    )


def _title(stage: str, shadow: int | None) -> str:
    return stage if shadow is None else f"shadow_{shadow}_{stage}"


def _request(federation: Federation) -> Determinants:
    return {"classes": plain(federation.request.classes), "samples": _digest(federation.request.forget)}


def _held_out(federation: Federation, shadow: int | None) -> Determinants:
    return {} if shadow is None else {"held_out": _digest(held_out(federation.request, federation.seed, shadow))}


def _digest(mask: np.ndarray) -> str:
    return hashlib.sha256(np.packbits(mask).tobytes()).hexdigest()


def _model(
    config: RunConfig,
    federation: Federation,
    spec: StageSpec,
    rounds: int,
    start: ModelStage | None,
    request: Determinants,
) -> ModelStage:
    method: Method = registry.find("method", spec.method)
    determinants = {
        "data": {
            "fingerprint": federation.dataset.fingerprint,
            "partition": plain(config.partition),
            **_held_out(federation, spec.shadow),
        },
        "model": plain(config.model),
        "device": federation.device.type,
        "engine": engine_traits(config.engine),
        "seed": spec.seed,
        "stage": spec.stage,
        "method": {"name": spec.method, **spec.settings},
        "training": {**plain(spec.training), "rounds": rounds},
        "request": request,
        "start": start.stage.key if start else "fresh",
        "code": fingerprint(TRAINING_CODE, method.objective),
    }
    kind = spec.stage.split("_")[0]
    return ModelStage(Stage(kind, _title(spec.stage, spec.shadow), determinants), spec, rounds, start)


def _audit(
    config: RunConfig,
    federation: Federation,
    models: dict[str, ModelStage],
    shadows: tuple[ShadowStages, ...],
    subject: str,
    audit: Choice,
) -> AuditStage:
    retrained = tuple(name for name in models if name.startswith("retrained_"))
    needed = shadows[: _shadows_of(audit)]
    seen = [[shadow.original.stage.key, shadow.unlearned.stage.key] for shadow in needed]
    determinants = {
        "audit": plain(audit),
        "subject": models[subject].stage.key,
        "original": models["original"].stage.key,
        "retrained": [models[name].stage.key for name in retrained],
        "request": _request(federation),
        "seed": config.seed,
        "code": fingerprint(AUDIT_CODE, registry.find("audit", audit.name).measure),
        **({"shadows": seen} if seen else {}),
    }
    return AuditStage(Stage("audit", f"{audit.name} of {subject}", determinants), audit, subject, retrained, needed)
