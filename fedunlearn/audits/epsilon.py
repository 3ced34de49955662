"""Epsilon: how sure can an attacker be, by one sample, whether models were unlearned or retrained?

The forgetting quality of the NeurIPS 2023 unlearning competition (Triantafillou et al., arXiv 2406.09073). For each
forget sample, attacks by one threshold and by two tell the margins of unlearned models from those of retrained ones.
The best of them says which ε of (ε, δ)-indistinguishability is ruled out, as far as error rates of few models can say
so. An attack that makes only one of the two kinds of error is left out; if one makes neither, or one ensemble says the
same in all its models, ε is as large as so many models can resolve. It is a statistic of these models and no
certificate. A lower limit that holds for the population comes from the bands of Dvoretzky, Kiefer and Wolfowitz
(Massart, Ann. Probab. 18, 1990) around both distributions, as audits of differential privacy have limits (Jagielski et
al., arXiv 2006.07709). What is asked of a forgotten class, which models are compared, and what two thresholds look for
are our reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log, sqrt
from typing import Annotated

import numpy as np

from fedunlearn.audits import ensembles
from fedunlearn.audits.base import Audit, Evidence, FigureData, Findings, Reference
from fedunlearn.audits.ensembles import QUANTILES, Asked
from fedunlearn.results.findings import Finding
from fedunlearn.settings.schema import AtLeast, Below, Count, Whole

STEP = 0.5  # of ε that halves a sample's score
COLLAPSED = 0.01  # of the wider range: an ensemble of a narrower one says the same in all its models
LEVEL = 0.05  # at which the lower limit may fail, of each sample
CURVES = "epsilon_curves"


@dataclass(frozen=True)
class EpsilonSettings:
    """How many further models are trained and unlearned for it, on how many samples they are compared, and δ."""

    # further models, 7 or more, each trained and unlearned; 15 go with retrain.seeds=16; 0: off
    replicas: Whole = 0
    samples: Count = 500  # forget samples, at most, drawn by seed
    delta: Annotated[float, AtLeast(0), Below(1)] = 1e-5  # of (ε, δ)

    def __post_init__(self) -> None:
        ensembles.check(self.replicas)


def measure(evidence: Evidence, reference: Reference, settings: EpsilonSettings) -> Findings:
    """Mean over samples of ε, of its lower 95 % limit, and of 2^−⌊2ε⌋; by label, and by neighbour.

    By neighbour, None unless a class was forgotten. Nothing without replicas. See `ensembles` for what is compared with
    what; the limit is from all models.
    """
    if not settings.replicas:
        return {}
    found: Findings = dict.fromkeys(FINDINGS)
    curves: FigureData = {"share of samples": list(QUANTILES)}
    groups = ensembles.asked(reference, settings.samples)
    for group, suffix in SUFFIXES.items():
        if group in groups:
            each = _each(evidence, reference, groups[group], settings.delta)
            found[f"epsilon{suffix}"] = float(np.mean(each))
            found[f"forgetting_quality{suffix}"] = float(np.mean(scores(each)))
            limits = lower_limits(*ensembles.whole(evidence, reference, groups[group]), settings.delta)
            found[f"epsilon{suffix}_low"] = float(np.mean(limits))
            curves[NAMES[group]] = ensembles.quantiles(each)
    return {**found, CURVES: curves}


def _each(evidence: Evidence, reference: Reference, asked: Asked, delta: float) -> np.ndarray:
    """ε of each sample in each draw of models [draws, n]."""
    return np.stack([estimates(*pair, delta) for pair in ensembles.pairs(evidence, reference, asked)])


def scores(epsilon: np.ndarray) -> np.ndarray:
    """2^−⌊2ε⌋: 1 where models cannot be told apart, half of it for every 0.5 of ε."""
    return np.asarray(0.5 ** np.floor(epsilon / STEP))


def most(models: int) -> float:
    """The largest ε that error rates of so many models can show, rounded up to whole numbers as in the competition."""
    return float(ceil(log(models - 1)))


def estimates(mine: np.ndarray, theirs: np.ndarray, delta: float) -> np.ndarray:
    """ε of each sample [n] from margins [models, n], 0 to `most`: that of the best attack by one or two thresholds."""
    ordered = np.sort(np.concatenate([mine, theirs]), axis=0)
    higher = np.median(mine, axis=0) >= np.median(theirs, axis=0)
    narrower = np.ptp(mine, axis=0) <= np.ptp(theirs, axis=0)
    above, beyond = (
        [_share(order, each, ordered) for each in (mine, theirs)] for order in (np.greater_equal, np.greater)
    )
    single = _attack(*_first(higher, above), delta)
    first, last = np.triu_indices(len(ordered))
    within = [one[first] - other[last] for one, other in zip(above, beyond, strict=True)]
    double = _attack(*_first(narrower, within), delta)
    cap = most(min(len(mine), len(theirs)))
    best = np.clip(np.maximum(single.max(axis=0), double.max(axis=0)), 0, cap)
    return np.where(collapsed(mine, theirs), cap, best)


def collapsed(mine: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Bool [n]: does one ensemble say the same in all its models, next to the other?"""
    ranges = np.ptp(mine, axis=0), np.ptp(theirs, axis=0)
    return np.asarray(np.minimum(*ranges) < COLLAPSED * np.maximum(*ranges))


