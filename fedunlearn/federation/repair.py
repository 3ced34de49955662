"""What a repair is: it mends a model after unlearning, by queries to clients, by rounds of training, or both.

A repair is a stage like any other, with a server and clients. They work on what is left of the federation: no client
holds a forget sample any more (`Federation.of_stage`), so that no repair can read one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from fedunlearn.federation.method import MakeStrategy, Query
from fedunlearn.federation.objective import Objective, everything
from fedunlearn.federation.spec import StageSpec
from fedunlearn.federation.strategy import UnlearningStrategy
from fedunlearn.settings.config import TrainConfig
from fedunlearn.tasks.base import CLASSIFICATION


def train_on_all(settings: Any, spec: StageSpec) -> Objective:
    """The task's own loss on every sample, which are retain samples."""
    return Objective(everything)


def own_pace(settings: Any, training: TrainConfig) -> TrainConfig:
    """`training`, with the repair's own settings in place of those of the same name, unless they are None."""
    given = {each.name: getattr(settings, each.name, None) for each in fields(TrainConfig)}
    return replace(training, **{name: value for name, value in given.items() if value is not None})


@dataclass(frozen=True)
class Repair:
    """A registered repair.

    `settings`: a frozen dataclass of hyper-parameters. `rounds(settings)`: how many rounds it trains for; 0 for one
    that only asks. `pace(settings, training)`: how clients train, given the run's `train`. `objective`, `strategy`,
    `queries`: as those of a method; the server's `prepare` starts from the model that is to be mended. `tasks`: those
    that it is defined for. `edits_head`: does it need a linear head with a bias?
    """

    name: str
    settings: type
    rounds: Callable[[Any], int] = lambda settings: 0
    pace: Callable[[Any, TrainConfig], TrainConfig] = own_pace
    objective: Callable[[Any, StageSpec], Objective] = train_on_all
    strategy: MakeStrategy = UnlearningStrategy
    queries: Mapping[str, Query] = field(default_factory=dict)
    tasks: frozenset[str] = CLASSIFICATION
    edits_head: bool = False
    about: str = ""  # for those who read conf/
    title: str = ""  # what sentences call it, in lower case unless it is a name

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", self.title or self.name.replace("_", " "))
