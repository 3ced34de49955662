"""Over-unlearning OU@ε: does the model, close to the forget samples, still say what the original said of the rest?

Ha, Park and Yoon, arXiv 2506.01318: the mean Jensen-Shannon divergence, on perturbed forget samples x', between the
original's probabilities with the forgotten classes cut out and renormalised, and this model's. Perturbations, in
units of pixel values in [0, 1], are Gaussian noise, or projected gradient steps on the original model. Our reading of
the latter: toward the retain class that the original finds likeliest, which is where decision boundaries were moved,
and from the sample itself. The authors' code goes *away* from that class and begins anywhere in the cube (`direction`,
`begin`), and it gives natural logarithms, that is, our bits times ln 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedunlearn.audits.base import Audit, Evidence, Findings, Reference, Samples, runnable
from fedunlearn.audits.divergence import jensen_shannon
from fedunlearn.data.types import Normaliser
from fedunlearn.errors import RunError
from fedunlearn.randomness import numpy_stream, torch_stream
from fedunlearn.results.findings import Finding
from fedunlearn.settings.schema import Count, NonNegative


@dataclass(frozen=True)
class OverUnlearningSettings:
    """How forget samples are perturbed; pixel values are in [0, 1]."""

    sigma: NonNegative = 0.01  # standard deviation of the Gaussian noise; pixel values are in [0, 1]
    epsilon: NonNegative = 0.03  # largest change of a pixel by projected gradient steps
    step: NonNegative = 0.01  # change of a pixel in one step
    steps: Count = 3  # gradient steps
    direction: Literal["toward", "away"] = "toward"  # the likeliest retain class; away: as in the authors' code
    begin: Literal["sample", "random"] = "sample"  # the steps; random: anywhere in the cube, as in the authors' code
    samples: Count = 500  # forget test samples, at most


def measure(evidence: Evidence, reference: Reference, settings: OverUnlearningSettings) -> Findings:
    """`ou_gaussian` and `ou_pgd`, mean divergences in bits, in [0, 1]. None below class level.

    Every model sees the same perturbed test samples of the forgotten classes.
    """
    if not reference.forget_classes:
        return dict.fromkeys(FINDINGS)
    key = ("over_unlearning", settings, reference.seed, reference.forget_classes)
    asked = reference.original.notes.once(key, lambda: perturbed(reference, settings))
    model = runnable(evidence)
    return {
        name: float(jensen_shannon(expected, probabilities(model, near)).mean())
        for name, (near, expected) in asked.items()
    }


def perturbed(reference: Reference, settings: OverUnlearningSettings) -> dict[str, tuple[Tensor, np.ndarray]]:
    """By finding: the perturbed samples [n, C, H, W], and what the original says of them without the forgotten classes.

    The latter: probabilities, float64 [n, classes].
    """
    stream = numpy_stream(reference.seed, "audit", "over_unlearning")
    chosen = np.sort(stream.permutation(np.flatnonzero(reference.original.test.forget))[: settings.samples])
    samples = reference.original.test.samples
    normalise, shown = _normaliser(samples), samples.at(chosen)["images"]
    original = runnable(reference.original)
    classes = list(reference.forget_classes)
    noise = torch.randn(shown.shape, generator=torch_stream(reference.seed, "audit", "over_unlearning", "noise"))
    moved = {
        "ou_gaussian": within(shown + noise.to(shown.device) * settings.sigma / _scale(normalise, shown), normalise),
        "ou_pgd": stepped(
            original, shown, start(shown, normalise, settings, reference.seed), normalise, classes, settings
        ),
    }
    return {name: (near, without(original, near, classes)) for name, near in moved.items()}


def start(shown: Tensor, normalise: Normaliser, settings: OverUnlearningSettings, seed: int) -> Tensor:
    """Where the gradient steps begin: the samples, or anywhere within `epsilon` of them, each pixel for itself."""
    if settings.begin == "sample":
        return shown
    drawn = torch.rand(shown.shape, generator=torch_stream(seed, "audit", "over_unlearning", "begin")).to(shown.device)
    return within(shown + (2 * drawn - 1) * settings.epsilon / _scale(normalise, shown), normalise)


def stepped(
    original: nn.Module,
    shown: Tensor,
    begin: Tensor,
    normalise: Normaliser,
    classes: list[int],
    settings: OverUnlearningSettings,
) -> Tensor:
    """`begin` moved by signed gradient steps, near `shown`: `original` finds the likeliest retain class likelier still.

    Or, away from that class, less likely.
    """
    scale = _scale(normalise, shown)
    with torch.no_grad():
        target = (
            original({"images": shown}).index_fill(1, torch.tensor(classes, device=shown.device), -torch.inf).argmax(1)
        )
    near, way = begin.clone(), {"toward": -1, "away": 1}[settings.direction]
    for _ in range(settings.steps):
        near.requires_grad_(True)
        (slope,) = torch.autograd.grad(F.cross_entropy(original({"images": near}), target, reduction="sum"), near)
        moved = near.detach() + way * slope.sign() * settings.step / scale
        reach = settings.epsilon / scale
        near = within(torch.minimum(torch.maximum(moved, shown - reach), shown + reach), normalise)
    return near


def within(x: Tensor, normalise: Normaliser) -> Tensor:
    """Normalised images `x` with pixel values cut to [0, 1]."""
    mean = torch.tensor(normalise.mean, device=x.device).view(1, -1, 1, 1)
    scale = _scale(normalise, x)
    return torch.minimum(torch.maximum(x, -mean / scale), (1 - mean) / scale)


@torch.no_grad()
def probabilities(model: nn.Module, x: Tensor) -> np.ndarray:
    """Softmax of the model's logits, float64 [n, classes]."""
    return np.asarray(model({"images": x}).double().softmax(1).cpu().numpy())


def without(model: nn.Module, x: Tensor, classes: list[int]) -> np.ndarray:
    """`probabilities` with those of `classes` set to 0, renormalised."""
    with torch.no_grad():
        logits = model({"images": x}).double().index_fill(1, torch.tensor(classes, device=x.device), -torch.inf)
    return np.asarray(logits.softmax(1).cpu().numpy())


def _normaliser(samples: Samples) -> Normaliser:
    if not isinstance(samples.prepare, Normaliser):
        raise RunError("over_unlearning changes pixels in [0, 1], which this dataset's inputs are not made of")
    return samples.prepare


def _scale(normalise: Normaliser, x: Tensor) -> Tensor:
    return torch.tensor(normalise.std, device=x.device).view(1, -1, 1, 1)


DECLARED = (
    Finding(
        "ou_gaussian",
        "over-unlearning (noise)",
        "how differently from the original it answers around forget samples, under noise, in bits",
        scale="0 to 1",
    ),
    Finding(
        "ou_pgd",
        "over-unlearning (PGD)",
        "how differently from the original it answers around forget samples, after gradient steps, in bits",
        scale="0 to 1",
    ),
)
FINDINGS = tuple(finding.name for finding in DECLARED)
AUDITS = {
    "over_unlearning": Audit(
        "over_unlearning",
        OverUnlearningSettings,
        measure,
        findings=DECLARED,
        about="close to the forget samples, does the model still say what the original said of the rest?",
    )
}
