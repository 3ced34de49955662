"""What original, retrained and unlearned model answer: to a dozen pictures of what was forgotten, to each class, and
to each client's own samples.

The first pictures that people look for in a report. No measurement: the numbers behind them are those of `accuracy`,
`class_flow` and `client_utility`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from scipy.special import softmax
from torch.nn.functional import interpolate

from fedunlearn.audits.base import Audit, Evidence, FigureData, Findings, Reference, View
from fedunlearn.randomness import numpy_stream
from fedunlearn.results.findings import Finding
from fedunlearn.settings.schema import AtLeast

LARGEST = 48  # pixels: larger pictures are made smaller, since a dozen of them go into every run's folder
FEW_CLASSES = 100  # a confusion matrix of more cannot be read


@dataclass(frozen=True)
class AnswersSettings:
    """What is shown."""

    pictures: Annotated[int, AtLeast(1)] = 12  # of forgotten samples


def measure(evidence: Evidence, reference: Reference, settings: AnswersSettings) -> Findings:
    """The exhibits `examples`, `confusion` and `client_answers`; nothing for retrained models but the first.

    `examples` (images only): of some forgotten samples, of the test split or, below class level, the training split,
    `label`, `answer` (classes) and `sure` (softmax probability of the answer); of the original model also `pixels`
    (uint8, flat) and `shape` [n, C, H, W]. `confusion`: test samples by class and answer, flat [classes · classes].
    `client_answers`: `accuracy` on each client's retain samples, None where it has none.
    """
    if any(evidence is other for other in reference.retrained[1:]):
        return {}
    found: Findings = {"client_answers": by_client(evidence.train, reference)}
    if reference.classes <= FEW_CLASSES:
        found["confusion"] = confusion(evidence.test, reference.classes)
    view = evidence.test if reference.forget_classes else evidence.train
    images = view.samples.raw.get("images")
    if images is not None and images.dtype == torch.uint8 and images.ndim == 4 and view.forget.any():
        stream = numpy_stream(reference.seed, "audit", "answers")
        rows = np.flatnonzero(view.forget)
        chosen = np.sort(stream.choice(rows, min(settings.pictures, len(rows)), replace=False))
        found["examples"] = examples(view, chosen, evidence is reference.original)
    return found


def examples(view: View, chosen: np.ndarray, pictured: bool) -> FigureData:
    """What is said of the samples at `chosen`; with their pixels if `pictured`."""
    sure = softmax(view.logits[chosen].astype(np.float64), axis=1)
    answers = view.logits[chosen].argmax(axis=1)
    said: FigureData = {
        "label": view.labels[chosen].tolist(),
        "answer": answers.tolist(),
        "sure": sure[np.arange(len(chosen)), answers].round(4).tolist(),
    }
    if not pictured:
        return said
    images = small(view.samples.raw["images"].cpu()[torch.as_tensor(chosen)])
    return {**said, "shape": list(images.shape), "pixels": images.flatten().tolist()}


def small(images: torch.Tensor) -> torch.Tensor:
    """Images, uint8 [n, C, H, W], with no side longer than `LARGEST` pixels."""
    longest = max(images.shape[2:])
    if longest <= LARGEST:
        return images
    size = [max(1, round(side * LARGEST / longest)) for side in images.shape[2:]]
    return interpolate(images.float(), size, mode="area").round().to(torch.uint8)


def confusion(view: View, classes: int) -> FigureData:
    """How many samples of each class (row) get each answer (column)."""
    pairs = view.labels * classes + view.logits.argmax(axis=1)
    return {"counts": np.bincount(pairs, minlength=classes * classes).tolist()}


def by_client(view: View, reference: Reference) -> FigureData:
    """The mean score of each client's own retain samples."""
    kept = [part[~view.forget[part]] for part in reference.parts]
    return {"accuracy": [round(float(view.score[part].mean()), 4) if len(part) else float("nan") for part in kept]}


DECLARED = (
    Finding("examples", "examples", "what is said of some of the forgotten samples (a picture)", kind="figure"),
    Finding("confusion", "confusion", "how often each class is taken for each other (a picture)", kind="figure"),
    Finding(
        "client_answers",
        "accuracy by client",
        "accuracy on every client's own retain samples (a picture)",
        kind="figure",
    ),
)
AUDITS = {
    "answers": Audit(
        "answers",
        AnswersSettings,
        measure,
        findings=DECLARED,
        about="the pictures of forgotten samples with what is said of them, of confusion and of clients",
    )
}
