"""Average logit gap (ALG): give back to classes that skewed clients suppress what their logits lack on average.

Mai et al., "Fine-tuning is fine, if calibrated", NeurIPS 2024, arXiv 2409.16223: a model that is fine-tuned on some of
its classes, S, loses the others, U, mostly because their logits are too small as a whole. One number, added to all of
them, brings them back. It is estimated from the training data, which hold no sample of U:

    gamma = mean over x of [ mean over c in S, c != y, of z_c(x)  -  mean over c in U of z_c(x) ]

Their code computes it on the split that is being evaluated, samples of U included; here it comes from retain samples
of the training split alone, as the text says.

Federated, our reading: U of a client are the retained classes of which it holds no sample, S those of which it does.
It computes its gamma and offers it to every class in U; the server takes for each class the mean over the clients that
lack it, weighted by their samples, and adds it to the head's bias. So the model costs nothing more at inference, and
the repair survives rounded weights. A client that lacks no class, or that holds fewer than two (there is no other
seen class to compare with), offers nothing. A forgotten class is in nobody's U.

Where skew is so strong that each retained class is lacked by some client, all of them may be raised (or lowered), and
forgotten ones fall behind (or come back) without having been touched. `centred` takes that part out; ours as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fedunlearn.federation.federation import ClientData
from fedunlearn.federation.repair import Repair
from fedunlearn.federation.sgd import observed
from fedunlearn.federation.spec import StageSpec
from fedunlearn.federation.strategy import Clients, Tensors, UnlearningStrategy
from fedunlearn.models.base import Network, linear_head
from fedunlearn.repair.calibration import absent, averaged, counted, offered, shifted, told


@dataclass(frozen=True)
class AverageLogitGap:
    """Hyper-parameters."""

    centred: bool = False  # true: take the mean over the retained classes out of gamma


class GapServer(UnlearningStrategy):
    """Asks every client once and edits the bias; there are no rounds."""

    settings: AverageLogitGap

    def prepare(self, model: Tensors, clients: Clients) -> Tensors:
        """The model with every class's gamma in its bias."""
        gamma = averaged(clients.total("gap", model), self.spec, self.settings.centred)
        self.notes = told(gamma)
        bias = linear_head(self.new_model(0)).bias
        return {**model, bias: shifted(model[bias], gamma)}


def logit_gap(model: Network, client: ClientData, settings: AverageLogitGap, spec: StageSpec) -> Tensors:
    """The client's answer to the query `gap`: `gamma` and `samples`, float64 [classes] each; zeros for no offer."""
    lacking, there = absent(client, spec), counted(client, spec) > 0
    if not lacking.any() or there.sum() < 2:
        return offered(torch.zeros((), device=lacking.device), client, torch.zeros_like(lacking))
    positions = torch.arange(len(client), device=client.targets.device)
    logits = observed(model, client, positions)["logits"].double()
    own = logits.gather(1, client.targets[:, None])[:, 0]
    others = (logits[:, there].sum(1) - own) / (there.sum() - 1)
    gamma = (others - logits[:, lacking].mean(1)).mean()
    return offered(gamma, client, lacking)


REPAIRS = {
    "average_logit_gap": Repair(
        name="average_logit_gap",
        settings=AverageLogitGap,
        strategy=GapServer,
        queries={"gap": logit_gap},
        edits_head=True,
        about="raise the logits of classes that clients lack, by the mean gap to those they have",
    )
}
