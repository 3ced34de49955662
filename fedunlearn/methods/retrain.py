"""Retraining from scratch on the retain data: the reference, and as a method the audits' noise made visible.

It gets the rounds of training plus those of unlearning, so that no method wins by having trained longer.
Choice as a method it is one more retraining with a seed of its own: whatever gap the audits then show is noise.
"""

from __future__ import annotations

from fedunlearn.federation.method import Method, NoSettings
from fedunlearn.federation.objective import Objective, retain_only
from fedunlearn.tasks.base import EVERY

METHODS = {
    "retrain": Method(
        name="retrain",
        title="one more retraining",
        settings=NoSettings,
        objective=lambda settings, spec: Objective(retain_only),
        tasks=EVERY,
        start="fresh",
        rounds=lambda config: config.train.rounds + config.unlearn.rounds,
    )
}
