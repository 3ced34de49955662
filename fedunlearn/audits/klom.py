"""KLOM: do unlearned models say of every sample what retrained models say, as ensembles? KL divergence of margins.

Georgiev et al. (arXiv 2410.23232, appendix E.1) unlearn many original models and compare, sample by sample, the
distribution of their margins with that of retrained models: KL(unlearned ‖ retrained) over 20 bins of their joint
range, where no bin of the retrained models is emptier than 1e-5. EasyDUB (arXiv 2602.16400) does the same, but its
binning drops the largest value; here, it belongs to the last bin. Of a forgotten class, the margin of the own label is
as low as a method cares to make it. So its samples are also asked about by the class that retrained models take them
for, among those that stay (our reading).

Histograms of few models are mostly noise. So margins are also compared by energy distance (Székely and Rizzo, J. Stat.
Plan. Inference 143, 2013), which needs no bins: without bias, as its parts are U-statistics, and as a share of its
largest value, which is their coefficient of inhomogeneity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import rel_entr

from fedunlearn.audits import ensembles
from fedunlearn.audits.base import Audit, Evidence, FigureData, Findings, Reference
from fedunlearn.audits.ensembles import QUANTILES, Asked
from fedunlearn.results.findings import Finding
from fedunlearn.settings.schema import Count, Whole

BINS = 20
LEAST = 1e-5  # share of the retrained models in a bin, where there are any others
CURVES = "klom_curves"


@dataclass(frozen=True)
class KlomSettings:
    """How many further models are trained and unlearned for it, and on how many samples they are compared."""

    # further models, 7 or more, each trained and unlearned; 15 go with retrain.seeds=16; 0: off
    replicas: Whole = 0
    samples: Count = 500  # forget, retain and test samples, at most, drawn by seed

    def __post_init__(self) -> None:
        ensembles.check(self.replicas)


def measure(evidence: Evidence, reference: Reference, settings: KlomSettings) -> Findings:
    """For each set of samples: mean and 95th percentile of the divergence in nats, and mean energy distance.

    None where a set is empty or not defined. Nothing without replicas. See `ensembles` for what is compared with what.
    """
    if not settings.replicas:
        return {}
    found = {
        name: _summed_up(evidence, reference, each)
        for name, each in ensembles.asked(reference, settings.samples).items()
        if len(each.rows)
    }
    curves: FigureData = {"share of samples": list(QUANTILES)}
    curves |= {NAMES[name]: quantiles for name, (_, _, quantiles) in found.items()}
    numbers: Findings = dict.fromkeys(FINDINGS)
    for name, (mean, energy, quantiles) in found.items():
        numbers[f"klom_{name}"], numbers[f"klom_{name}_95"] = mean, quantiles[QUANTILES.index(0.95)]
        numbers[f"energy_{name}"] = energy
    return {**numbers, CURVES: curves}


def _summed_up(evidence: Evidence, reference: Reference, asked: Asked) -> tuple[float, float, list[float]]:
    """Mean divergence over samples, mean energy distance, quantiles of the divergence; means over draws of models."""
    drawn = list(ensembles.pairs(evidence, reference, asked))
    each = np.stack([divergences(*pair) for pair in drawn])
    energy = float(np.mean([energies(*pair) for pair in drawn]))
    return float(np.mean(each)), energy, ensembles.quantiles(each)


def divergences(mine: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """KL(mine ‖ theirs) in nats for each sample [n], from margins [models, n]; 0 to about 11.5."""
    both = np.concatenate([mine, theirs])
    edges = np.linspace(both.min(axis=0), both.max(axis=0), BINS + 1)
    p, q = (_shares(values, edges) for values in (mine, theirs))
    return np.asarray(rel_entr(p, np.maximum(q, LEAST)).sum(axis=0))


def _shares(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Share of `values` [models, n] in every bin between `edges` [bins + 1, n], whose last bin is closed; [bins, n]."""
    places = (values[:, None] >= edges[1:-1]).sum(axis=1)
    return np.asarray(np.stack([(places == number).mean(axis=0) for number in range(len(edges) - 1)]))


def energies(mine: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Energy distance over 2E|X − Y| for each sample [n], from margins [models, n]; −1 to 1.

    The distance has mean 0 where both ensembles are of one kind.
    """
    between = np.abs(mine[:, None] - theirs).mean(axis=(0, 1))
    within = sum(
        np.abs(each[:, None] - each).sum(axis=(0, 1)) / (len(each) * (len(each) - 1)) for each in (mine, theirs)
    )
    return np.asarray(np.divide(2 * between - within, 2 * between, out=np.zeros_like(between), where=between > 0))


NAMES = {
    "forget": "forget samples",
    "neighbour": "by neighbour",
    "retain": "retain samples",
    "test": "test samples",
}
MEANINGS = {
    "forget": "how far margins of forget samples are distributed otherwise than in retrained models",
    "neighbour": "the same of the class that retrained models take forget samples for, among those that stay",
    "retain": "the same of training samples that stay, by their label",
    "test": "the same of test samples that stay, by their label",
}
DECLARED = tuple(
    Finding(f"{kind}_{name}{suffix}", f"{title}, {label}{said}", f"{MEANINGS[name]}, {how}", "distance", scale)
    for name, label in NAMES.items()
    for kind, suffix, title, said, how, scale in (
        ("klom", "", "KLOM", "", "in nats; mean", "0 to 11.5"),
        ("klom", "_95", "KLOM", ", 95 %", "in nats; 95 % of the samples are below", "0 to 11.5"),
        ("energy", "", "energy distance", "", "by energy distance", "-1 to 1"),
    )
)
FINDINGS = tuple(finding.name for finding in DECLARED)
PICTURED = Finding(
    CURVES,
    "KLOM by sample",
    "how far margins are distributed otherwise than in retrained models, in nats, from the least to the most different",
    kind="figure",
    drawn="curves",
)
AUDITS = {
    "klom": Audit(
        "klom",
        KlomSettings,
        measure,
        replicas=lambda settings: settings.replicas,
        retrained=lambda settings: ensembles.retrained(settings.replicas),
        findings=(*DECLARED, PICTURED),
        about="as ensembles, do unlearned models say of each sample what retrained ones say? Off without replicas",
    )
}
