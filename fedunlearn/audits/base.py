"""What an audit sees and what it returns.

Every audit is run on the original model, on every retrained model and on the unlearned model, always next to the
same reference. Distances to the retrained models leave out the model that is being measured (`Reference.others`);
scores that only use the retrained models' mean as the zero of a scale use them all, so that their mean is zero.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from fedunlearn.data.backdoor import Backdoor
from fedunlearn.data.types import Inputs, Prepare
from fedunlearn.errors import RunError
from fedunlearn.models.base import Network
from fedunlearn.results.findings import Finding
from fedunlearn.tasks.base import CLASSIFICATION


@dataclass(frozen=True)
class Samples:
    """The samples behind a view, for audits that run or train a model themselves.

    `raw`: inputs as the dataset holds them, one row for each sample; `prepare` makes them a model's; `device`: where
    the model is.
    """

    raw: Inputs
    prepare: Prepare
    device: torch.device

    def at(self, positions: np.ndarray) -> Inputs:
        """What the model eats, of the samples at `positions`, on the device."""
        rows = torch.as_tensor(positions)
        return self.prepare({name: values[rows.to(values.device)].to(self.device) for name, values in self.raw.items()})


NOTHING = Samples({}, lambda raw: raw, torch.device("cpu"))


@dataclass(frozen=True)
class View:
    """What a model says of one split.

    `features`: float32 [n, d]; `said`: by name, what the task keeps beside them, such as `logits`, float32 [n,
    classes]; `targets` [n, …] and `groups` int64 [n], as in `Split`; `forget`: bool [n], true for samples of the
    forget set (on the test split: samples of a forgotten group; all false below class level); `score`: float64 [n] in
    [0, 1], how right the model is; `samples`: what it was shown.
    """

    features: np.ndarray
    said: Mapping[str, np.ndarray]
    targets: np.ndarray
    groups: np.ndarray
    forget: np.ndarray
    score: np.ndarray
    samples: Samples = NOTHING

    @property
    def logits(self) -> np.ndarray:
        """Float32 [n, classes]. Only for tasks that keep them: an audit that reads them says so in its `tasks`."""
        return self.said["logits"]

    @property
    def labels(self) -> np.ndarray:
        """int64 [n]: the class of each sample, target and group in one."""
        return self.targets


class Notes:
    """What audits have worked out of a model: those that compare models need the same of each again and again."""

    def __init__(self) -> None:
        self._found: dict[Hashable, Future[Any]] = {}
        self._lock = Lock()

    def once(self, key: Hashable, work: Callable[[], Any]) -> Any:
        """What `work` returns (or raises), made by whoever asks first; all that it depends on is part of `key`."""
        with self._lock:
            first = key not in self._found
            found = self._found.setdefault(key, Future())
        if first:
            try:
                found.set_result(work())
            except BaseException as error:  # whoever else asks must not wait for ever
                found.set_exception(error)
        return found.result()


@dataclass(frozen=True)
class Evidence:
    """A model and what it says on the training and test split. An audit that trains the model trains a copy.

    `unseen`: what it says of groups that no client ever held, where the dataset keeps some back.
    """

    model: nn.Module
    train: View
    test: View
    notes: Notes = field(default_factory=Notes, repr=False, compare=False)
    unseen: View | None = None


Call = Callable[[], Any]
SideBySide = Callable[[Sequence[Call]], list[Any]]


def runnable(evidence: Evidence) -> Network:
    """A copy of the model, in evaluation mode, where its samples are: for audits that run it themselves."""
    model: Any = copy.deepcopy(evidence.model).to(evidence.test.samples.device)
    ready: Network = model.eval()
    return ready


def one_by_one(calls: Sequence[Call]) -> list[Any]:
    """What the calls return, in their order."""
    return [call() for call in calls]


@dataclass(frozen=True)
class Shadow:
    """A model that was trained without some of the n forget samples (of the training split, in their order there).

    `held`: bool [n], true for those it was trained on; `original`: its logits on all of them, float32 [n, classes];
    `unlearned`: the same after the run's method made it forget those that it held.
    """

    held: np.ndarray
    original: np.ndarray
    unlearned: np.ndarray


@dataclass(frozen=True)
class Replica:
    """A model that was trained exactly as the original was, but for chance, and then unlearned as the run's was.

    `original` and `unlearned`: their logits on all samples of the splits `train` and `test`, float32 [n, classes].
    """

    original: Mapping[str, np.ndarray]
    unlearned: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Reference:
    """What a model is compared with.

    `forget_classes` is empty for client- and sample-level requests; `parts`: the training samples of each client;
    `backdoor`: what the forgotten clients planted, if anything; `shadows`, `replicas`: as many as the audit asks for.
    `side_by_side` makes calls that do not depend on each other, on as many cores as are free.
    """

    original: Evidence
    retrained: tuple[Evidence, ...]
    forget_classes: tuple[int, ...]
    classes: int
    seed: int
    parts: tuple[np.ndarray, ...] = ()
    backdoor: Backdoor | None = None
    shadows: tuple[Shadow, ...] = ()
    replicas: tuple[Replica, ...] = ()
    side_by_side: SideBySide = one_by_one

    def others(self, evidence: Evidence) -> tuple[Evidence, ...]:
        """The retrained models, without the one that `evidence` is of."""
        return tuple(other for other in self.retrained if other is not evidence)

    @property
    def retain_classes(self) -> np.ndarray:
        """The classes that stay, sorted."""
        return np.setdiff1d(np.arange(self.classes), self.forget_classes)


# Lists of equal length, such as the coordinates of a picture's points; goes into a file of its own in the run's folder.
FigureData = dict[str, list[float]]
# Named results: a number, a list of numbers (one per class), an exhibit, or None where the audit is not defined
# (no reference to compare with, or a request level that it does not cover).
Findings = dict[str, float | list[float] | FigureData | None]


KINDS: dict[str, type | tuple[type, ...]] = {"number": (int, float), "list": list, "figure": dict}


@dataclass(frozen=True)
class Audit:
    """A registered measurement. `measure(evidence, reference, settings)` must not change anything it is given.

    Other audits are measured at the same time, each by one thread (also of PyTorch, OpenMP and BLAS).

    `tasks`: the tasks that it is defined for; EVERY for one that only reads what a view always has. `findings`: the
    declarations of what it returns, or a function from its settings to them. `shadows(settings)` and
    `replicas(settings)`: how many such models it needs, each of them trained and unlearned for it.
    `retrained(settings)`: how many retrained models, at least. `libraries(settings)`: the distributions that it needs
    beyond fedunlearn's own; their versions are part of its keys. A run that lacks what it needs is refused.
    """

    name: str
    settings: type
    measure: Callable[[Evidence, Reference, Any], Findings]
    shadows: Callable[[Any], int] = lambda settings: 0
    replicas: Callable[[Any], int] = lambda settings: 0
    retrained: Callable[[Any], int] = lambda settings: 0
    libraries: Callable[[Any], tuple[str, ...]] = lambda settings: ()
    findings: tuple[Finding, ...] | Callable[[Any], tuple[Finding, ...]] = ()
    tasks: frozenset[str] = CLASSIFICATION
    about: str = ""  # for those who read conf/

    def declared(self, settings: Any) -> tuple[Finding, ...]:
        """What it may find with these settings."""
        return self.findings(settings) if callable(self.findings) else self.findings

    def variants(self, settings: Any) -> dict[Literal["shadow", "replica"], int]:
        """How many variants of the federation it needs the models of."""
        return {"shadow": self.shadows(settings), "replica": self.replicas(settings)}

    def measured(self, evidence: Evidence, reference: Reference, settings: Any) -> Findings:
        """What it finds. Raises RunError for a finding that it has not declared, or declared as something else."""
        found = self.measure(evidence, reference, settings)
        kinds = {finding.name: finding.kind for finding in self.declared(settings)}
        for name, value in found.items():
            if name not in kinds:
                raise RunError(
                    f"the audit {self.name} returned a finding that it does not declare: {name} (declared: "
                    f"{', '.join(kinds) or 'none'})"
                )
            if value is not None and not isinstance(value, KINDS[kinds[name]]):
                raise RunError(f"the audit {self.name} declares {name} as a {kinds[name]}, but returned {value!r:.60}")
        return found
