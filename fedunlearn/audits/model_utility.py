"""Model utility: what a language model is still good for, in one number.

TOFU (Maini et al., arXiv 2401.06121, section 2.2.1): the harmonic mean of probability, ROUGE-L recall and truth ratio
on what is to be retained, for every family of facts: there authors, real authors and the world, here whichever families
the dataset has (two in `fictions`, hence six numbers). One of them at 0 makes it 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedunlearn.audits.answering import LANGUAGE, drawn, own_answers, probabilities, reworded, rouge, truths
from fedunlearn.audits.base import Audit, Evidence, Findings, Reference
from fedunlearn.audits.truth_ratio import ratios
from fedunlearn.randomness import numpy_stream
from fedunlearn.results.findings import Finding
from fedunlearn.settings.schema import Count


@dataclass(frozen=True)
class ModelUtilitySettings:
    """Who is asked."""

    samples: Count = 80  # retain samples of each family at most, drawn by seed


def measure(evidence: Evidence, reference: Reference, settings: ModelUtilitySettings) -> Findings:
    """`model_utility` in [0, 1]; None where the dataset has no perturbed answers."""
    view, raw = evidence.train, evidence.train.samples.raw
    kept = ~view.forget & reworded(view)
    if not kept.any():
        return {"model_utility": None}
    kinds, found = raw["kind"].cpu().numpy(), list[float]()
    for kind in np.unique(kinds[kept]):
        stream = numpy_stream(reference.seed, "audit", "model_utility", int(kind))
        rows = drawn(view, kept & (kinds == kind), stream, settings.samples)
        recall, _ = rouge(own_answers(evidence, view, rows), truths(view, rows))
        truth = np.maximum(0, 1 - ratios(evidence, view, rows))
        found += [float(values.mean()) for values in (probabilities(view)[rows], recall, truth)]
    return {"model_utility": harmonic(found)}


def harmonic(values: Sequence[float]) -> float | None:
    """n / Σ 1/v; 0 if one of them is 0, None of nothing."""
    if not values:
        return None
    return len(values) / sum(1 / value for value in values) if min(values) > 0 else 0.0


AUDITS = {
    "model_utility": Audit(
        "model_utility",
        ModelUtilitySettings,
        measure,
        findings=(
            Finding(
                "model_utility",
                "model utility",
                "harmonic mean of probability, ROUGE-L recall and truth ratio on what was to be retained",
                scale="0 to 1",
                headline=True,
            ),
        ),
        tasks=LANGUAGE,
        about="probability, ROUGE-L and truth ratio of what is retained, in one number",
    )
}
