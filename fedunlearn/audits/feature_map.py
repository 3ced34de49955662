"""A map of the features in two dimensions: where do the samples of the forgotten class lie among the others?

The picture by which papers on class unlearning show erasure (such as FUCRT, arXiv 2410.06848): original, retrained and
unlearned model side by side, made with t-SNE (van der Maaten and Hinton, JMLR 9, 2008). Each model gets a map of its
own, because features of separate trainings have no axes in common; t-SNE and not a projection, because two linear
dimensions cannot keep ten classes apart. Same samples and same seed for every model. It is a picture and no
measurement: distances between far clusters and their sizes mean nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from sklearn.manifold import TSNE

from fedunlearn.audits.base import Audit, Evidence, Findings, Reference
from fedunlearn.audits.linear_probe import stratified
from fedunlearn.randomness import numpy_stream
from fedunlearn.results.findings import Finding
from fedunlearn.settings.schema import Above, AtLeast
from fedunlearn.tasks.base import EVERY

DIGITS = 2  # decimals of a coordinate; maps are some fifty units wide


@dataclass(frozen=True)
class FeatureMapSettings:
    """What is drawn and how."""

    samples: Annotated[int, AtLeast(8)] = 400  # test samples, about; the same share of every class
    # of t-SNE: about how many neighbours of a sample its place depends on
    perplexity: Annotated[float, Above(1)] = 30.0
    iterations: Annotated[int, AtLeast(250)] = 500  # steps of t-SNE


def measure(evidence: Evidence, reference: Reference, settings: FeatureMapSettings) -> Findings:
    """The exhibit `feature_map`: coordinates `x` and `y`, and `label`, of some test samples.

    Nothing below class level, and nothing for retrained models but the first, which stands for them all.
    """
    if not reference.forget_classes or any(evidence is other for other in reference.retrained[1:]):
        return {}
    stream = numpy_stream(reference.seed, "audit", "feature_map")
    chosen = stratified(evidence.test.groups, settings.samples, stream)
    x, y = embedded(evidence.test.features[chosen], settings).round(DIGITS).T.tolist()
    return {"feature_map": {"x": x, "y": y, "label": evidence.test.groups[chosen].tolist()}}


def embedded(features: np.ndarray, settings: FeatureMapSettings) -> np.ndarray:
    """Places [n, 2] of `features` [n, d]; all at zero where the features are all the same."""
    if not np.ptp(features, axis=0).any():
        return np.zeros((len(features), 2))
    perplexity = min(settings.perplexity, (len(features) - 1) / 3)
    tsne = TSNE(2, perplexity=perplexity, max_iter=settings.iterations, init="pca", random_state=0)
    padded = np.pad(features.astype(np.float64), ((0, 0), (0, 1)))  # a model may have a single feature
    return np.asarray(tsne.fit_transform(padded), dtype=np.float64)


DECLARED = (
    Finding(
        "feature_map",
        "feature map",
        "where test samples lie among each other by their features (a picture)",
        kind="figure",
    ),
)
AUDITS = {
    "feature_map": Audit(
        "feature_map",
        FeatureMapSettings,
        measure,
        findings=DECLARED,
        tasks=EVERY,
        about="the picture figures/feature_map: original, retrained and unlearned features in two dimensions",
    )
}
