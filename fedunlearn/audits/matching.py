"""How well distances between embeddings tell individuals apart: the numbers of verification and of retrieval.

Two images are *accepted* as one individual's if their embeddings are nearer than a threshold. A *genuine* pair shows
one individual, an *impostor* pair two. Definitions as in biometrics (ISO/IEC 19795-1, with similarity as minus
distance).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 1000  # of a bootstrap
ROWS = 512  # compared with all others at a time


@dataclass(frozen=True)
class Shown:
    """Images that are compared. `features`: embeddings, float [n, d]; `who`: int64 [n], the individual on each."""

    features: np.ndarray
    who: np.ndarray

    def __len__(self) -> int:
        return len(self.who)

    def at(self, chosen: np.ndarray) -> Shown:
        """Those images (positions, or bool [n])."""
        return Shown(self.features[chosen], self.who[chosen])


def together(parts: Sequence[Shown]) -> Shown:
    """All images of several sets."""
    return Shown(np.concatenate([part.features for part in parts]), np.concatenate([part.who for part in parts]))


def distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Euclidean distances, float64 [n, m], between embeddings [n, d] and [m, d]."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    squares = (one**2).sum(1)[:, None] + (other**2).sum(1) - 2 * one @ other.T
    return np.asarray(np.sqrt(np.maximum(squares, 0)))


@dataclass(frozen=True)
class Pairs:
    """Distances of pairs, float64 [g] and [i], and of each genuine pair the individual, int64 [g]."""

    genuine: np.ndarray
    impostor: np.ndarray
    who: np.ndarray


def pairs(shown: Shown) -> Pairs:
    """All pairs of two different images, each once."""
    apart = distances(shown.features, shown.features)
    one, other = np.triu_indices(len(shown), k=1)
    same = shown.who[one] == shown.who[other]
    found = apart[one, other]
    return Pairs(found[same], found[~same], shown.who[one][same])


def between(one: Shown, other: Shown) -> np.ndarray:
    """Distances of all pairs of an image of `one` and an image of `other` that show two individuals, float64 [p]."""
    found: np.ndarray = distances(one.features, other.features)[one.who[:, None] != other.who]
    return found


def threshold(impostor: np.ndarray, rate: float) -> float:
    """The largest distance below which at most the share `rate` of the impostor pairs lies; they must be some."""
    allowed = int(rate * len(impostor))
    return float(np.partition(impostor, allowed)[allowed]) if allowed < len(impostor) else float("inf")


def accepted(distance: np.ndarray, limit: float) -> float:
    """The share of pairs that are nearer than `limit`: of genuine ones, the true accept rate (TAR); NaN for none."""
    return float((distance < limit).mean()) if len(distance) else float("nan")


def equal_error_rate(genuine: np.ndarray, impostor: np.ndarray) -> float:
    """Where as many impostors are accepted as genuine pairs rejected: their mean, at the limit where they differ least.

    In [0, 1]; both kinds must be there.
    """
    limits = np.unique(np.concatenate([genuine, impostor, [np.inf]]))
    wrongly = np.searchsorted(np.sort(impostor), limits, side="left") / len(impostor)
    rejected = 1 - np.searchsorted(np.sort(genuine), limits, side="left") / len(genuine)
    best = np.abs(wrongly - rejected).argmin()
    return float((wrongly[best] + rejected[best]) / 2)


def d_prime(genuine: np.ndarray, impostor: np.ndarray) -> float | None:
    """(mean impostor distance − mean genuine one) / the root of the mean of both variances; None if they are 0."""
    spread = np.sqrt((genuine.var() + impostor.var()) / 2)
    return float((impostor.mean() - genuine.mean()) / spread) if spread > 0 else None


def ranked(probes: Shown, gallery: Shown, itself: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Rank-1 (0 or 1) and average precision of every probe, float64 [n]; NaN where the gallery has no image of it.

    Who is nearer comes first; equal distances, in the order of the gallery. `itself`: of each probe its own position
    in the gallery, where it must not be found.
    """
    first, precision = np.full(len(probes), np.nan), np.full(len(probes), np.nan)
    for start in range(0, len(probes), ROWS):
        rows = np.arange(start, min(start + ROWS, len(probes)))
        apart = distances(probes.features[rows], gallery.features)
        if itself is not None:
            apart[np.arange(len(rows)), itself[rows]] = np.inf
        order = apart.argsort(axis=1, kind="stable")
        order = order if itself is None else order[:, :-1]
        right = gallery.who[order] == probes.who[rows, None]
        there = right.any(axis=1)
        at_hits = right.cumsum(axis=1) / np.arange(1, right.shape[1] + 1) * right
        first[rows[there]] = right[there, 0]
        precision[rows[there]] = at_hits[there].sum(axis=1) / right[there].sum(axis=1)
    return first, precision


def by_individual(values: np.ndarray, who: np.ndarray) -> np.ndarray:
    """The mean value of each individual, float64 [individuals], in the order of their numbers."""
    return np.array([values[who == number].mean() for number in np.unique(who)])


def interval(values: np.ndarray, stream: np.random.Generator) -> list[float]:
    """Where the mean over individuals lies in 95 % of bootstrap samples of them (`values` [individuals]): low, high."""
    drawn = values[stream.integers(0, len(values), (DRAWS, len(values)))]
    return [float(edge) for edge in np.quantile(drawn.mean(axis=1), (0.025, 0.975))]
