"""What keeps a model useful while it forgets: the second term of gradient difference and of NPO.

Either the task's own loss on retain samples ("gradient descent on the retain set", GDR, in the literature on language
models), or the divergence of what the model says of them from what the original model says (KLR).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from fedunlearn.federation.federation import ClientData
from fedunlearn.federation.objective import RoundContext, Tensors
from fedunlearn.federation.strategy import Clients, UnlearningStrategy
from fedunlearn.tasks.base import Batch, weighted_mean

ORIGINAL = "original/"  # prefix of the original model's tensors among the shared ones
Retain = Literal["none", "ce", "kl"]
TASKS = frozenset({"classification", "language"})  # where a model puts out logits


class OriginalServer(UnlearningStrategy):
    """FedAvg, with the original model sent along for clients to compare with.

    A client would keep it, so that its bytes count in the first round alone (exact if all clients take part in that).
    """

    def prepare(self, model: Tensors, clients: Clients) -> Tensors:
        """Share the original model."""
        self.shared = {ORIGINAL + name: value for name, value in model.items()}
        return model

    def payload(self, content: Any) -> int:
        """Bytes of a message, without an original model that has been sent before."""
        total, again = super().payload(content), "task" in content and self.cost.rounds > 0
        return total - sum(value.nbytes for value in self.shared.values()) if again else total


def original(shared: Tensors) -> Tensors:
    """The original model's tensors by name."""
    return {name.removeprefix(ORIGINAL): value for name, value in shared.items() if name.startswith(ORIGINAL)}


def signs(client: ClientData, retain: Retain) -> Tensor:
    """Weights [n]: −1 of forget samples; of the others 1, or 0 where nothing is done for them."""
    return torch.where(client.forget, -1.0, 0.0 if retain == "none" else 1.0)


def retained(retain: Retain, outputs: Any, batch: Batch, context: RoundContext) -> Tensor:
    """The loss of the retain samples of a batch (those of a positive weight), scalar; 0 if there are none."""
    weights = (batch.weights > 0).to(batch.weights.dtype)
    if retain == "none":
        return torch.zeros((), device=weights.device)
    if retain == "ce":
        return weighted_mean(context.task.losses(outputs, batch), weights)
    reference = context.said_by(original(context.shared), batch)
    return weighted_mean(divergence(reference.logits, outputs.logits, batch), weights)


def divergence(reference: Tensor, logits: Tensor, batch: Batch) -> Tensor:
    """KL(p_reference ‖ p) of each sample, [b], at least 0; of text, the mean over the answer's tokens."""
    p, q = reference.log_softmax(-1), logits.log_softmax(-1)
    each = (p.exp() * (p - q)).sum(-1)
    return each if each.dim() == 1 else (each * (batch.targets >= 0)).sum(1) / (batch.targets >= 0).sum(1).clamp_min(1)


@torch.no_grad()
def surprise(model: Tensors, client: ClientData, positions: Tensor, context: RoundContext) -> Tensor:
    """−log p of the whole target of each sample at `positions` by the model with these tensors, float [m]."""
    found = [torch.zeros(0, device=positions.device)]
    for part in torch.split(positions, client.task.at_once) if len(positions) else ():
        batch = client.batch(part)
        found.append(client.task.losses(context.said_by(model, batch), batch) * client.task.length(batch))
    return torch.cat(found)
