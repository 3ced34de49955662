"""Truth ratio: does a model find wrong answers as likely as the right one, put in the same words?

TOFU (Maini et al., arXiv 2401.06121, section 2.2.2): R = mean probability of the perturbed answers / that of the
paraphrased one, each to the power of one by its number of tokens. A model that knows has an R near 0, and one that
never knew, near 1. *Forget quality* there is the p-value of a Kolmogorov–Smirnov test between the R of the unlearned
and of a retrained model; it depends on how many samples there are, so that the statistic itself is shown first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import ks_2samp

from fedunlearn.audits.answering import LANGUAGE, MOST, Speaker, drawn, mean, reworded
from fedunlearn.audits.base import Audit, Evidence, Findings, Reference, View
from fedunlearn.randomness import numpy_stream
from fedunlearn.results.findings import Finding
from fedunlearn.settings.schema import Count


@dataclass(frozen=True)
class TruthRatioSettings:
    """Who is asked."""

    samples: Count = MOST  # forget, and retain, training samples at most, drawn by seed


def measure(evidence: Evidence, reference: Reference, settings: TruthRatioSettings) -> Findings:
    """`forget_truth_ratio`: mean min(R, 1/R); `retain_truth_ratio`: mean max(0, 1 − R), both in [0, 1].

    `forget_ks` in [0, 1] and its p-value `forget_quality`, against the R of all (other) retrained models together; None
    without any. None as well where the dataset has no perturbed answers.
    """
    if not reworded(evidence.train).any():
        return dict.fromkeys(FINDINGS)
    forget, retain = (_ratios(evidence, reference, settings, kind) for kind in ("forget", "retain"))
    others = [_ratios(other, reference, settings, "forget") for other in reference.others(evidence)]
    compared = ks_2samp(forget, np.concatenate(others)) if others and len(forget) else None
    return {
        "forget_truth_ratio": mean(np.minimum(forget, 1 / forget)),
        "retain_truth_ratio": mean(np.maximum(0, 1 - retain)),
        "forget_ks": None if compared is None else float(compared.statistic),
        "forget_quality": None if compared is None else float(compared.pvalue),
    }


def ratios(evidence: Evidence, view: View, rows: np.ndarray) -> np.ndarray:
    """R of the samples at `rows`, float64 [m], above 0."""
    chosen, raw, speaker = torch.as_tensor(rows), view.samples.raw, Speaker.of(evidence)
    asked, wrong = raw["asked"][chosen], raw["perturbed"][chosen]
    right = speaker.likelihoods(raw["paraphrased"][chosen], asked)
    each = speaker.likelihoods(wrong.flatten(0, 1), asked.repeat_interleave(wrong.shape[1]))
    return ratio(right, each.reshape(wrong.shape[:2]))


def ratio(right: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """mean(wrong) / right, from likelihoods [m, perturbed answers] and [m]."""
    tiny = np.finfo(np.float64).tiny
    return np.asarray((wrong.mean(axis=1) + tiny) / (right + tiny))


def _ratios(evidence: Evidence, reference: Reference, settings: TruthRatioSettings, kind: str) -> np.ndarray:
    view = evidence.train
    stream = numpy_stream(reference.seed, "audit", "truth_ratio", kind)
    chosen = reworded(view) & (view.forget if kind == "forget" else ~view.forget)
    rows = drawn(view, chosen, stream, settings.samples)
    found: np.ndarray = evidence.notes.once(
        ("truth_ratio", kind, rows.tobytes()), lambda: ratios(evidence, view, rows) if len(rows) else np.zeros(0)
    )
    return found


DECLARED = (
    Finding(
        "forget_truth_ratio",
        "truth ratio",
        "how alike true and false answers are to a model that was to forget which is which",
        "down",
        "0 to 1",
        headline=True,
        counted=True,
    ),
    Finding(
        "retain_truth_ratio",
        "truth ratio (retain)",
        "how much less likely a model finds false answers about the rest",
        scale="0 to 1",
    ),
    Finding(
        "forget_ks",
        "truth ratio KS",
        "largest distance between the distributions of truth ratios of a model and of retrained ones",
        "distance",
        "0 to 1",
    ),
    Finding(
        "forget_quality",
        "forget quality",
        "p-value of that distance: small where the model can be told from retrained ones",
        scale="0 to 1",
    ),
)
FINDINGS = tuple(finding.name for finding in DECLARED)
AUDITS = {
    "truth_ratio": Audit(
        "truth_ratio",
        TruthRatioSettings,
        measure,
        findings=DECLARED,
        tasks=LANGUAGE,
        about="are wrong answers as likely as right ones? With TOFU's forget quality",
    )
}
