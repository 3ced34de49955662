"""What a run is made of, known before anything is computed: its steps, and exactly what each result depends on.

A step's key follows from its determinants, and the keys of the steps that it builds on are among these. So what a run
needs can be looked up in a store without computing any of it.

Every model has a *role* in the story of a run (`STORY`). What comes later in the story is one more role with a function
that makes its steps from those before; audits are then made of its models too, and nothing that is here changes.
The same story can be told of a *variant* of the federation (see `Variant`): its models are what audits call shadow
models, and replicas.

What happens to models before they ship gives them another *form* (`FORMS`). It happens to all models of the story
alike, and a model is audited next to original and retrained models of its own form, so that what a form costs every
model is never taken for forgetting.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from fedunlearn.audits.base import Audit
from fedunlearn.deploy.base import Floor
from fedunlearn.engines.base import traits as engine_traits
from fedunlearn.federation import selection
from fedunlearn.federation.federation import Federation
from fedunlearn.federation.method import MakeStrategy, Method
from fedunlearn.federation.repair import Repair
from fedunlearn.federation.spec import Plugin, StageSpec, Variant
from fedunlearn.models.given import fitting
from fedunlearn.models.lora import Lora
from fedunlearn.runs import running
from fedunlearn.runs.running import AUDITING, CONVERTING, SELECTING, TRAINING, Code, Members
from fedunlearn.settings import registry
from fedunlearn.settings.config import FLOAT32, Choice, DeployConfig, RunConfig, TrainConfig
from fedunlearn.settings.schema import plain
from fedunlearn.store import key_of
from fedunlearn.tasks.base import defined

ORIGINAL, RETRAINED, UNLEARNED = "original", "retrained", "unlearned"
HISTORY, AUDIT, GIVEN, DEPLOY, REPAIR = "history", "audit", "given", "deploy", "repair"
Determinants = dict[str, Any]
Keys = Mapping[str, str]


@dataclass(frozen=True)
class Form:
    """What models have gone through after the story: a repair, or none, and then how their weights are kept."""

    format: str = FLOAT32
    repaired: bool = False

    def __str__(self) -> str:
        """`repaired.int4`; empty for models as the story leaves them."""
        said = {"repaired": self.repaired, self.format: self.format != FLOAT32}
        return ".".join(name for name, there in said.items() if there)


BARE, REPAIRED = Form(), Form(repaired=True)


@dataclass(frozen=True)
class Training:
    """`rounds` rounds of `spec`, from the model of the input `start` or from a fresh one.

    `server`: in place of the one of the spec's method. The server's memory starts as that of the input `history`.
    """

    spec: StageSpec
    rounds: int
    server: MakeStrategy | None = None


@dataclass(frozen=True)
class Converting:
    """The model of the input `source` in a format."""

    format: str
    deploy: DeployConfig


@dataclass(frozen=True)
class Measuring:
    """One audit of the input `subject`, next to the inputs `original` and `retrained`.

    `shadow.original`, `replica.unlearned` and so on are the models of the variants that it needs.
    """

    audit: Choice


@dataclass(frozen=True)
class Given:
    """A model that was made elsewhere: its tensors by name, on the CPU."""

    tensors: Mapping[str, Tensor] = field(repr=False)


@dataclass(frozen=True, eq=False)
class Step:
    """One result of a run: what it is, how it is computed, and what it depends on.

    `role`: which part it has in the run's story; `number`: which of its role, if there are several; `variant`: which
    variant of the federation it is about (None: the whole one); `form`: what the model has gone through after the
    story. `kind`: its folder in the store; `name`: for people. `own`: what determines it besides its inputs and its
    code. `inputs`: the steps that it builds on, by what they are to it.
    """

    role: str
    kind: str
    name: str
    work: Training | Converting | Measuring | Given
    code: Code
    own: Determinants
    inputs: Mapping[str, tuple[Step, ...]] = field(default_factory=dict)
    number: int | None = None
    variant: Variant | None = None
    form: Form = BARE

    @property
    def label(self) -> str:
        """`unlearned`; `retrained_1` where there are several of its role; `retrained_1.int4` in another form."""
        which = self.role if self.number is None else f"{self.role}_{self.number}"
        return ".".join(filter(None, (which, str(self.form))))

    @cached_property
    def key(self) -> str:
        """What the result is called in the store, if all that it builds on is kept under the keys foreseen."""
        return key_of(self.kind, self.determinants())

    def determinants(self, kept: Keys | None = None) -> Determinants:
        """Everything that the result depends on. `kept`: where inputs are really kept, by the key foreseen."""
        there = kept or {}
        inputs = {name: [there.get(step.key, step.key) for step in steps] for name, steps in self.inputs.items()}
        return {**self.own, **self.code.determinants, "inputs": inputs}


@dataclass(frozen=True)
class RunSteps:
    """All steps of a run. `models`: those that are audited, in the order of the story, form by form."""

    models: tuple[Step, ...]
    audits: tuple[Step, ...]

    def of(self, role: str, form: Form = BARE) -> tuple[Step, ...]:
        """The models of that role in that form."""
        return tuple(step for step in self.models if (step.role, step.form) == (role, form))

    @property
    def variants(self) -> tuple[Step, ...]:
        """The models that audits need besides those of the run itself, each once, those of a variant together."""
        needed = [step for audit in self.audits for steps in audit.inputs.values() for step in steps]
        apart = {step.key: (step.variant, step) for step in needed if step.variant is not None}
        return tuple(step for _, step in sorted(apart.values(), key=itemgetter(0)))

    @property
    def kept(self) -> Iterator[Step]:
        """Those whose results are in a store, or will be."""
        return (step for step in self if not isinstance(step.work, Given))

    def __iter__(self) -> Iterator[Step]:
        """Every step once, after those that it builds on; audits last."""
        seen: dict[str, Step] = {}
        for step in (*self.models, *self.variants, *self.audits):
            _visit(step, seen)
        return iter(seen.values())

    def signature(self, kept: Keys | None = None) -> str:
        """What a finished run is recognised by: the keys of all its steps, and the code that sums them up."""
        there = kept or {}
        keys = sorted(there.get(step.key, step.key) for step in self)
        return key_of("run", {"steps": keys, **running.summing_up().determinants})


@dataclass(frozen=True)
class Setting:
    """What steps are made of. `variant`: the variant of the federation that they are about."""

    config: RunConfig
    federation: Federation
    variant: Variant | None = None

    def spec(self, stage: str, method: Choice, training: TrainConfig) -> StageSpec:
        """What clients are told about a stage that has nothing to do with the request."""
        return StageSpec(
            stage=stage,
            seed=self.federation.of_variant(self.variant).seed,
            method=method.name,
            training=replace(training, evaluate_every=1),  # the model is the same, however often it is tested
            classes=self.federation.dataset.classes,
            settings=plain(method.settings) if method.settings is not None else {},
            variant=self.variant,
            augment=self._augment(),
        )

    def _augment(self) -> Plugin | None:
        """What every stage of the run that trains does to its images."""
        chosen = self.config.augment
        return None if chosen.name == "none" else Plugin(chosen.name, plain(chosen.settings))

    def with_request(self, spec: StageSpec) -> StageSpec:
        """The same, and what is to be forgotten."""
        request, clients = self.federation.request, tuple(sorted(self.config.request.clients))
        return replace(spec, level=request.level, forget_classes=request.classes, forget_clients=clients)


Maker = Callable[[Setting, RunSteps], Iterable[Step]]
Change = Callable[[Step], Step]


def of_run(config: RunConfig, federation: Federation) -> RunSteps:
    """The steps of a run, in the order in which they are needed."""
    setting = Setting(config, federation)
    return _audited(setting, _told(setting, STORY))


def of_model(config: RunConfig, federation: Federation, tensors: Mapping[str, Tensor]) -> RunSteps:
    """The steps of a run in which a model that was made elsewhere, with these tensors, stands for the unlearned one."""
    setting = Setting(config, federation)
    told = _told(setting, (ORIGINAL, RETRAINED))
    return _audited(setting, replace(told, models=(*told.models, _given(setting, tensors))))


def given_tensors(config: RunConfig, federation: Federation) -> dict[str, Tensor] | None:
    """The model that the method is, or None of a method that makes one. Raises RequestError where it is unfit."""
    method = registry.find(Method, config.method.name)
    return checked(method.given(config.method.settings), config, federation) if method.given else None


def checked(given: Mapping[str, Tensor], config: RunConfig, federation: Federation) -> dict[str, Tensor]:
    """Tensors from elsewhere as the configured architecture has them. Raises RequestError where it has others."""
    what = f"model={config.model.name} for dataset={config.dataset.name}"
    return fitting(given, federation.models.fresh(0).state_dict(), what)


def signature(config: RunConfig, federation: Federation) -> str:
    """What a finished run of `config` on these data is recognised by (see `RunSteps.signature`)."""
    return of_run(config, federation).signature()


def _audited(setting: Setting, story: RunSteps) -> RunSteps:
    """The models of the story in all their forms, and their audits."""
    shipped = _in_forms(setting, story)
    return replace(shipped, audits=tuple(_audits(setting, shipped)))


def _told(setting: Setting, roles: Iterable[str]) -> RunSteps:
    """The models of these roles."""
    so_far = RunSteps((), ())
    for role in roles:
        so_far = replace(so_far, models=(*so_far.models, *STORY[role](setting, so_far)))
    return so_far


def _original(setting: Setting, before: RunSteps) -> Iterator[Step]:
    """The original model w_o, on all data. Depends on neither the request nor the method."""
    training = setting.config.train
    work = Training(setting.spec("train", Choice("fedavg", None), training), training.rounds)
    yield _trained(setting, ORIGINAL, "train", work)


def _retrained(setting: Setting, before: RunSteps) -> Iterator[Step]:
    """The retrained models w_r: a fresh start on D_r, for all rounds of training and unlearning."""
    config = setting.config
    rounds = config.train.rounds + config.unlearn.rounds
    for number in range(config.retrain.seeds):
        spec = setting.with_request(setting.spec(f"retrain_{number}", Choice("retrain", None), config.train))
        retrained = _trained(setting, RETRAINED, "retrain", Training(spec, rounds), {"request": _request(setting)})
        yield replace(retrained, number=number)


def _unlearned(setting: Setting, before: RunSteps) -> Iterator[Step]:
    """The unlearned model w_u of the chosen method."""
    config, (original,) = setting.config, before.of(ORIGINAL)
    method: Method = registry.find("method", config.method.name)
    if (tensors := given_tensors(config, setting.federation)) is not None:
        yield _given(setting, tensors)
        return
    rounds, budget = method.rounds(config), config.unlearning_budget()
    training = replace(budget, rounds=rounds) if rounds else budget  # clients who train hear of a round at least
    spec = unlearning_spec(setting, training)
    inputs = {"start": (original,)} if method.start == ORIGINAL else {}
    if method.history:
        inputs["history"] = (_history(setting, original, method.history),)
    unlearned = _trained(setting, UNLEARNED, "unlearn", Training(spec, rounds), {"request": _request(setting)})
    yield replace(unlearned, inputs=inputs)


def _given(setting: Setting, tensors: Mapping[str, Tensor]) -> Step:
    """A model that was made elsewhere: what it depends on is what it is."""
    content = _digest(*(tensors[name].numpy() for name in sorted(tensors)))
    own = {"model": plain(setting.config.model), "tensors": content, "names": sorted(tensors)}
    return Step(UNLEARNED, GIVEN, GIVEN, Given(tensors), Code({}), own)


def unlearning_spec(setting: Setting, training: TrainConfig) -> StageSpec:
    """What clients are told when a model is to be unlearned."""
    adapter = setting.config.adapter.settings
    told = setting.with_request(setting.spec("unlearn", setting.config.method, training))
    floor = Floor(least, setting.config.deploy.group_size) if (least := setting.config.unlearn.min_step) else None
    chosen = selection.of_method(setting.config)
    return replace(told, adapter=adapter if isinstance(adapter, Lora) else None, floor=floor, select=chosen)


STORY: Mapping[str, Maker] = {ORIGINAL: _original, RETRAINED: _retrained, UNLEARNED: _unlearned}
OF_A_VARIANT = (ORIGINAL, UNLEARNED)  # the roles that audits compare across variants


def _in_forms(setting: Setting, story: RunSteps) -> RunSteps:
    """The models of a story as they are, then in every other form."""
    models = story.models
    for forms in FORMS:
        models = (*models, *(change(step) for change in forms(setting) for step in models))
    return replace(story, models=models)


def _repairs(setting: Setting) -> Iterator[Change]:
    """The repair, if the run asks for one."""
    if setting.config.repair.name != "none":
        yield partial(_repaired, setting)


def _repaired(setting: Setting, source: Step) -> Step:
    """A model after the repair, which is a stage of its own on what is left to retain."""
    chosen = setting.config.repair
    repair = registry.find(Repair, chosen.name)
    rounds, training = repair.rounds(chosen.settings), repair.pace(chosen.settings, setting.config.train)
    stage = f"{REPAIR}_{source.label}"  # with batches in an order of its own, as if every model were repaired alone
    told = setting.with_request(setting.spec(stage, chosen, replace(training, rounds=max(1, rounds))))
    work = Training(replace(told, kind="repair", select=selection.of_repair(setting.config)), rounds)
    mended = _trained(setting, source.role, REPAIR, work, {"request": _request(setting)})
    form = replace(source.form, repaired=True)
    return replace(mended, inputs={"start": (source,)}, number=source.number, form=form)


def _formats(setting: Setting) -> Iterator[Change]:
    """Every format that the run asks for."""
    for name in setting.config.deploy.formats:
        yield partial(_converted, setting, name)


def _converted(setting: Setting, name: str, source: Step) -> Step:
    """A model in a format."""
    deploy = setting.config.deploy
    how = {"backend": deploy.backend, "group_size": deploy.group_size}
    return replace(
        source,
        kind=DEPLOY,
        name=f"{source.name}.{name}",
        work=Converting(name, deploy),
        code=running.behind((("format", name), *_members(setting)), CONVERTING[deploy.backend]),
        own={"format": name, **how, "model": plain(setting.config.model)},
        inputs={"source": (source,)},
        form=replace(source.form, format=name),
    )


# What a form is made by, from a model of any form before it. Each is applied to all that those before it left.
FORMS: tuple[Callable[[Setting], Iterable[Change]], ...] = (_repairs, _formats)


def _history(setting: Setting, original: Step, server: MakeStrategy) -> Step:
    """The original training once more, for what `server`, that of the run's method, remembers of it.

    It is told which clients are to be forgotten, so that it need not remember all; no more, so that requests share it.
    """
    assert isinstance(original.work, Training)
    spec, method = original.work.spec, setting.config.method.name
    told = replace(spec, forget_clients=tuple(sorted(setting.config.request.clients)))
    work = replace(original.work, spec=told, server=server)
    again = _trained(setting, HISTORY, HISTORY, work, {"server": method})
    members = _members(setting, _augmentation(setting), ("method", spec.method), ("method", method))
    return replace(again, name=_title(HISTORY, setting.variant), code=running.behind(members, TRAINING))


def _audits(setting: Setting, story: RunSteps) -> Iterator[Step]:
    """Every audit of every model, but for those that the task does not define: the default set is the same for all."""
    task = setting.federation.task.name
    chosen = [each for each in setting.config.audit if defined(registry.find("audit", each.name).tasks, task)]
    wanted = {each.name: _variants_of(each) for each in chosen}
    told = {each: _in_variant(setting, each) for each in sorted({each for some in wanted.values() for each in some})}
    for subject in story.models:
        for choice in chosen if subject.form == BARE else filter(_measures, chosen):
            yield _audit(setting, story, subject, choice, {each: told[each] for each in wanted[choice.name]})


def _in_variant(setting: Setting, variant: Variant) -> RunSteps:
    """The models of a variant in all their forms."""
    setting = replace(setting, variant=variant)
    return _in_forms(setting, _told(setting, OF_A_VARIANT))


def _audit(
    setting: Setting, story: RunSteps, subject: Step, choice: Choice, variants: Mapping[Variant, RunSteps]
) -> Step:
    form = subject.form
    inputs = {"subject": (subject,), **{role: story.of(role, form) for role in (ORIGINAL, RETRAINED)}}
    for variant, models in variants.items():
        for role in OF_A_VARIANT:
            name = f"{variant.kind}.{role}"
            inputs[name] = (*inputs.get(name, ()), *models.of(role, form))
    return Step(
        AUDIT,
        "audit",
        f"{choice.name} of {subject.label}",
        Measuring(choice),
        running.behind(
            (("audit", choice.name), *_members(setting)),
            (*AUDITING, *setting.federation.task.libraries, *_libraries(choice)),
        ),
        {"audit": plain(choice), "seed": setting.config.seed, "request": _request(setting)},
        inputs,
    )


def _measures(choice: Choice) -> bool:
    """Does the audit find more than what pictures are drawn from? Models are pictured in float32 alone."""
    declared = registry.find("audit", choice.name).declared(choice.settings)
    return any(finding.kind != "figure" for finding in declared)


def _libraries(choice: Choice) -> tuple[str, ...]:
    """What an audit needs beyond what all of them do."""
    return tuple(registry.find("audit", choice.name).libraries(choice.settings))


def _variants_of(choice: Choice) -> list[Variant]:
    """The variants of the federation that an audit needs models of."""
    wanted = registry.find(Audit, choice.name).variants(choice.settings)
    return [Variant(kind, number) for kind, count in wanted.items() for number in range(count)]


def _trained(setting: Setting, role: str, kind: str, work: Training, more: Determinants | None = None) -> Step:
    """A step that trains. All that its clients are told is among its determinants."""
    config, spec = setting.config, work.spec
    own = {
        "data": {"fingerprint": setting.federation.dataset.fingerprint, "clients": _clients(setting, spec)},
        "model": _model(config.model),
        "device": setting.federation.device.type,
        "engine": engine_traits(config.engine),
        "spec": plain(spec),
        "rounds": work.rounds,
        **(more or {}),
    }
    members = _members(setting, _augmentation(setting), (spec.kind, spec.method), *_of_stage(spec))
    code = running.behind(members, (*TRAINING, *setting.federation.task.libraries, *(SELECTING if spec.select else ())))
    title = _title(spec.stage, setting.variant)
    return Step(role, kind, title, work, code, own, variant=setting.variant)


def _model(choice: Choice) -> Determinants:
    """An architecture with its settings, and what is in the files that its initial weights are read from."""
    files = registry.find("model", choice.name).files(choice.settings)
    return {
        **plain(choice),
        **({"files": [_content(path, path.stat().st_mtime_ns) for path in files]} if files else {}),
    }


@lru_cache(maxsize=64)
def _content(path: Path, changed: int) -> str:
    """The hash of a file that was last changed then."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _members(setting: Setting, *more: tuple[str, str]) -> Members:
    """What plugs in and takes part in any step, and these as well."""
    config = setting.config
    kinds = {"dataset": config.dataset, "partitioner": config.partition, "model": config.model, "engine": config.engine}
    chosen = {**{kind: choice.name for kind, choice in kinds.items()}, "task": setting.federation.task.name}
    return (*chosen.items(), *more)


