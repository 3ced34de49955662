"""The schema of conf/: everything a run depends on, checked before anything runs.

`RunConfig` holds what Hydra composed, as frozen dataclasses. Groups whose members bring settings of their own
(dataset, model, partition, method, engine, audit) are checked against the settings class of the member that was chosen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from omegaconf import DictConfig, OmegaConf

from fedunlearn.errors import RequestError
from fedunlearn.settings import registry
from fedunlearn.settings.schema import AtLeast, Below, Count, NonNegative, Positive, Seed, Share, Whole, parse, plain


@dataclass(frozen=True)
class Choice:
    """A named member of a group and its settings, an instance of the member's own frozen dataclass."""

    name: str
    settings: Any


@dataclass(frozen=True)
class DataConfig:
    """Where the images are."""

    root: str | None = None  # folder that holds the datasets; null: ./data
    download: bool = False  # fetch the dataset into data.root if it is not there
    limit: Count | None = None  # about this many training images, the same share of every class


@dataclass(frozen=True)
class TrainConfig:
    """Federated training of the original model (FedAvg, McMahan et al. 2017)."""

    rounds: Count = 30
    local_epochs: Count = 1
    batch_size: Count = 20
    optimiser: Literal["sgd", "adamw"] = "sgd"  # of clients, anew in every round
    lr: Positive = 0.03
    momentum: Annotated[float, AtLeast(0), Below(1)] = 0.9  # of SGD; β1 of AdamW
    weight_decay: NonNegative = 5e-4
    participation: Share = 1.0  # share of the clients asked in a round, at least one of them
    evaluate_every: Whole = 1  # rounds from one test of the global model to the next; 0: only after the last


@dataclass(frozen=True)
class RetrainConfig:
    """The reference: training from a fresh start on the retain data, for train.rounds + unlearn.rounds rounds."""

    seeds: Count = 2  # retrained models; their spread is the noise floor


@dataclass(frozen=True)
class UnlearnConfig:
    """Budget of the unlearning method; null takes the value of `train`."""

    rounds: Whole = 10
    local_epochs: Count | None = None
    batch_size: Count | None = None
    optimiser: Literal["sgd", "adamw"] | None = None
    lr: Positive | None = None
    momentum: Annotated[float, AtLeast(0), Below(1)] | None = None
    weight_decay: NonNegative | None = None
    participation: Share | None = None
    # a format such as int4: a weight moves only if it leaves its bin there, in deploy.group_size (docs/deploy.md)
    min_step: str | None = None


@dataclass(frozen=True)
class Backdoor:
    """What forgotten clients planted (see `data.backdoor`)."""

    target: Whole = 0  # the label that marked images are given
    size: Count = 3  # side of the white square in the lower right corner, in pixels
    share: Share = 0.8  # share of the forgotten clients' samples that are marked, drawn by seed (see docs/audits.md)


@dataclass(frozen=True)
class RequestConfig:
    """What to forget. Exactly one of the three is not empty."""

    classes: tuple[Whole | str, ...] = ()  # every sample of these classes, by number or by name
    clients: tuple[Whole, ...] = ()  # every sample of these clients (then set classes to [])
    # client number -> how many of its samples, drawn by seed, as in {0: 20} (then set classes to [])
    samples: dict[str, Count] | None = None
    # with clients: {target: 0, size: 3, share: 0.8} plants a mark in what they hold (docs/audits.md)
    backdoor: Backdoor | None = None

    def __post_init__(self) -> None:
        numbers = (int(name) if re.fullmatch("0|[1-9][0-9]*", str(name)) else name for name in self.classes)
        object.__setattr__(self, "classes", tuple(numbers))  # "3" is class 3, also where a class is called so

    @property
    def level(self) -> str:
        """`class`, `client` or `sample`: the first of the three that is not empty."""
        return "class" if self.classes else "client" if self.clients else "sample"


FLOAT32 = "float32"


@dataclass(frozen=True)
class DeployConfig:
    """Formats that models are rounded to when they ship (docs/deploy.md); all audits are made in each of them."""

    formats: tuple[str, ...] = ()  # such as [int8,int4,int3,nf4]; float32 is always there
    backend: Literal["reference", "torchao"] = "reference"  # who rounds: our definition, or torchao as a second opinion
    group_size: Count | None = None  # weights of an output channel that share a scale; null: all (nf4: blocks of 64)

    def __post_init__(self) -> None:
        others = dict.fromkeys(name for name in self.formats if name != FLOAT32)
        object.__setattr__(self, "formats", tuple(others))


@dataclass(frozen=True)
class StoreConfig:
    """Where finished stages are kept and shared between runs."""

    dir: str = "outputs/store"  # finished stages, shared by all runs that use the same folder
    enabled: bool = True  # false: compute every stage anew in a temporary store, share and keep nothing


@dataclass(frozen=True)
class OutputConfig:
    """Where the results of this run (or sweep) go."""

    dir: str = "outputs/run"  # of this run, or of the whole sweep
    overwrite: bool = False  # true: replace the finished run of another configuration (or other runs) in that folder
    models: bool = False  # true: keep the run's models there, too, as models/NAME.safetensors


@dataclass(frozen=True)
class ReportConfig:
    """What is drawn, and how figures look."""

    figures: bool = True  # false: draw no figures, which take seconds a run; fedunlearn-report DIR --figures does later
    titles: bool = True  # false: no titles above figures, for papers that have captions of their own


@dataclass(frozen=True)
class SweepConfig:
    """What a command should do with its jobs. No part of any run's own configuration."""

    # true: show the jobs, what the store holds of them and how long the rest may take; run nothing
    dry_run: bool = False
    # finding -> weight, as in {forget_accuracy: 1, leak: 2}: what a sweeper such as optuna is to make small
    objective: dict[str, float] | None = None


