"""Fine-tuning on retain data: a few rounds of FedAvg after unlearning, by the clients that still hold something."""

from __future__ import annotations

from dataclasses import dataclass

from fedunlearn.federation.repair import Repair
from fedunlearn.settings.schema import Count, Positive
from fedunlearn.tasks.base import EVERY


@dataclass(frozen=True)
class Finetune:
    """Hyper-parameters; what is null is as in `train`."""

    rounds: Count = 2  # of FedAvg
    local_epochs: Count | None = None
    batch_size: Count | None = None
    lr: Positive | None = None


REPAIRS = {
    "finetune": Repair(
        name="finetune",
        title="fine-tuning",
        settings=Finetune,
        rounds=lambda settings: settings.rounds,
        tasks=EVERY,
        about="a few rounds of FedAvg on retain data",
    )
}
