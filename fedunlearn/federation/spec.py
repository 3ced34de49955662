"""What server and clients of one stage must agree on; travels as JSON in every message."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from fedunlearn.deploy.base import Floor
from fedunlearn.models.lora import Lora
from fedunlearn.settings.config import TrainConfig
from fedunlearn.settings.schema import Whole, parse, plain


@dataclass(frozen=True)
class Plugin:
    """What a stage uses of a kind of plug-in: its name, and its settings as plain data."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, order=True)
class Variant:
    """A further federation, made of the run's own for an audit. All that is drawn by chance is drawn otherwise.

    `kind`: clients of a `shadow` lack some of the forget samples, those of a `replica` hold what the run's own hold;
    `number`: which of its kind.
    """

    kind: Literal["shadow", "replica"]
    number: Whole

    def __str__(self) -> str:
        return f"{self.kind}_{self.number}"


@dataclass(frozen=True)
class StageSpec:
    """One stage of a run: original training, one retraining, unlearning, or the repair of a model.

    `stage` names the random streams; `method` and `settings` say which objective the clients follow, and `kind` among
    which members the registry finds it: those that repair work on a federation without any forget sample;
    `forget_classes` is empty below class level, `forget_clients` at every level but theirs; `level` is the request's;
    `variant`: the variant of the federation that the stage is about (None: the run's own). `adapter`: how clients train
    factors in place of weights (None: they do not). `augment`: what is done to the images that clients train on (None:
    nothing). `select`: by which selector they choose the retain samples that they replay (None: they replay all).
    `floor`: the bins that a weight must leave to move at all (None: it moves freely).
    """

    stage: str
    seed: int
    method: str
    training: TrainConfig
    classes: int
    level: str = "class"
    forget_classes: tuple[int, ...] = ()
    forget_clients: tuple[int, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    variant: Variant | None = None
    kind: Literal["method", "repair"] = "method"
    adapter: Lora | None = None
    augment: Plugin | None = None
    select: Plugin | None = None
    floor: Floor | None = None

    @property
    def retain_classes(self) -> tuple[int, ...]:
        """The classes that stay, sorted."""
        return tuple(c for c in range(self.classes) if c not in self.forget_classes)

    def to_json(self) -> str:
        """A canonical text of the spec."""
        return json.dumps(plain(self), sort_keys=True)

    @staticmethod
    @lru_cache(maxsize=64)
    def from_json(text: str) -> StageSpec:
        """The inverse of `to_json`; the same text gives the same object, since every client of a round asks."""
        return parse(StageSpec, json.loads(text), "spec")
