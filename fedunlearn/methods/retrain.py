"""Retraining from scratch on the retain data: the reference, and as a method the audits' noise made visible.

It gets the rounds of training plus those of unlearning, so that no method wins by having trained longer.
Chosen as a method it is one more retraining with a seed of its own: whatever gap the audits then show is noise.
"""

from __future__ import annotations

from fedunlearn.federation.objective import Objective, cross_entropy, retain_labels
from fedunlearn.methods.base import Method, NoSettings

METHODS = {
    "retrain": Method(
        name="retrain",
        settings=NoSettings,
        objective=lambda settings, plan: Objective(retain_labels, cross_entropy),
        start="fresh",
        rounds=lambda train, unlearn: train + unlearn,
    )
}
