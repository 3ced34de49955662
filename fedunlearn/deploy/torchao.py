"""torchao as a second opinion on intB: `pip install "fedunlearn[torchao]"`.

Its grid is another one than ours, so that numbers differ: `IntxWeightOnlyConfig` with `PerAxis(0)` gives a linear layer
one scale per output channel, but a convolution one per output channel and position of its kernel, over the input
channels; and the scale is max |w| / (2^(B-1) - 0.5), so that the largest positive weight is clipped. Layers with one
input channel per group (the first of grey images, depthwise convolutions) it cannot round (0.18): they stay in float32.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from fedunlearn.deploy.base import Rounded
from fedunlearn.errors import RequestError, listed
from fedunlearn.settings.config import DeployConfig

ROUNDS = ("int8", "int4", "int3")  # called as torch calls the dtypes


def check(deploy: DeployConfig) -> None:
    """Can it do what is asked? Raises RequestError."""
    if find_spec("torchao") is None:
        install = 'pip install "fedunlearn[torchao]"'
        raise RequestError(f"deploy.backend=torchao needs the package torchao, which is not installed: {install}")
    if others := [name for name in deploy.formats if name not in ROUNDS]:
        raise RequestError(f"deploy.backend=torchao is for {listed(ROUNDS)}, not for {listed(others)}")
    if deploy.group_size is not None:
        raise RequestError(
            f"deploy.backend=torchao has scales of its own, so that deploy.group_size={deploy.group_size} is for "
            "deploy.backend=reference alone"
        )


def can_round(weight: Tensor) -> bool:
    """Does the layer have more than one input channel per group?"""
    return weight.shape[1] > 1


def rounded(weight: Tensor, name: str) -> Rounded:
    """The weights [outputs, inputs, …] of a layer in the format called `name`."""
    from torchao.quantization import IntxWeightOnlyConfig, quantize_
    from torchao.quantization.granularity import PerAxis

    layer = nn.Conv2d(1, 1, 1) if weight.dim() == 4 else nn.Linear(1, 1)  # torchao rounds modules, and reads no shape
    layer.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    config = IntxWeightOnlyConfig(weight_dtype=getattr(torch, name), granularity=PerAxis(0))
    quantize_(layer, config, filter_fn=lambda module, _: module is layer)
    found: Any = layer.weight
    halves = (found.scale.double() / 2).expand(weight.shape)
    return Rounded(found.dequantize(), found.qdata.to(torch.int16), halves)
