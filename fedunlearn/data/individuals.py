"""What datasets of individuals (persons, animals) have in common: how embeddings of their images are learnt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fedunlearn.settings.schema import Count, Positive


@dataclass(frozen=True)
class Embedding:
    """How images become vectors of which those of one individual are near each other."""

    # pairs or triples of images in a batch, or a cosine for each individual (a control)
    loss: Literal["contrastive", "triplet", "cross_entropy"] = "contrastive"
    margin: Positive | None = None  # how far apart individuals are to be; null: 1 (contrastive) or 0.2 (triplet)
    distance: Literal["unit", "euclidean"] = "unit"  # between embeddings of length 1, or as they are
    # which pairs or triples count; all but none need pip install 'fedunlearn[identity]'
    miner: Literal["none", "batch_hard", "multi_similarity", "triplet_margin"] = "none"
    images: Count = 4  # of an individual that come into a batch together
    hidden: Count = 256  # units between the model's features and the embedding
    width: Count = 128  # numbers in an embedding
    scale: Positive = 16.0  # of the cosines, where the loss is cross_entropy
