"""Identity: images of one individual are to lie near each other, and far from those of others.

A model puts out an embedding instead of logits. Two images are held to show the same individual if their embeddings
are near enough, so that individuals are recognised whom the model was never trained on: that is what such models are
for, and why forgetting an individual means falling to that level and not to zero.

A pair or triple of images has a loss, not an image. What is an image's own here is the mean over the pairs in which it
is the *anchor*, so that the mean over images is the mean over pairs with every anchor counting the same, and a method
that weighs samples weighs anchors. The forms of the losses are those of Trein and Garcia, arXiv 2501.02112 (our reading
of their public code); which pairs count, unless a miner says so, is said at each of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedunlearn.data.individuals import Embedding
from fedunlearn.data.types import Dataset, Inputs
from fedunlearn.models.base import Network
from fedunlearn.tasks.base import Batch, Task
from fedunlearn.tasks.mining import mined_pairs, mined_triples, miner

TINY = 1e-6  # least squared distance under a root, whose slope at 0 is infinite
MARGINS = {"contrastive": 1.0, "triplet": 0.2, "cross_entropy": 0.0}  # where the margin is null
ROWS = 512  # compared with all others at a time


@dataclass(frozen=True)
class IdentityOutputs:
    """`features`: embeddings, float [b, d]. `logits`: float [b, individuals], if the loss is cross-entropy."""

    features: Tensor
    logits: Tensor | None = None


class Projection(nn.Module):
    """From features [n, d] to embeddings [n, width], of length 1 where they are compared so.

    `centres` [individuals, width]: a direction for each, if the loss is cross-entropy.
    """

    def __init__(self, options: Embedding, features: int, individuals: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(features, options.hidden), nn.ReLU(), nn.Linear(options.hidden, options.width)
        )
        self._unit = options.distance == "unit"
        if options.loss == "cross_entropy":
            self.centres = nn.Parameter(torch.randn(individuals, options.width) / options.width**0.5)

    def forward(self, features: Tensor) -> Tensor:
        """Embeddings [n, width]."""
        embedded: Tensor = self.layers(features)
        return F.normalize(embedded, dim=1) if self._unit else embedded


def outputs(options: Embedding, model: Network, inputs: Inputs) -> IdentityOutputs:
    """Embeddings and, for cross-entropy, `scale` times their cosines with the individuals' centres."""
    embedded = model.head(model.features(inputs))
    if options.loss != "cross_entropy":
        return IdentityOutputs(embedded)
    centres = model.get_parameter("head.centres")
    cosines = F.normalize(embedded, dim=1) @ F.normalize(centres, dim=1).T
    return IdentityOutputs(embedded, options.scale * cosines)


def losses(options: Embedding, outputs: IdentityOutputs, batch: Batch) -> Tensor:
    """The loss of every image [b] as an anchor in its batch; 0 for those without a partner.

    Images whose weight is 0 are nobody's partner. Targets are individuals, int64 [b], or shares of them, float [b,
    individuals].
    """
    if outputs.logits is not None:
        return F.cross_entropy(outputs.logits, batch.targets, reduction="none")
    margin = options.margin or MARGINS[options.loss]
    squares, same, other = distances(outputs.features), *partners(batch)
    if options.loss == "contrastive":
        if options.miner != "none":
            same, other = mined_pairs(options.miner, outputs.features, batch.targets)
        return contrastive(squares, same, other, margin)
    if options.miner != "none":
        return of_triples(squares, mined_triples(options.miner, outputs.features, batch.targets), margin)
    return all_triplets(squares, same, other, margin)


def distances(embedded: Tensor) -> Tensor:
    """Squared Euclidean distances [b, b] of embeddings [b, d]."""
    squares = embedded.square().sum(1)
    return torch.addmm(squares[:, None] + squares, embedded, embedded.T, alpha=-2).clamp_min(0)


def partners(batch: Batch) -> tuple[Tensor, Tensor]:
    """How much each image (column) is another one of the anchor's (row) individual, and of another; float [b, b]."""
    targets, there = batch.targets, (batch.weights != 0).float()
    same = targets @ targets.T if targets.dim() == 2 else (targets[:, None] == targets).float()
    pairs = there[:, None] * there * (1 - torch.eye(len(there), device=there.device))
    return same * pairs, (1 - same) * pairs


def contrastive(squares: Tensor, same: Tensor, other: Tensor, margin: float) -> Tensor:
    """The mean d² over an anchor's own and the mean max(0, m − d)² over others nearer than m, added up; [b].

    The study draws one partner of each kind. Others that are farther than the margin have no gradient; a mean that
    counts them vanishes as training goes on, so they do not count.
    """
    short = (margin - squares.clamp_min(TINY).sqrt()).clamp_min(0)
    violating = other * (short > 0)
    return _mean(squares, same) + _mean(short.square(), violating)


