"""What an unlearning method is: hyper-parameters, a server, and what clients do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from fedunlearn.federation import wire
from fedunlearn.federation.federation import ClientData
from fedunlearn.federation.objective import Objective
from fedunlearn.federation.spec import StageSpec
from fedunlearn.federation.strategy import UnlearningStrategy
from fedunlearn.models.base import Network
from fedunlearn.settings.config import RunConfig
from fedunlearn.tasks.base import CLASSIFICATION

# (model, client, settings, spec) -> tensors that the server adds up over all clients.
Query = Callable[[Network, ClientData, Any, StageSpec], dict[str, Tensor]]
# (settings, spec, pack, device) -> the server of a stage; a class will do.
MakeStrategy = Callable[[Any, StageSpec, wire.Pack, torch.device], UnlearningStrategy]


class Procedure(Protocol):
    """What server and clients of a stage carry out: all that a method and a repair have in common (see `Method`)."""

    @property
    def settings(self) -> type:
        """A frozen dataclass of hyper-parameters."""

    @property
    def objective(self) -> Callable[[Any, StageSpec], Objective]:
        """What clients train on."""

    @property
    def strategy(self) -> MakeStrategy:
        """The server."""

    @property
    def queries(self) -> Mapping[str, Query]:
        """What the server can ask clients for."""


@dataclass(frozen=True)
class Method:
    """A registered unlearning method.

    `settings`: a frozen dataclass of hyper-parameters. `objective(settings, spec)`: what clients train on.
    `strategy(settings, spec, pack, device)`: its server; plain averaging unless said. `queries`: computations that the
    server can ask clients for. `levels`: the request levels that the method defines. `tasks`: the tasks; EVERY for one
    that only weighs samples, with the task's own targets and loss. `start`: the model it starts from. `rounds(config)`:
    how many rounds it gets. `check(settings, config)` raises RequestError where the settings do not fit the rest of the
    run, such as phases that are longer than the budget; `fits(settings, model)` does where they do not fit the model.
    `history`: for a method that must know more of the original training than its last model, the strategy under which
    that training is run once more (same random streams, same model); its `memory` is where the method's own strategy's
    `memory` starts. `given`: for a method that is a finished model, its tensors by name, read from where the settings
    say; nothing is trained then, and the rest is not asked.
    `grid`: what to try when the method is tuned (experiments/tune): values by setting, called as on the command line,
    the default first; all combinations are tried, as many as of other methods.
    """

    name: str
    settings: type
    objective: Callable[[Any, StageSpec], Objective]
    strategy: MakeStrategy = UnlearningStrategy
    queries: Mapping[str, Query] = field(default_factory=dict)
    levels: frozenset[str] = frozenset({"class", "client", "sample"})
    tasks: frozenset[str] = CLASSIFICATION
    start: Literal["original", "fresh"] = "original"
    rounds: Callable[[RunConfig], int] = lambda config: config.unlearn.rounds
    check: Callable[[Any, RunConfig], None] = lambda settings, config: None
    fits: Callable[[Any, Network], None] = lambda settings, model: None
    history: MakeStrategy | None = None
    given: Callable[[Any], dict[str, Tensor]] | None = None
    grid: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    about: str = ""  # for those who read conf/
    title: str = ""  # what sentences call it, in lower case unless it is a name

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", self.title or self.name.replace("_", " "))

    def trains(self, config: RunConfig) -> bool:
        """Do clients train, if `unlearn.rounds` is at least 1? Other methods edit weights, or are finished models."""
        budget = replace(config.unlearn, rounds=max(1, config.unlearn.rounds))
        return self.rounds(replace(config, unlearn=budget)) > 0


@dataclass(frozen=True)
class NoSettings:
    """A method without hyper-parameters."""
