"""Backdoor success: does the mark that the forgotten clients planted still work? For requests with a backdoor.

See `fedunlearn.data.backdoor` for what is planted, and by whom it was proposed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from fedunlearn.audits.base import Audit, Evidence, Findings, Reference, Samples, runnable
from fedunlearn.data.backdoor import stamped
from fedunlearn.results.findings import Finding
from fedunlearn.settings.schema import Count

CHUNK = 512  # images at a time


@dataclass(frozen=True)
class BackdoorSettings:
    """How much is tried."""

    samples: Count = 2000  # test images that get the mark, at most; from the first


def measure(evidence: Evidence, reference: Reference, settings: BackdoorSettings) -> Findings:
    """`backdoor_success` and `backdoor_chance` in [0, 1]; nothing for requests without a backdoor.

    Of the test images that are not of the target class, the share that is taken for it: with the mark, and without.
    """
    if reference.backdoor is None:
        return {}
    view, target = evidence.test, reference.backdoor.target
    asked = np.flatnonzero(view.labels != target)[: settings.samples]
    marked = replace(view.samples, raw={"images": stamped(view.samples.raw["images"], reference.backdoor)})
    return {
        "backdoor_success": float((_answers(evidence, marked, asked) == target).mean()),
        "backdoor_chance": float((view.logits[asked].argmax(axis=1) == target).mean()),
    }


@torch.no_grad()
def _answers(evidence: Evidence, images: Samples, asked: np.ndarray) -> np.ndarray:
    model = runnable(evidence)
    pieces = np.array_split(asked, max(1, len(asked) // CHUNK))
    return np.concatenate([model(images.at(piece)).argmax(1).cpu().numpy() for piece in pieces])


DECLARED = (
    Finding(
        "backdoor_success",
        "backdoor success",
        "share of the images with the planted mark that are called as the mark wants",
        "up",
        "0 to 1",
    ),
    Finding("backdoor_chance", "backdoor chance", "the same share of the images without the mark", scale="0 to 1"),
)
AUDITS = {
    "backdoor": Audit(
        "backdoor",
        BackdoorSettings,
        measure,
        findings=DECLARED,
        about="does the mark still work that forgotten clients planted? Only for requests with request.backdoor",
    )
}
