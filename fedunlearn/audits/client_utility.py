"""What every client is left with: accuracy on its own retain data, and how unequal it is.

An average over the test split can hide a client that pays for everybody else's request. Client-level evaluation is
common practice in federated learning (such as q-FFL, Li et al., arXiv 1905.10497).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedunlearn.audits.base import Audit, Evidence, Findings, Reference
from fedunlearn.results.findings import Finding
from fedunlearn.tasks.base import EVERY


@dataclass(frozen=True)
class ClientUtilitySettings:
    """Client utility has no settings."""


def measure(evidence: Evidence, reference: Reference, settings: ClientUtilitySettings) -> Findings:
    """Lowest, mean (every client alike) and standard deviation, of accuracies in [0, 1] on the training split.

    Clients without retain samples are left out; all None if that leaves none.
    """
    view = evidence.train
    kept = [part[~view.forget[part]] for part in reference.parts]
    shares = [view.score[part].mean() for part in kept if len(part)]
    if not shares:
        return dict.fromkeys(FINDINGS)
    return dict(zip(FINDINGS, (float(np.min(shares)), float(np.mean(shares)), float(np.std(shares))), strict=True))


DECLARED = (
    Finding(
        "client_accuracy_min",
        "lowest client accuracy",
        "accuracy on a client's own retain samples: the worst client",
        scale="0 to 1",
    ),
    Finding(
        "client_accuracy_mean",
        "mean client accuracy",
        "accuracy on a client's own retain samples: the mean of all clients",
        scale="0 to 1",
    ),
    Finding(
        "client_accuracy_std",
        "spread of client accuracy",
        "accuracy on a client's own retain samples: the standard deviation between clients",
        scale="0 to 0.5",
    ),
)
FINDINGS = tuple(finding.name for finding in DECLARED)
AUDITS = {
    "client_utility": Audit(
        "client_utility",
        ClientUtilitySettings,
        measure,
        findings=DECLARED,
        tasks=EVERY,
        about="accuracy on every client's own retain data: lowest, mean and spread",
    )
}
