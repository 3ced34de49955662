"""Transformation classes: which retain classes the forget samples are moved to (first stage of FUCRT).

Guo et al., "Forgetting through Transforming: Enabling Federated Unlearning via Class-Aware Representation
Transformation", arXiv 2410.06848 (v1). The rule, as publicly described: a client evaluates the original model on its
correctly classified forget samples and adds up, per class, the second-highest probability of each; the classes whose
sum passes a threshold are its local set; a client with too few forget samples abstains. The server gives the global
set the most frequent size among the local sets and fills it with the classes that got most votes. In training, a
forget sample's label becomes the most probable class inside the global set. No equation of the paper was available
to us, so everything that is a choice below is a field of `Selection`; the defaults are our reading.

A model without logits, which embeds images of individuals, has instead of them the distances to the individuals'
*anchors*: the means of what the model that unlearning starts from makes of their images (our reading too).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.func import functional_call

from fedunlearn.federation.federation import ClientData
from fedunlearn.federation.objective import Tensors
from fedunlearn.federation.sgd import EVALUATION_BATCH, observed
from fedunlearn.federation.spec import StageSpec
from fedunlearn.models.base import Network
from fedunlearn.settings.schema import NonNegative, Whole

ORIGINAL = "original/"  # prefix of the original model's tensors among the shared ones
ANCHORS, ANCHORED = "anchors", "anchored"  # shared for models without logits: [classes, d], and which there are
SOFTNESS = 0.1  # squared distance to an anchor by which a probability falls to 1/e of what it was


@dataclass(frozen=True)
class Selection:
    """How transformation classes are chosen."""

    threshold: NonNegative = 0.2  # τ1: a class enters a client's set above this
    threshold_on: Literal["share", "sum"] = "share"  # compare τ1 with the class's share of the sums, or with its sum
    min_samples: Whole = 10  # τ2: a client votes only if it has more forget samples (of the class) than this
    sets: Literal["per_class", "pooled"] = "per_class"  # one set for each forgotten class, or one for all of them
    relabel: Literal["round", "once"] = "round"  # t(x) by the model received each round, or by the original model
    vote: Literal["clients", "sample"] = "clients"  # the clients' votes, or no set: each sample's own runner-up class


def vote(model: Network, client: ClientData, selection: Selection, spec: StageSpec) -> Tensors:
    """A client's ballot, made so that ballots can be added up.

    `sizes`: [groups, classes + 1], a one at the size of the local set (all zero: abstained); `votes`: [groups,
    classes], a one for every member. A group is a forgotten class, or all of them (`sets`).
    """
    groups = grouping(selection, spec)
    sizes = torch.zeros(len(groups), spec.classes + 1)
    votes = torch.zeros(len(groups), spec.classes)
    for row, group in enumerate(groups):
        held = torch.isin(client.targets, torch.tensor(group, device=client.targets.device)).nonzero()[:, 0]
        if len(held) <= selection.min_samples:
            continue
        probabilities = logits_by(model, client, held, client.shared).softmax(1)
        members = local_set(probabilities, client.targets[held], spec.retain_classes, selection).cpu()
        if members.any():
            sizes[row, int(members.sum())] = 1
            votes[row] = members.float()
    return {"sizes": sizes, "votes": votes}


def grouping(selection: Selection, spec: StageSpec) -> list[list[int]]:
    """The forgotten classes, in the groups that share a transformation set."""
    classes = list(spec.forget_classes)
    return [classes] if selection.sets == "pooled" else [[label] for label in classes]


def local_set(probabilities: Tensor, labels: Tensor, retain: tuple[int, ...], selection: Selection) -> Tensor:
    """Members of a client's transformation set, bool [classes].

    `probabilities` [n, classes] of the original model on forget samples with true `labels` [n]. Only correctly
    classified samples count; the second-highest probability is looked for among the retain classes, which makes a
    difference when several classes are forgotten (our reading).
    """
    right = probabilities[probabilities.argmax(1) == labels]
    allowed = torch.zeros(probabilities.shape[1], dtype=torch.bool, device=probabilities.device)
    allowed[list(retain)] = True
    second, runner_up = right.masked_fill(~allowed, -1.0).max(1)
    sums = torch.zeros_like(allowed, dtype=second.dtype).index_add(0, runner_up, second)
    measure = sums / sums.sum().clamp_min(1e-12) if selection.threshold_on == "share" else sums
    return measure > selection.threshold


def elect(ballots: Tensors, selection: Selection, spec: StageSpec) -> Tensor:
    """The global sets from the summed ballots: bool [forgotten classes, classes].

    The size is the mode of the local sizes (ties: the smaller), the members are the classes with most votes (ties:
    the lower class number). Where every client abstained, all retain classes are allowed (our reading).
    """
    allowed = torch.zeros(len(spec.forget_classes), spec.classes, dtype=torch.bool)
    groups = grouping(selection, spec)
    for row, group in enumerate(groups):
        sizes, votes = ballots["sizes"][row].cpu(), ballots["votes"][row].cpu()
        if selection.vote == "sample" or not sizes.any():
            members = torch.tensor(spec.retain_classes)
        else:
            members = votes.sort(descending=True, stable=True).indices[: int(sizes.argmax())]
        for label in group:
            allowed[spec.forget_classes.index(label), members] = True
    return allowed


def transformed_labels(spec: StageSpec, model: Network, client: ClientData, shared: Tensors) -> Tensor:
    """Retain samples with their own label; forget samples with their most probable transformation class.

    `shared["allowed"]`: [forgotten classes, classes], non-zero for the members of each global set.
    """
    labels = client.targets.clone()
    held = client.forget.nonzero()[:, 0]
    if len(held):
        allowed = shared["allowed"].bool()
        if len(allowed) > 1:  # one row for each forgotten class
            forgotten = torch.tensor(spec.forget_classes, device=labels.device)
            allowed = allowed[(labels[held, None] == forgotten).byte().argmax(1)]
        labels[held] = labelling_logits(model, client, held, shared).masked_fill(~allowed, -torch.inf).argmax(1)
    return labels


def labelling_logits(model: Network, client: ClientData, held: Tensor, shared: Tensors) -> Tensor:
    """Logits [m, classes] of the samples at positions `held`, by the model that decides about labels.

    That is the received model, or the original one where the server sent it along (`relabel="once"`).
    """
    if not any(name.startswith(ORIGINAL) for name in shared):
        return logits_by(model, client, held, shared)
    said = logits_of(ORIGINAL, shared, model, client, held)
    return nearness(said, shared) if ANCHORS in shared else said


def logits_by(model: Network, client: ClientData, held: Tensor, shared: Tensors) -> Tensor:
    """Logits [m, classes] of the samples at positions `held`, or what stands for them where there are anchors."""
    said = observed(model, client, held)
    return nearness(said["features"], shared) if ANCHORS in shared else said["logits"]


def nearness(embedded: Tensor, shared: Tensors) -> Tensor:
    """Minus the squared distances of embeddings [m, d] to the anchors over `SOFTNESS`, [m, classes]; -inf for none."""
    squares = torch.cdist(embedded, shared[ANCHORS]).square()
    return (-squares / SOFTNESS).masked_fill(~shared[ANCHORED].bool(), -torch.inf)


def embedding_sums(model: Network, client: ClientData, settings: Any, spec: StageSpec) -> Tensors:
    """Sums [classes, d] and counts [classes] of the embeddings of all that a client holds: the query `anchors`."""
    return sums_of(model, client, torch.arange(len(client), device=client.targets.device), spec)


def sums_of(model: Network, client: ClientData, rows: Tensor, spec: StageSpec) -> Tensors:
    """Sums [classes, d] and counts [classes] of the embeddings of the samples at positions `rows`."""
    z, labels = observed(model, client, rows)["features"], client.targets[rows]
    sums = torch.zeros(spec.classes, z.shape[1], device=z.device).index_add(0, labels, z)
    return {"sums": sums, "counts": torch.bincount(labels, minlength=spec.classes).float()}


def anchors_of(totals: Tensors, device: torch.device) -> Tensors:
    """What is shared of the clients' sums: the means, and of which classes there are some."""
    counts = totals["counts"]
    means = (totals["sums"] / counts.clamp_min(1)[:, None]).float()
    return {ANCHORS: means.to(device), ANCHORED: (counts > 0).to(torch.uint8).to(device)}


@torch.no_grad()
def logits_of(prefix: str, shared: Tensors, model: Network, client: ClientData, held: Tensor) -> Tensor:
    """Logits [m, classes] by another model, whose tensors are shared under `prefix`; `model` lends its architecture.

    Of a model without logits, embeddings [m, d].
    """
    other = {name.removeprefix(prefix): value for name, value in shared.items() if name.startswith(prefix)}
    parts = [functional_call(model, other, (client.inputs(part),)) for part in torch.split(held, EVALUATION_BATCH)]
    return torch.cat(parts)