@dataclass(frozen=True)
class RunConfig:
    """One run: the original model, the retrained models and one method, repaired if asked for, and audited."""

    dataset: Choice
    model: Choice
    partition: Choice
    method: Choice
    engine: Choice
    audit: tuple[Choice, ...]
    seed: Seed = 0  # all randomness is derived from it
    device: str = "auto"  # auto, cpu, cuda or cuda:N
    gates: Literal["stop", "warn"] = "stop"  # for an original model that has not learnt enough to be judged by
    data: DataConfig = field(default_factory=DataConfig)
    request: RequestConfig = field(default_factory=RequestConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    retrain: RetrainConfig = field(default_factory=RetrainConfig)
    unlearn: UnlearnConfig = field(default_factory=UnlearnConfig)
    deploy: DeployConfig = field(default_factory=DeployConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    output: OutputConfig = field(default_factory=OutputConfig)
    report: ReportConfig = field(default_factory=ReportConfig)
    augment: Choice = Choice("none", None)
    adapter: Choice = Choice("none", None)
    select: Choice = Choice("all", None)
    repair: Choice = Choice("none", None)
    tracking: Choice = Choice("none", None)
    sweep: SweepConfig = field(default_factory=SweepConfig)

    def as_dict(self) -> dict[str, Any]:
        """The configuration as plain data, in the layout of conf/."""
        sections = plain({name: getattr(self, name) for name in PLAIN_SECTIONS})
        chosen = {kind: _open(getattr(self, kind)) for kind in CHOSEN_SECTIONS}
        return {**sections, **chosen, "audit": {audit.name: plain(audit.settings) for audit in self.audit}}

    def in_folder(self, folder: Path) -> RunConfig:
        """The same run with its results in `folder` (a sweep gives every run its own)."""
        return replace(self, output=replace(self.output, dir=str(folder)))

    def unlearning_budget(self) -> TrainConfig:
        """`unlearn` with its nulls filled from `train`; `rounds` is at least 1 only where a method trains."""
        own = {key: value for key, value in plain(self.unlearn).items() if key not in ("rounds", "min_step")}
        given = {key: value for key, value in own.items() if value is not None}
        return TrainConfig(**{**plain(self.train), **given, "rounds": self.unlearn.rounds})


CHOSEN_SECTIONS = {
    "dataset": "dataset",
    "model": "model",
    "partition": "partitioner",
    "method": "method",
    "augment": "augmentation",
    "adapter": "adapter",
    "select": "selector",
    "repair": "repair",
    "engine": "engine",
    "tracking": "tracker",
}
PLAIN_SECTIONS = (
    *("seed", "device", "gates", "data", "request", "train", "retrain", "unlearn"),
    *("deploy", "store", "output", "report"),
)
# (section, key), or the whole section.
WITHOUT_EFFECT = (
    ("gates", None),
    ("data", "root"),
    ("data", "download"),
    ("engine", "workers"),
    ("engine", "backend"),
    ("store", None),
    ("output", None),
    ("report", None),
    ("tracking", None),
)


def essence(config: Mapping[str, Any]) -> dict[str, Any]:
    """A run's `as_dict` without what cannot change its results: where things are, how many work, who watches."""
    kept = {name: dict(part) if isinstance(part, Mapping) else part for name, part in config.items()}
    for section, key in WITHOUT_EFFECT:
        if key is None:
            kept.pop(section, None)
        elif isinstance(part := kept.get(section), dict):
            part.pop(key, None)
    return kept


def load(mapping: Mapping[str, Any]) -> RunConfig:
    """Check a composed configuration and freeze it. Raises RequestError."""
    left = {
        "engine": "local",
        "augment": "none",
        "select": "all",
        "adapter": "none",
        "repair": "none",
        "tracking": "none",
    }
    given = {**{group: {"name": name} for group, name in left.items()}, **mapping}
    chosen = {key: _choose(kind, key, given.pop(key, None)) for key, kind in CHOSEN_SECTIONS.items()}
    audits = given.pop("audit", None) or {}
    if not isinstance(audits, Mapping):
        raise RequestError(f"audit takes a group of audits with their settings, not {audits!r}")
    measured = tuple(
        _choose("audit", f"audit.{name}", {"name": name, **_settings(f"audit.{name}", settings)})
        for name, settings in audits.items()
        if settings is not None
    )
    config = parse(RunConfig, {**given, **chosen, "audit": measured})
    for name in filter(None, (*config.deploy.formats, config.unlearn.min_step)):
        registry.find("format", name)  # raises where there is none
    return config


def from_omegaconf(composed: DictConfig) -> RunConfig:
    """What Hydra composed, as a checked RunConfig. Raises RequestError."""
    mapping = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    assert isinstance(mapping, dict)
    return load({str(key): value for key, value in mapping.items()})


def _settings(where: str, given: object) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        off = " (or null to switch it off)" if where.startswith("audit.") else ""
        raise RequestError(f"{where} takes a group of settings{off}, not {given!r}")
    return {str(key): value for key, value in given.items()}


def _choose(kind: str, where: str, given: object) -> Choice:
    settings = _settings(where, given)
    name = settings.pop("name", None)
    if not isinstance(name, str):
        raise RequestError(f"{where}.name must be the name of a {kind}, not {name!r}")
    member = registry.find(kind, name)
    return Choice(name, parse(member.settings, settings, where))


def _open(chosen: Choice) -> dict[str, Any]:
    return {"name": chosen.name, **(plain(chosen.settings) or {})}
