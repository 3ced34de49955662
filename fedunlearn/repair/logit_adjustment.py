"""Logit adjustment: the control that knows how often classes are seen, and nothing of what a model says.

Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, arXiv 2007.07314: after training, tau log pi_c is
taken from the logit of every class, whose share of the training data is pi_c, so that rare classes win more often.

Federated, our reading: clients count their retain samples of every class, and the server adds the counts up, which are
the same as those of pooled data. What is subtracted is centred: the mean of log pi over the classes that are there is
taken out. Without that, every retained class would rise by -tau log pi > 0 over a forgotten one, and the repair would
be a head mask in disguise. For the same reason a class without any sample is left as it is: it would be raised without
limit, and in methods that adjust the logits of the training loss, lowered without limit. Balanced data change nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedunlearn.federation.federation import ClientData
from fedunlearn.federation.repair import Repair
from fedunlearn.federation.spec import StageSpec
from fedunlearn.federation.strategy import Clients, Tensors, UnlearningStrategy
from fedunlearn.models.base import Network, linear_head
from fedunlearn.repair.calibration import counted, shifted, told
from fedunlearn.settings.schema import Positive


@dataclass(frozen=True)
class LogitAdjustment:
    """Hyper-parameters."""

    tau: Positive = 1.0  # how much of the logarithm of its share a class's logit is corrected by


class AdjustmentServer(UnlearningStrategy):
    """Asks every client for its counts and edits the bias; there are no rounds."""

    settings: LogitAdjustment

    def prepare(self, model: Tensors, clients: Clients) -> Tensors:
        """The model with the adjustment in its bias."""
        counts = clients.total("counts", model)["counts"].clone()
        counts[list(self.spec.forget_classes)] = 0
        adjustment = adjusted(counts, self.settings.tau)
        self.notes = told(adjustment)
        bias = linear_head(self.new_model(0)).bias
        return {**model, bias: shifted(model[bias], adjustment)}


def adjusted(counts: Tensor, tau: float) -> Tensor:
    """What is added to the logits, float64 [classes]: -tau (log n_c - mean of log n), and 0 where n_c is 0."""
    there = counts > 0
    logs = counts.double().clamp_min(1).log()
    mean = logs[there].sum() / there.sum().clamp_min(1)
    return torch.where(there, -tau * (logs - mean), 0.0)


def count_classes(model: Network, client: ClientData, settings: LogitAdjustment, spec: StageSpec) -> Tensors:
    """The client's answer to the query `counts`: `counts`, int64 [classes]."""
    return {"counts": counted(client, spec)}


REPAIRS = {
    "logit_adjustment": Repair(
        name="logit_adjustment",
        settings=LogitAdjustment,
        strategy=AdjustmentServer,
        queries={"counts": count_classes},
        edits_head=True,
        about="the control: logits corrected by how often their classes are seen",
    )
}