def _augmentation(setting: Setting) -> tuple[str, str]:
    return "augmentation", setting.config.augment.name


def _of_stage(spec: StageSpec) -> Members:
    """What takes part in a stage only if it is asked for."""
    floor = (("format", spec.floor.format),) if spec.floor else ()
    return (*floor, ("selector", spec.select.name)) if spec.select else floor


def _title(stage: str, variant: Variant | None) -> str:
    return stage if variant is None else f"{variant}_{stage}"


def _request(setting: Setting) -> Determinants:
    request = setting.federation.request
    return {"level": request.level, "classes": plain(request.classes), "samples": _digest(np.packbits(request.forget))}


def _clients(setting: Setting, spec: StageSpec) -> Determinants:
    """Which samples every client has in a stage."""
    held = setting.federation.of_stage(spec).parts
    return {"partition": plain(setting.config.partition), "samples": _digest(*held)}


def _digest(*arrays: np.ndarray) -> str:
    told = hashlib.sha256()
    for array in arrays:
        told.update(f"{array.dtype.str} {array.shape} ".encode() + array.tobytes())
    return told.hexdigest()


def _visit(step: Step, seen: dict[str, Step]) -> None:
    if step.key not in seen:
        for steps in step.inputs.values():
            for other in steps:
                _visit(other, seen)
        seen[step.key] = step
