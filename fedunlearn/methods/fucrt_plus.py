"""FUCRT+: our own variant of FUCRT, aimed at what retraining leaves behind and not at the lowest forget accuracy.

Not published elsewhere. The audits show three ways in which FUCRT (arXiv 2410.06848) differs from retraining, and
each gets an answer that can be switched off by itself:

- Hard labels make forget samples more confident than a retrained model is about them. Their labels are spread over
  the retain classes as the original model's own prediction is, once the forgotten classes are masked (`labels`), or
  more sharply, sample by sample (`sharpness`).
- The loss pushes the forgotten logit down on the very samples to forget, which leaves it lower there than anywhere
  else. A retrained model never compares it with them: its rows of the head are drawn afresh, and the loss of forget
  samples does not see their logits (`forgotten_logits`).
- Forget samples keep a place of their own in the encoder, from where few samples bring the class back. All weights
  start from w = κ w_o + (1 − κ) w_fresh, shrink and perturb (Ash and Adams, "On warm-starting neural network training",
  NeurIPS 2020), and training brings back what the retained data and the transformed labels ask for (`keep`). A
  retrained model is not trained on forget samples at all; here they can count less than others (`forget_weight`).

Votes, transformation classes and the dual contrastive alignment are FUCRT's; a forget sample's contrastive label is
its transformation class.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fedunlearn.federation import wire
from fedunlearn.federation.federation import ClientData
from fedunlearn.federation.method import Method
from fedunlearn.federation.objective import Assignment, Objective, RoundContext, task_loss
from fedunlearn.federation.spec import StageSpec
from fedunlearn.federation.strategy import Clients, Tensors
from fedunlearn.methods.contrastive import FAR, prototype_contrastive, supervised_contrastive, unit
from fedunlearn.methods.fucrt import FUCRT, FUCRTServer, first_prototypes, kept_features, prototype_uploads
from fedunlearn.methods.relabel import cast_vote
from fedunlearn.methods.soft_relabel import masked_prediction
from fedunlearn.methods.transformation import Selection, labelling_logits, transformed_labels
from fedunlearn.models.base import Network, linear_head, trained
from fedunlearn.randomness import derive
from fedunlearn.settings.schema import NonNegative, Positive, Share
from fedunlearn.tasks.base import Batch
from fedunlearn.tasks.classification import ClassOutputs


@dataclass(frozen=True)
class FUCRTPlus:
    """Hyper-parameters. `keep=1 labels=hard forgotten_logits=seen forget_weight=1` is FUCRT with its labels."""

    selection: Selection = field(default_factory=lambda: Selection(relabel="once"))
    # κ: share of the original weights in those that unlearning starts from; the rest is fresh
    keep: Share = 0.6
    labels: Literal["soft", "hard"] = "soft"  # masked prediction of the original model, or the transformation class
    # s: soft labels are the prediction to this power, q ∝ p^s; 1 leaves it as it is, a large one is nearly hard
    sharpness: Positive = 4.0
    # from the loss of forget samples (hidden: their rows of the head start afresh)
    forgotten_logits: Literal["hidden", "seen"] = "hidden"
    forget_weight: Share = 1.0  # β: of a forget sample in the cross-entropy, where a retain sample counts 1
    local_weight: NonNegative = 0.1  # λ1: contrastive loss inside the batch
    global_weight: NonNegative = 0.1  # λ2: contrastive loss to the global prototypes
    local_temperature: Positive = 0.5  # T_l
    global_temperature: Positive = 0.5  # T_g
    # features by the trained model, in one more pass over the data, or those that the last epoch's passes made anyway
    prototypes_by: Literal["trained", "passes"] = "trained"

    @property
    def alignment(self) -> FUCRT:
        """The part that FUCRT's own functions read."""
        weights = self.local_weight, self.global_weight
        return FUCRT(self.selection, *weights, prototypes_by=self.prototypes_by, first_prototypes="none")


class FUCRTPlusServer(FUCRTServer):
    """FUCRT's server, with another model to start from."""

    def __init__(self, settings: FUCRTPlus, spec: StageSpec, pack: wire.Pack, device: torch.device) -> None:
        super().__init__(settings.alignment, spec, pack, device)
        self.plus = settings

    def prepare(self, model: Tensors, clients: Clients) -> Tensors:
        """The vote on the original model; then the weights to start from, and their prototypes."""
        super().prepare(model, clients)
        settings = self.plus
        fresh = self.new_model(derive(self.spec.seed, self.spec.stage, "fresh"))
        renewed = self.spec.forget_classes if settings.forgotten_logits == "hidden" else ()
        start = mixed(model, fresh, settings.keep, renewed)
        if settings.global_weight > 0:
            self.on_totals(clients.total("prototypes", start))
        return start


