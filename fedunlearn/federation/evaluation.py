"""The server's look at the global model after every round."""

from __future__ import annotations

import torch
from torch import Tensor

from fedunlearn.federation.local import EVALUATION_BATCH
from fedunlearn.federation.world import World


@torch.no_grad()
def class_accuracy(world: World, state: dict[str, Tensor]) -> list[float]:
    """Test accuracy of every class, in [0, 1], with arg max over all classes."""
    labels = world.test.labels
    with world.borrowed_model() as model:
        model.load_state_dict(state)
        model.eval()
        right = torch.cat(
            [
                model(world.normalise(images).contiguous(memory_format=torch.channels_last)).argmax(1) == truth
                for images, truth in zip(
                    world.test.images.split(EVALUATION_BATCH), labels.split(EVALUATION_BATCH), strict=True
                )
            ]
        )
    hits = torch.bincount(labels[right], minlength=world.dataset.classes)
    return (hits / torch.bincount(labels, minlength=world.dataset.classes)).tolist()
