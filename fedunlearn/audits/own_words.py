"""Own words: what does a model answer, when it is asked and left to itself?

ROUGE-L of its answers with the right ones. VerbMem asks in the very words of the training set, KnowMem in other words
(MUSE, Shi et al., arXiv 2407.06460, both as 100 times the mean F; there of passages and of questions about them, here
the questions of the training and of the test split). The recall is TOFU's (Maini et al., arXiv 2401.06121).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedunlearn.audits.answering import LANGUAGE, MOST, drawn, mean, own_answers, rouge, truths
from fedunlearn.audits.base import Audit, Evidence, Findings, Reference, View
from fedunlearn.randomness import numpy_stream
from fedunlearn.results.findings import Finding
from fedunlearn.settings.schema import Count


@dataclass(frozen=True)
class OwnWordsSettings:
    """Who is asked."""

    samples: Count = MOST  # forget, and retain, questions of each split at most, drawn by seed


def measure(evidence: Evidence, reference: Reference, settings: OwnWordsSettings) -> Findings:
    """`verbmem_*` and `knowmem_*` in 0..100, `forget_rouge` and `retain_rouge` in [0, 1]; None of nothing."""
    found: Findings = {}
    for which, view in (("verbmem", evidence.train), ("knowmem", evidence.test)):
        for name, chosen in (("forget", view.forget), ("retain", ~view.forget)):
            stream = numpy_stream(reference.seed, "audit", "own_words", which, name)
            recall, f = asked(evidence, view, drawn(view, chosen, stream, settings.samples))
            share = mean(f)
            found[f"{which}_{name}"] = None if share is None else 100 * share
            if which == "verbmem":
                found[f"{name}_rouge"] = mean(recall)
    return found


def asked(evidence: Evidence, view: View, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ROUGE-L recall and F of the answers to the questions at `rows`."""
    return rouge(own_answers(evidence, view, rows), truths(view, rows))


DECLARED = (
    Finding(
        "verbmem_forget",
        "VerbMem",
        "likeness (ROUGE-L) of a model's own answers to the forgotten ones, asked in the words of the training set",
        "up",
        "0 to 100",
        headline=True,
    ),
    Finding("verbmem_retain", "VerbMem (retain)", "the same of the other training questions", scale="0 to 100"),
    Finding(
        "knowmem_forget",
        "KnowMem",
        "likeness (ROUGE-L) of a model's own answers to the forgotten ones, asked in other words",
        "up",
        "0 to 100",
        counted=True,
    ),
    Finding("knowmem_retain", "KnowMem (retain)", "the same of the other test questions", scale="0 to 100"),
    Finding(
        "forget_rouge",
        "ROUGE-L recall",
        "share of the forgotten answers' words that a model's own have",
        "up",
        "0 to 1",
    ),
    Finding("retain_rouge", "ROUGE-L recall (retain)", "the same of the other training questions", scale="0 to 1"),
)
AUDITS = {
    "own_words": Audit(
        "own_words",
        OwnWordsSettings,
        measure,
        findings=DECLARED,
        tasks=LANGUAGE,
        about="what does a model answer, left to itself?",
    )
}
