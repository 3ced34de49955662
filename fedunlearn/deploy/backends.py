"""Who rounds the weights: our own definition of a format, or a library that does it in its own way."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from torch import nn

from fedunlearn.deploy.base import Format, Quantiser, rounded, weights_of
from fedunlearn.settings import registry
from fedunlearn.settings.config import DeployConfig


@dataclass(frozen=True)
class Plan:
    """The tensors of a model that are rounded, and those that a backend has to leave in float32."""

    rounded: list[str]
    left: list[str] = field(default_factory=list)


def plan(network: nn.Module, deploy: DeployConfig) -> Plan:
    """What becomes of the weights of a model's convolutions and linear layers."""
    return Plan(weights_of(network))


def quantiser(name: str, deploy: DeployConfig) -> Quantiser:
    """What rounds a layer's weights to the format called `name`. Raises RequestError for one that does not exist."""
    return partial(rounded, format=registry.find(Format, name), group_size=deploy.group_size)
