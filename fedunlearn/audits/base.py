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
import torch
from torch import Tensor, nn

from fedunlearn.data.backdoor import Backdoor
from fedunlearn.data.types import Normaliser
from fedunlearn.errors import RunError
from fedunlearn.results.findings import Finding


@dataclass(frozen=True)
class Images:
    """The images behind a view, for audits that run or train a model themselves.

    `pixels`: uint8 [n, C, H, W]; `normalise` makes them what the model expects; `device`: where the model is.
    """

    pixels: Tensor
    normalise: Normaliser
    device: torch.device

    def at(self, positions: np.ndarray) -> Tensor:
        """Normalised images, float32 [len(positions), C, H, W] on the device, in channels-last memory."""
        chosen = self.pixels[torch.as_tensor(positions, device=self.pixels.device)].to(self.device)
        return self.normalise(chosen).contiguous(memory_format=torch.channels_last)


NO_IMAGES = Images(torch.empty(0, 1, 1, 1, dtype=torch.uint8), Normaliser((0.0,), (1.0,)), torch.device("cpu"))


@dataclass(frozen=True)
class View:
    """A model's output on one split.

    `features`: float32 [n, d]; `logits`: float32 [n, classes]; `labels`: int64 [n]; `forget`: bool [n], true for
    samples of the forget set (on the test split: samples of a forgotten class; all false below class level);
    `images`: what the model was shown.
    """

    features: np.ndarray
    logits: np.ndarray
    labels: np.ndarray
    forget: np.ndarray
    images: Images = NO_IMAGES


@dataclass(frozen=True)
class Evidence:
    """A model and what it says on the training and test split. An audit that trains the model trains a copy."""

    model: nn.Module
    train: View
    test: View


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
class Reference:
    """What a model is compared with.

    `forget_classes` is empty for client- and sample-level requests; `parts`: the training samples of each client;
    `backdoor`: what the forgotten clients planted, if anything; `shadows`: as many as the audit asks for.
    """

    original: Evidence
    retrained: tuple[Evidence, ...]
    forget_classes: tuple[int, ...]
    classes: int
    seed: int
    parts: tuple[np.ndarray, ...] = ()
    backdoor: Backdoor | None = None
    shadows: tuple[Shadow, ...] = ()

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

    `findings`: the declarations of what it returns, or a function from its settings to them. `shadows(settings)`: how
    many shadow models it needs, each of them trained and unlearned for it.
    """

    name: str
    settings: type
    measure: Callable[[Evidence, Reference, Any], Findings]
    shadows: Callable[[Any], int] = lambda settings: 0
    findings: tuple[Finding, ...] | Callable[[Any], tuple[Finding, ...]] = ()

    def declared(self, settings: Any) -> tuple[Finding, ...]:
        """What it may find with these settings."""
        return self.findings(settings) if callable(self.findings) else self.findings

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