def _attack(called: np.ndarray, falsely: np.ndarray, delta: float) -> np.ndarray:
    """ε of attacks that call such shares of one ensemble and of the other by the name of the first; -inf: left out."""
    missed = 1 - called
    found = np.maximum(_odds(falsely, missed, delta), _odds(missed, falsely, delta))
    found = np.where((missed > 0) & (falsely > 0), found, -np.inf)
    return np.where((missed == 0) & (falsely == 0), np.inf, found)


def _odds(one: np.ndarray, other: np.ndarray, delta: float) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(1 - delta - one > 0, np.log(1 - delta - one) - np.log(other), -np.inf)


def _first(chosen: np.ndarray, shares: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The shares of two ensembles [attacks, n], those of the first one first in the chosen samples (bool [n])."""
    mine, theirs = shares
    return np.where(chosen, mine, theirs), np.where(chosen, theirs, mine)


def _share(order: np.ufunc, values: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Share of `values` [models, n] that are above each of `thresholds` [t, n], by this order; [t, n]."""
    return np.asarray(order(values, thresholds[:, None]).mean(axis=1))


def lower_limits(mine: np.ndarray, theirs: np.ndarray, delta: float) -> np.ndarray:
    """ε [n] that the populations behind both ensembles have at least, at 95 % for each sample; 0: nothing is shown.

    Both distribution functions lie within bands at once, so that the best threshold may be looked for in the data.
    """
    ordered = np.concatenate([mine, theirs])
    bands = [sqrt(log(4 / LEVEL) / (2 * len(values))) for values in (mine, theirs)]
    above = [_share(np.greater_equal, values, ordered) for values in (mine, theirs)]
    limits = [np.zeros(mine.shape[1])]
    for first, second in ((0, 1), (1, 0)):  # the one that is called by values above the threshold, and the other
        missed, falsely = 1 - above[first] + bands[first], above[second] + bands[second]
        limits += [_odds(falsely, missed, delta).max(axis=0), _odds(missed, falsely, delta).max(axis=0)]
    return np.asarray(np.maximum.reduce(limits))


SUFFIXES = {"forget": "", "neighbour": "_neighbour"}
NAMES = {"forget": "ε", "neighbour": "ε, by neighbour"}
DECLARED = (
    Finding(
        "epsilon",
        "ε",
        "how surely the label's margin of one forget sample tells unlearned from retrained models; 0: not at all",
        "distance",
        "0 to ln(models - 1), rounded up",
    ),
    Finding("epsilon_low", "ε, at least", "ε as far as so few models show it, at 95 %", "distance", "0 and up"),
    Finding(
        "forgetting_quality",
        "forgetting quality",
        "a score of each forget sample that halves with every 0.5 of ε; mean",
        "similarity",
        "0 to 1",
    ),
    Finding(
        "epsilon_neighbour",
        "ε by neighbour",
        "ε by the margin of the class that retrained models take a sample for, among those that stay",
        "distance",
        "0 to ln(models - 1), rounded up",
    ),
    Finding(
        "epsilon_neighbour_low",
        "ε by neighbour, at least",
        "ε by neighbour as far as so few models show it, at 95 %",
        "distance",
        "0 and up",
    ),
    Finding(
        "forgetting_quality_neighbour",
        "forgetting quality by neighbour",
        "a score of each forget sample that halves with every 0.5 of ε by neighbour; mean",
        "similarity",
        "0 to 1",
    ),
)
FINDINGS = tuple(finding.name for finding in DECLARED)
PICTURED = Finding(
    CURVES,
    "ε by sample",
    "how surely a forget sample tells unlearned from retrained models, from the least to the most telling sample",
    kind="figure",
    drawn="curves",
)
AUDITS = {
    "epsilon": Audit(
        "epsilon",
        EpsilonSettings,
        measure,
        replicas=lambda settings: settings.replicas,
        retrained=lambda settings: ensembles.retrained(settings.replicas),
        findings=(*DECLARED, PICTURED),
        about="can unlearned models be told from retrained ones by single forget samples? Off without replicas",
    )
}
