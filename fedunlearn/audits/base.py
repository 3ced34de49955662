"""What an audit sees and what it returns.

Every audit is run on the original model, on every retrained model and on the unlearned model, always next to the
same reference. Distances to the retrained models leave out the model that is being measured (`Reference.others`);
scores that only use the retrained models' mean as the zero of a scale use them all, so that their mean is zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn


@dataclass(frozen=True)
class View:
    """A model's output on one split.

    `features`: float32 [n, d]; `logits`: float32 [n, classes]; `labels`: int64 [n]; `forget`: bool [n], true for
    samples of the forget set (on the test split: samples of a forgotten class; all false below class level).
    """

    features: np.ndarray
    logits: np.ndarray
    labels: np.ndarray
    forget: np.ndarray


@dataclass(frozen=True)
class Evidence:
    """A model and what it says on the training and test split."""

    model: nn.Module
    train: View
    test: View


@dataclass(frozen=True)
class Reference:
    """What a model is compared with. `forget_classes` is empty for client- and sample-level requests."""

    original: Evidence
    retrained: tuple[Evidence, ...]
    forget_classes: tuple[int, ...]
    classes: int
    seed: int

    def others(self, evidence: Evidence) -> tuple[Evidence, ...]:
        """The retrained models, without the one that `evidence` is of."""
        return tuple(other for other in self.retrained if other is not evidence)

    @property
    def retain_classes(self) -> np.ndarray:
        """The classes that stay, sorted."""
        return np.setdiff1d(np.arange(self.classes), self.forget_classes)


# Named results: a number, a list of numbers (one per class), or None where the audit is not defined
# (no reference to compare with, or a request level that it does not cover).
Findings = dict[str, float | list[float] | None]


@dataclass(frozen=True)
class Audit:
    """A registered measurement. `measure(evidence, reference, settings)` must not change anything it is given."""

    name: str
    settings: type
    measure: Callable[[Evidence, Reference, Any], Findings]
