"""Fine-tuning: FedAvg from the original model on the retain data alone, and hope that the rest fades."""

from __future__ import annotations

from fedunlearn.federation.objective import Objective, cross_entropy, retain_labels
from fedunlearn.methods.base import Method, NoSettings

METHODS = {
    "finetune": Method(
        name="finetune", settings=NoSettings, objective=lambda settings, plan: Objective(retain_labels, cross_entropy)
    )
}