def all_triplets(squares: Tensor, same: Tensor, other: Tensor, margin: float) -> Tensor:
    """The mean of max(0, d² to an own − d² to another + m) over an anchor's triplets where it is not 0, [b].

    The study draws triplets at random. "Batch all", without those that are learnt already: Hermans et al., "In Defense
    of the Triplet Loss for Person Re-Identification", arXiv 1703.07737; `miner="batch_hard"` counts the hardest alone.
    """
    loss = (squares[:, :, None] - squares[:, None, :] + margin).clamp_min(0)
    violating = same[:, :, None] * other[:, None, :] * (loss > 0)
    return _mean(loss.flatten(1), violating.flatten(1))


def of_triples(squares: Tensor, triples: tuple[Tensor, Tensor, Tensor], margin: float) -> Tensor:
    """The mean of max(0, d² to an own − d² to another + m) over an anchor's triples [t], [b]."""
    anchors, own, others = triples
    loss = (squares[anchors, own] - squares[anchors, others] + margin).clamp_min(0)
    nothing = torch.zeros(len(squares), device=squares.device)
    return nothing.index_add(0, anchors, loss) / nothing.index_add(0, anchors, torch.ones_like(loss)).clamp_min(1)


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """Over each row, weighted; 0 where no weight is left."""
    total = weights.sum(1)
    return (values * weights).sum(1) / torch.where(total > 0, total, 1.0)


def likelihood(options: Embedding, outputs: IdentityOutputs, batch: Batch) -> Tensor:
    """exp(−loss) [b]: for cross-entropy the probability of the individual; 1 where an anchor could not be better."""
    return (-losses(options, outputs, batch)).exp()


def among(embedded: Tensor, targets: Tensor) -> Tensor:
    """Rank-1 [n]: 1 where the nearest of all other images shows the same individual, else 0."""
    found = []
    for rows in torch.split(torch.arange(len(embedded), device=embedded.device), ROWS):
        apart = torch.cdist(embedded[rows], embedded, compute_mode="donot_use_mm_for_euclid_dist")
        apart[torch.arange(len(rows), device=rows.device), rows] = torch.inf
        found.append(targets[apart.argmin(1)] == targets[rows])
    return torch.cat(found).float()


def chance(dataset: Dataset) -> float:
    """The share of pairs of test images that show the same individual."""
    counts = torch.bincount(dataset.test.groups).double()
    return float((counts * (counts - 1)).sum() / (len(dataset.test) * (len(dataset.test) - 1)))


def together(images: int, rows: Tensor, targets: Tensor, size: int, order: torch.Generator) -> list[Tensor]:
    """Batches of P individuals and K = `images` images of each, where there are as many; every image once an epoch.

    An individual's images are shuffled and cut into groups of K (a rest of one joins the group before it); groups come
    into batches of about `size` in random order. As they are, if they fit into one batch.
    """
    if len(rows) <= size:
        return [rows] if len(rows) > 1 else []
    mixed = rows.cpu()[torch.randperm(len(rows), generator=order)]
    named = targets.cpu()[mixed]
    named = named.argmax(1) if named.dim() == 2 else named
    groups = [group for who in torch.unique(named) for group in _in_groups(mixed[named == who], images)]
    batches = _filled([groups[place] for place in torch.randperm(len(groups), generator=order)], size)
    return [batch.to(rows.device) for batch in batches if len(batch) > 1]


def _in_groups(own: Tensor, images: int) -> list[Tensor]:
    groups = list(torch.split(own, images))
    if len(groups) > 1 and len(groups[-1]) == 1:
        groups[-2:] = [torch.cat(groups[-2:])]
    return groups


def _filled(groups: list[Tensor], size: int) -> list[Tensor]:
    """Groups one after the other, a new batch as soon as one holds `size`; a last one that is but half full joins."""
    batches: list[list[Tensor]] = [[]]
    for group in groups:
        if sum(map(len, batches[-1])) >= size:
            batches.append([])
        batches[-1].append(group)
    if len(batches) > 1 and 2 * sum(map(len, batches[-1])) < size:
        batches[-2:] = [batches[-2] + batches[-1]]
    return [torch.cat(batch) for batch in batches]


def kept(outputs: IdentityOutputs, batch: Batch) -> dict[str, Tensor]:
    """Nothing but the embeddings or, for cross-entropy, `logits` as well."""
    return {} if outputs.logits is None else {"logits": outputs.logits}


def configured(options: Embedding) -> Task:
    """The task with these options. Raises RequestError for a miner whose package is missing."""
    if options.miner != "none":
        miner(options.miner)
    return Task(
        name="identity",
        head=lambda width, dataset: Projection(options, width, dataset.classes),
        outputs=partial(outputs, options),
        losses=partial(losses, options),
        likelihood=partial(likelihood, options),
        score=lambda outputs, batch: among(outputs.features, batch.targets),
        among=among,
        kept=kept,
        chance=chance,
        unseen_at_chance=False,
        libraries=() if options.miner == "none" else ("pytorch-metric-learning",),
        batches=partial(together, options.images),
        configured=configured,
    )


TASKS = {"identity": configured(Embedding())}
