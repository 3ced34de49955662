"""What repairs of the head's bias have in common: which classes a client lacks, and numbers added to logits.

Only retained classes are touched: the logit of a forgotten class is what it was, to the bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fedunlearn.federation.federation import ClientData
from fedunlearn.federation.spec import StageSpec
from fedunlearn.federation.strategy import Tensors


def counted(client: ClientData, spec: StageSpec) -> Tensor:
    """How many samples of each class a client holds, int64 [classes]."""
    return torch.bincount(client.targets, minlength=spec.classes)


def absent(client: ClientData, spec: StageSpec) -> Tensor:
    """The retained classes of which a client holds no sample, bool [classes]; never a forgotten class."""
    lacking = counted(client, spec) == 0
    lacking[list(spec.forget_classes)] = False
    return lacking


def offered(gamma: Tensor, client: ClientData, lacking: Tensor) -> Tensors:
    """A client's share in the gammas of the classes that it lacks: `gamma` (times its samples) and `samples`."""
    weight = lacking.double() * len(client)
    return {"gamma": torch.where(lacking, weight * gamma.double(), 0.0), "samples": weight}


def averaged(totals: Mapping[str, Tensor], spec: StageSpec, centred: bool) -> Tensor:
    """Each class's gamma, float64 [classes], from what clients offered: 0 where nobody lacks the class.

    `centred`: their mean over the retained classes is taken out, so that these as a whole keep their standing towards
    forgotten ones, and among themselves.
    """
    samples = totals["samples"]
    gamma = torch.where(samples > 0, totals["gamma"] / samples.clamp_min(1), 0.0)
    if centred:
        kept = list(spec.retain_classes)
        gamma[kept] -= gamma[kept].mean()
    return gamma


def shifted(bias: Tensor, gamma: Tensor) -> Tensor:
    """The bias with `gamma` added, in its own type."""
    return (bias.double() + gamma.to(bias.device)).to(bias.dtype)


def told(gamma: Tensor) -> dict[str, Any]:
    """The gammas that are not 0, by the number of the class, for the summary."""
    return {"gamma": {str(label): float(gamma[label]) for label in gamma.nonzero()[:, 0].tolist()}}
