"""What every client is left with: accuracy on its own retain data, and how unequal it is.

An average over the test split can hide a client that pays for everybody else's request. Client-level evaluation is
common practice in federated learning (such as q-FFL, Li et al., arXiv 1905.10497).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedunlearn.audits.base import Audit, Evidence, Findings, Reference

FINDINGS = ("client_accuracy_min", "client_accuracy_mean", "client_accuracy_std")


@dataclass(frozen=True)
class ClientUtilitySettings:
    """Client utility has no settings."""


def measure(evidence: Evidence, reference: Reference, settings: ClientUtilitySettings) -> Findings:
    """Lowest, mean (every client alike) and standard deviation, of accuracies in [0, 1] on the training split.

    Clients without retain samples are left out; all None if that leaves none.
    """
    view = evidence.train
    right = view.logits.argmax(axis=1) == view.labels
    kept = [part[~view.forget[part]] for part in reference.parts]
    shares = [right[part].mean() for part in kept if len(part)]
    if not shares:
        return dict.fromkeys(FINDINGS)
    return dict(zip(FINDINGS, (float(np.min(shares)), float(np.mean(shares)), float(np.std(shares))), strict=True))


AUDITS = {"client_utility": Audit("client_utility", ClientUtilitySettings, measure)}
