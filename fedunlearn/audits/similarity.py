"""Similarity of representations: do the features of two models say the same about the same images?

Linear centred kernel alignment (CKA, Kornblith et al., arXiv 1905.00414): 1 for features that are equal up to rotation
and scale, which is all that separate trainings could agree on. The plain estimate is far too high where samples are
few and features many, hence the unbiased one of HSIC (Song et al., JMLR 13, 2012; for CKA: Nguyen et al., arXiv
2010.15327), which is near 0 for unrelated features, and can be below.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from fedunlearn.audits.base import Audit, Evidence, Findings, Reference, View
from fedunlearn.randomness import numpy_stream
from fedunlearn.results.findings import Finding
from fedunlearn.settings.schema import AtLeast
from fedunlearn.tasks.base import EVERY

LEAST = 4  # samples that the unbiased estimate needs


@dataclass(frozen=True)
class SimilaritySettings:
    """How much is compared."""

    samples: Annotated[int, AtLeast(LEAST)] = 1000  # forget, and retain, test samples at most


def measure(evidence: Evidence, reference: Reference, settings: SimilaritySettings) -> Findings:
    """`cka_forget` and `cka_retain`, at most 1: mean CKA with the (other) retrained models on test samples.

    None without other retrained models, where there are fewer than four samples or the features are constant; the
    first also below class level.
    """
    stream = numpy_stream(reference.seed, "audit", "similarity")
    views = [other.test for other in reference.others(evidence)]
    forget = evidence.test.forget
    return {
        name: _mean_cka(evidence.test, views, stream.permutation(np.flatnonzero(rows))[: settings.samples])
        for name, rows in zip(FINDINGS, (forget, ~forget), strict=True)
    }


def cka(x: np.ndarray, y: np.ndarray) -> float | None:
    """Unbiased linear CKA of features `x` [n, d] and `y` [n, e] of the same n samples; None if one is constant."""
    return _cka(_gram(x), _gram(y))


def _cka(one: _Gram, other: _Gram) -> float | None:
    scale = one.own * other.own
    return float(hsic(one.matrix, other.matrix) / np.sqrt(scale)) if scale > 0 else None


def hsic(k: np.ndarray, m: np.ndarray) -> float:
    """Unbiased estimate of the Hilbert-Schmidt independence criterion from Gram matrices [n, n] without diagonals."""
    n = len(k)
    rows_k, rows_m = k.sum(axis=1), m.sum(axis=1)
    middle = rows_k.sum() * rows_m.sum() / ((n - 1) * (n - 2))
    return float(((k * m).sum() + middle - 2 / (n - 2) * (rows_k @ rows_m)) / (n * (n - 3)))


@dataclass(frozen=True)
class _Gram:
    """Inner products [n, n] of features, without the diagonal, and their HSIC with themselves."""

    matrix: np.ndarray
    own: float


def _gram(x: np.ndarray) -> _Gram:
    centred = x.astype(np.float64) - x.mean(axis=0, dtype=np.float64)  # for precision: the estimate does not change
    gram = np.asarray(centred @ centred.T)
    np.fill_diagonal(gram, 0)
    return _Gram(gram, hsic(gram, gram))


def _mean_cka(view: View, others: list[View], rows: np.ndarray) -> float | None:
    if len(rows) < LEAST or not others:
        return None
    own = _gram(view.features[rows])
    found = [_cka(own, _gram(other.features[rows])) for other in others]
    known = [value for value in found if value is not None]
    return float(np.mean(known)) if len(known) == len(found) else None


DECLARED = (
    Finding(
        "cka_forget",
        "CKA forget",
        "likeness of the features to those of retrained models, on forget samples",
        "similarity",
        "at most 1",
    ),
    Finding(
        "cka_retain",
        "CKA retain",
        "likeness of the features to those of retrained models, on the other samples",
        "similarity",
        "at most 1",
    ),
)
FINDINGS = tuple(finding.name for finding in DECLARED)
AUDITS = {
    "similarity": Audit(
        "similarity",
        SimilaritySettings,
        measure,
        findings=DECLARED,
        tasks=EVERY,
        about="do the features agree with those of the retrained models?",
    )
}
