"""Min-K%: can one tell from the least likely tokens which sentences a model was trained on?

Shi et al., "Detecting Pretraining Data from Large Language Models", ICLR 2024, arXiv 2310.16789: the mean
log-probability of the least likely K % of a text's tokens is higher for texts that were trained on. Members are the
training sentences to be forgotten, non-members the test sentences about the same, in other words: both say what was to
be forgotten, so that the attack finds sentences and not subjects (our reading; MUSE, arXiv 2407.06460, has separate
documents). PrivLeak there is 100 (AUC − AUC of retrained models) / AUC of retrained models.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import roc_auc_score

from fedunlearn.audits.answering import LANGUAGE, scored
from fedunlearn.audits.base import Audit, Evidence, Findings, Reference, View
from fedunlearn.results.findings import Finding
from fedunlearn.settings.schema import Share


@dataclass(frozen=True)
class MinKSettings:
    """What the attack looks at."""

    share: Share = 0.4  # K: of an answer's tokens, the least likely ones; at least one token


def measure(evidence: Evidence, reference: Reference, settings: MinKSettings) -> Findings:
    """`min_k_auc` in [0, 1], 0.5 where nothing can be told; `privleak` from −100, 0 as retrained. None if none ask."""
    own = auc(evidence, settings.share)
    others = [auc(other, settings.share) for other in reference.retrained]
    known = [value for value in others if value is not None]
    leak = privleak(own, float(np.mean(known))) if own is not None and known else None
    return {"min_k_auc": own, "privleak": leak}


def privleak(own: float, retrained: float) -> float | None:
    """100 (own − retrained) / retrained; None where the retrained models' AUC is 0."""
    return 100 * (own - retrained) / retrained if retrained > 0 else None


def auc(evidence: Evidence, share: float) -> float | None:
    """How often a member's score is above a non-member's; None if there are none of either."""
    members, others = evidence.train, evidence.test
    groups = np.unique(members.groups[members.forget])
    one, other = scores(members, members.forget, share), scores(others, np.isin(others.groups, groups), share)
    if not len(one) or not len(other):
        return None
    return float(roc_auc_score(np.repeat([1, 0], [len(one), len(other)]), np.concatenate([one, other])))


def scores(view: View, chosen: np.ndarray, share: float) -> np.ndarray:
    """The mean log-probability of the least likely share of each answer's tokens, float64 [m], at most 0."""
    rows = zip(view.said["losses"][chosen].astype(np.float64), scored(view)[chosen], strict=True)
    return np.array(
        [-np.sort(losses[counts])[::-1][: max(1, int(share * counts.sum()))].mean() for losses, counts in rows]
    )


DECLARED = (
    Finding(
        "min_k_auc",
        "Min-K AUC",
        "how well sentences that were trained on are told from others about the same by their least likely tokens",
        "up",
        "0 to 1",
        counted=True,
    ),
    Finding(
        "privleak",
        "PrivLeak",
        "how much better that works than on retrained models, in percent",
        scale="-100 and up",
    ),
)
AUDITS = {
    "min_k": Audit(
        "min_k",
        MinKSettings,
        measure,
        findings=DECLARED,
        tasks=LANGUAGE,
        about="can the sentences that were trained on be told from others?",
    )
}
