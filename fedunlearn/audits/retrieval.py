"""Retrieval: what is found when the database is searched with an image of an individual?

The database are the test images of all individuals and of those never seen; every test image is a probe, and searches
all others. Rank-1 is the share of probes whose nearest image shows the same individual, mAP the mean over probes of
the average precision (Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015).

The closed-set score of Trein and Garcia, arXiv 2501.02112, is here as well: a single training image of each individual
is its *anchor*, and a test image gets the name of the nearest one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.metrics import f1_score

from fedunlearn.audits import matching
from fedunlearn.audits.answers import small
from fedunlearn.audits.base import Audit, Evidence, FigureData, Findings, Reference, View
from fedunlearn.audits.matching import Shown
from fedunlearn.audits.verification import GROUPS, shown
from fedunlearn.randomness import numpy_stream
from fedunlearn.results.findings import Finding
from fedunlearn.settings.schema import Whole

NEAREST = 5  # images in a strip


@dataclass(frozen=True)
class RetrievalSettings:
    """What is shown."""

    strips: Whole = 4  # forgotten images whose nearest ones are pictured; 0: no image is kept


def measure(evidence: Evidence, reference: Reference, settings: RetrievalSettings) -> Findings:
    """`GROUP_rank1` and `GROUP_map` in [0, 1] of forget, retain and unseen probes; None where there are none.

    `anchor_accuracy` and `anchor_f1` in [0, 1]: of names that all test images get from their nearest anchor, each
    individual's first training image; F1 is the mean over individuals, weighted by their test images.
    `nearest_images`: of some forgotten probes the five nearest images; of retrained models, only of the first.
    """
    test = shown(evidence.test)
    database = test if evidence.unseen is None else matching.together([test, shown(evidence.unseen)])
    first, precision = matching.ranked(database, database, np.arange(len(database)))
    forgotten = np.isin(database.who, reference.forget_classes)
    unseen = np.arange(len(database)) >= len(test)
    found = _named_by_anchors(shown(evidence.train), test)
    for name, chosen in {"forget": forgotten, "retain": ~forgotten & ~unseen, "unseen": unseen}.items():
        found[f"{name}_rank1"], found[f"{name}_map"] = _mean(first[chosen]), _mean(precision[chosen])
    if settings.strips and forgotten.any() and not any(evidence is other for other in reference.retrained[1:]):
        stream = numpy_stream(reference.seed, "audit", "retrieval")
        rows = np.flatnonzero(forgotten)
        chosen = np.sort(stream.choice(rows, min(settings.strips, len(rows)), replace=False))
        found |= _strips(database, chosen, [evidence.test, *filter(None, [evidence.unseen])])
    return found


def _named_by_anchors(train: Shown, test: Shown) -> Findings:
    who, first = np.unique(train.who, return_index=True)
    called = who[matching.distances(test.features, train.features[first]).argmin(axis=1)]
    f1 = f1_score(test.who, called, average="weighted", zero_division=0)
    return {"anchor_accuracy": float((called == test.who).mean()), "anchor_f1": float(f1)}


def _mean(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def _strips(database: Shown, probes: np.ndarray, views: list[View]) -> Findings:
    """Each probe and its nearest images: `pixels` (uint8, flat), `shape` [probes, 1 + nearest, C, H, W], `right`."""
    images = [view.samples.raw.get("images") for view in views]
    known = [rows for rows in images if rows is not None and rows.dtype == torch.uint8 and rows.ndim == 4]
    if len(known) < len(views):
        return {}
    apart = matching.distances(database.features[probes], database.features)
    apart[np.arange(len(probes)), probes] = np.inf
    nearest = apart.argsort(axis=1, kind="stable")[:, : min(NEAREST, len(database) - 1)]
    chosen = np.concatenate([probes[:, None], nearest], axis=1)
    pixels = small(torch.cat([rows.cpu() for rows in known])[torch.from_numpy(chosen.ravel())])
    data: FigureData = {
        "shape": [*chosen.shape, *pixels.shape[1:]],
        "pixels": pixels.flatten().tolist(),
        "right": (database.who[nearest] == database.who[probes][:, None]).astype(int).ravel().tolist(),
    }
    return {"nearest_images": data}


def _declared() -> Iterator[Finding]:
    for group, who in GROUPS.items():
        direction = "up" if group == "forget" else "as retrained"
        yield Finding(
            f"{group}_rank1",
            f"Rank-1 {group}",
            f"share of images of {who} whose nearest image, among all others, shows the same individual",
            direction,  # type: ignore[arg-type]
            "0 to 1",
        )
        yield Finding(
            f"{group}_map",
            f"mAP {group}",
            f"mean average precision of searches with images of {who}",
            direction,  # type: ignore[arg-type]
            "0 to 1",
            counted=group == "forget",
        )
    yield Finding(
        "anchor_accuracy",
        "accuracy by anchors",
        "share of all test images whose nearest anchor (one training image of each individual) is of the same one",
        "as retrained",
        "0 to 1",
    )
    yield Finding(
        "anchor_f1",
        "F1 by anchors",
        "mean F1 of the same names over individuals, by their images",
        "as retrained",
        "0 to 1",
    )
    yield Finding(
        "nearest_images",
        "nearest images",
        "the images nearest to some forgotten ones",
        kind="figure",
        drawn="strips",
    )


AUDITS = {
    "retrieval": Audit(
        "retrieval",
        RetrievalSettings,
        measure,
        findings=tuple(_declared()),
        tasks=frozenset({"identity"}),
        about="what is found when test images are searched with an image of an individual?",
    )
}