@torch.no_grad()
def mixed(model: Tensors, fresh: Network, keep: float, renewed: tuple[int, ...]) -> Tensors:
    """κ w_o + (1 − κ) w_fresh for all parameters that train; the head's rows `renewed` are wholly fresh. Copies."""
    start = {name: value.clone() for name, value in model.items()}
    new = trained(fresh)
    for name, value in new.items():
        start[name] = keep * model[name] + (1 - keep) * value.to(model[name].device)
    for name in linear_head(fresh):
        start[name][list(renewed)] = new[name][list(renewed)].to(start[name].device)
    return start


def assign(
    settings: FUCRTPlus, spec: StageSpec, model: Network, client: ClientData, context: RoundContext
) -> Assignment:
    """Every sample counts. Labels are float [n, classes + 1].

    The label's distribution, then for forget samples 1 + their transformation class (else 0), by which the loss knows
    them.
    """
    shared = context.shared
    hard = transformed_labels(spec, model, client, shared)
    held = client.forget.nonzero()[:, 0]
    distribution = F.one_hot(hard, spec.classes).float()
    if settings.labels == "soft" and len(held):
        logits = labelling_logits(model, client, held, shared)
        distribution[held] = masked_prediction(logits, spec.forget_classes, 1 / settings.sharpness)
    mark = torch.where(client.forget, hard + 1, 0).float()
    return Assignment.alike(client, torch.cat([distribution, mark[:, None]], dim=1))


def objective(settings: FUCRTPlus, spec: StageSpec) -> Objective:
    """L = L_ce + λ1 L_local + λ2 L_global on the labels of `assign`."""

    def loss(outputs: ClassOutputs, batch: Batch, context: RoundContext) -> Tensor:
        distribution, mark = batch.targets[:, :-1], batch.targets[:, -1]
        features, logits, shared = outputs.features, outputs.logits, context.shared
        if settings.forgotten_logits == "hidden":
            logits = hidden(logits, mark > 0, spec.forget_classes)
        weights = batch.weights * torch.where(mark > 0, settings.forget_weight, 1.0)
        total = task_loss(ClassOutputs(features, logits), Batch(batch.inputs, distribution, weights), context)
        z, hard, whole = unit(features), contrastive_labels(distribution, mark), batch.plain
        if not whole:
            hard = hard.masked_fill(batch.weights == 0, -1)
        if settings.local_weight > 0:
            local = supervised_contrastive(z, hard, settings.local_temperature, whole)
            total = total + settings.local_weight * local
        if settings.global_weight > 0:
            prototypes, known = shared["prototypes"], shared["known"].bool()
            distant = prototype_contrastive(z, hard, prototypes, known, settings.global_temperature, whole)
            total = total + settings.global_weight * distant
        return total

    def uploads(model: Network, client: ClientData, context: RoundContext) -> Tensors:
        return prototype_uploads(settings.alignment, spec, model, client, context)

    return Objective(partial(assign, settings, spec), loss, uploads, keep=kept_features(settings.alignment))


def hidden(logits: Tensor, forget: Tensor, forget_classes: tuple[int, ...]) -> Tensor:
    """Logits [b, classes] with the forgotten ones far below all others in the rows `forget` (bool [b])."""
    forgotten = torch.zeros(logits.shape[1], dtype=torch.bool, device=logits.device)
    forgotten[list(forget_classes)] = True
    return logits.masked_fill(forget[:, None] & forgotten[None, :], FAR)


def contrastive_labels(distribution: Tensor, mark: Tensor) -> Tensor:
    """int64 [b]: transformation class of forget samples, own label of others."""
    return torch.where(mark > 0, mark.long() - 1, distribution.argmax(1))


METHODS = {
    "fucrt_plus": Method(
        name="fucrt_plus",
        title="FUCRT+",
        settings=FUCRTPlus,
        grid={"method.sharpness": (4.0, 2.0, 1.0), "method.forget_weight": (1.0, 0.3)},
        objective=objective,
        strategy=FUCRTPlusServer,
        queries={"vote": cast_vote, "prototypes": first_prototypes},
        levels=frozenset({"class"}),
    )
}
