"""U-LiRA: which of the forget samples was a model trained on before it forgot them all? By shadow models.

Hayes et al. (arXiv 2403.01218), after LiRA (Carlini et al., arXiv 2112.03570): many shadow models are trained *and
unlearned* with the same method, each without a random half of the forget samples. For every sample, one Gaussian is
fitted to its scores in shadows that held it and one in those that did not; the ratio of their densities says what a
further model's score is more like. If unlearning is perfect, nothing can be told. Our reading: every shadow is the
attacked model once, judged by the others; and of a forgotten class, the score is the logit of the probability, among
retain classes, of the class that the retrained models take the sample for, since that of its own label is about 0 in
every model. Deviations are pooled over samples, as LiRA advises for few shadows, and widened by how few scores a mean
is made of.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm
from sklearn.metrics import roc_auc_score, roc_curve

from fedunlearn.audits.base import Audit, Evidence, Findings, Reference
from fedunlearn.audits.margins import asked_for, margins
from fedunlearn.results.findings import Finding
from fedunlearn.settings.schema import Whole

FEWEST = 6  # shadow models that make an attack
FALSE_ALARMS = 0.01  # rate at which `u_lira_tpr` is read
LEAST_DEVIATION = 1e-6  # of scores that are all the same


@dataclass(frozen=True)
class ULiraSettings:
    """How many models are trained for the attack."""

    # such models, 6 or more, each trained and unlearned; 16 make a fair attack; 0: no attack
    shadows: Whole = 0

    def __post_init__(self) -> None:
        if 0 < self.shadows < FEWEST:
            raise ValueError(f"shadows must be 0 (no attack) or at least {FEWEST}, not {self.shadows}")


def measure(evidence: Evidence, reference: Reference, settings: ULiraSettings) -> Findings:
    """`u_lira_auc` and `u_lira_tpr` (true positives at 1 % false ones), in [0, 1]; nothing without shadows.

    Of the original model: how well the shadows' forget samples are told from held-out ones before unlearning; of the
    unlearned model: after it. A retrained model is attacked as if it were each of the unlearned shadows; as it has
    seen none of the samples, that is what the attack finds where there is nothing. None without retrained models, where
    a single class stays, and where so few samples are to be forgotten that a shadow holds all of them or none.
    """
    if not settings.shadows:
        return {}
    held = np.stack([shadow.held for shadow in reference.shadows])
    usable = held.any(axis=0)  # some samples may be no client's
    halved = (held[:, usable].any(axis=1) & ~held[:, usable].all(axis=1)).all()
    if not reference.retrained or len(reference.retain_classes) < 2 or not halved:
        return dict.fromkeys(FINDINGS)
    shown, classes = asked_for(reference)
    before = evidence is reference.original
    logits = [shadow.original if before else shadow.unlearned for shadow in reference.shadows]
    scores = np.stack([margins(each, shown, classes) for each in logits])
    attacked = scores
    if any(evidence is other for other in reference.retrained):
        own = margins(evidence.train.logits[evidence.train.forget], shown, classes)
        attacked = np.tile(own, (len(scores), 1))
    found = summed_up(ratios(attacked, scores, held)[:, usable], held[:, usable])
    return dict(zip(FINDINGS, found, strict=True))


def ratios(attacked: np.ndarray, scores: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Log-density of `attacked` [shadows, n] as the score of a sample that was held, minus that as of one that was not.

    `scores` and `held` [shadows, n]: what the shadows say of every sample, and whether they held it. A shadow is judged
    by the others; 0 where all of them held the sample, or none did.
    """
    found = np.zeros_like(attacked)
    for number, values in enumerate(attacked):
        others = np.arange(len(scores)) != number
        known = held[others].any(axis=0) & ~held[others].all(axis=0)
        said, truth = scores[others][:, known], held[others][:, known]
        inside, outside = _fitted(said, truth), _fitted(said, ~truth)
        found[number, known] = norm.logpdf(values[known], *inside) - norm.logpdf(values[known], *outside)
    return found


def _fitted(scores: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [n] of the chosen scores of every sample, and the deviation [n] from it that a further score would have."""
    count = chosen.sum(axis=0)
    mean = np.where(chosen, scores, 0).sum(axis=0) / count
    spread = np.where(chosen, scores - mean, 0)
    pooled = np.sqrt((spread**2).sum() / max(1, (count - 1).sum()))
    return mean, np.maximum(LEAST_DEVIATION, pooled) * np.sqrt(1 + 1 / count)


def summed_up(ratio: np.ndarray, held: np.ndarray) -> tuple[float, float]:
    """(mean AUC over attacked models, true positive rate at 1 % false ones over all of them together)."""
    aucs = [roc_auc_score(truth, values) for truth, values in zip(held, ratio, strict=True)]
    false, true, _ = roc_curve(held.ravel(), ratio.ravel(), drop_intermediate=False)
    return float(np.mean(aucs)), float(true[false <= FALSE_ALARMS].max())


DECLARED = (
    Finding(
        "u_lira_auc",
        "U-LiRA AUC",
        "how well forget samples that were trained on are told from others, by models made for it; 0.5: not at all",
        "up",
        "0 to 1",
    ),
    Finding(
        "u_lira_tpr",
        "U-LiRA at 1 % false alarms",
        "share of the forget samples trained on that is found at 1 % of false alarms",
        "up",
        "0 to 1",
    ),
)
FINDINGS = tuple(finding.name for finding in DECLARED)
AUDITS = {
    "u_lira": Audit(
        "u_lira",
        ULiraSettings,
        measure,
        shadows=lambda settings: settings.shadows,
        findings=DECLARED,
        about="can one tell which of the forget samples the model was trained on, by models made for the purpose?",
    )
}
