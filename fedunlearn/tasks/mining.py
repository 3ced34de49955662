"""Which pairs and triples of a batch count: the miners of pytorch-metric-learning (Musgrave et al., arXiv 2008.09164).

None of those here draws random numbers. They choose by the values of embeddings, so that no engine can vectorise them
over clients.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fedunlearn.errors import RequestError

NEEDED = "dataset.embedding.miner={} needs the package pytorch-metric-learning: pip install 'fedunlearn[identity]'"


def miner(name: str) -> Any:
    """The miner of that name. Raises RequestError where the package is missing."""
    try:
        from pytorch_metric_learning import miners
    except ImportError as error:
        raise RequestError(NEEDED.format(name)) from error
    kinds = {
        "batch_hard": miners.BatchHardMiner,
        "multi_similarity": miners.MultiSimilarityMiner,
        "triplet_margin": miners.TripletMarginMiner,
    }
    return kinds[name]()


def mined_pairs(name: str, embedded: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The pairs of one individual and those of two that the miner chooses: 1 in row anchor, column partner, [b, b]."""
    from pytorch_metric_learning.utils import loss_and_miner_utils as utils

    labels = _labels(targets)
    chosen = miner(name)(embedded.detach(), labels)
    anchors, own, others_anchors, others = utils.convert_to_pairs(chosen, labels)
    same, other = (torch.zeros(len(labels), len(labels), device=embedded.device) for _ in range(2))
    same[anchors, own] = 1
    other[others_anchors, others] = 1
    return same, other


def mined_triples(name: str, embedded: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Anchor, another image of its individual and one of another: the triples that the miner chooses, int64 [t] each.

    Of a miner of pairs, all triples that its pairs make.
    """
    from pytorch_metric_learning.utils import loss_and_miner_utils as utils

    labels = _labels(targets)
    anchors, own, others = utils.convert_to_triplets(miner(name)(embedded.detach(), labels), labels, t_per_anchor="all")
    return anchors, own, others


def _labels(targets: Tensor) -> Tensor:
    return targets.argmax(1) if targets.dim() == 2 else targets
