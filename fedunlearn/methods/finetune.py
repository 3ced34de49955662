"""Fine-tuning: FedAvg from the original model on the retain data alone, and hope that the rest fades."""

from __future__ import annotations

from fedunlearn.federation.method import Method, NoSettings
from fedunlearn.federation.objective import Objective, retain_only
from fedunlearn.tasks.base import EVERY

METHODS = {
    "finetune": Method(
        name="finetune",
        title="fine-tuning",
        settings=NoSettings,
        grid={"unlearn.lr": (None, 0.01, 0.05, 0.1, 0.2, 0.3)},
        objective=lambda settings, spec: Objective(retain_only),
        tasks=EVERY,
    )
}
