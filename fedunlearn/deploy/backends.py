"""Who rounds the weights: our own definition of a format, or a library that does it in its own way."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from torch import nn

from fedunlearn.deploy import torchao
from fedunlearn.deploy.base import Format, Quantiser, rounded, weights_of
from fedunlearn.settings import registry
from fedunlearn.settings.config import DeployConfig


@dataclass(frozen=True)
class Plan:
    """The tensors of a model that are rounded, and those that the backend has to leave in float32."""

    rounded: tuple[str, ...]
    left: tuple[str, ...]

    @property
    def remark(self) -> str:
        """A sentence on what is left out, if anything is."""
        if not self.left:
            return ""
        return (
            f"deploy.backend=torchao leaves {', '.join(self.left)} in float32: it cannot round layers with one input "
            "channel per group"
        )


def check(deploy: DeployConfig) -> None:
    """Can the formats be made in this way? Raises RequestError."""
    if deploy.formats and deploy.backend == "torchao":
        torchao.check(deploy)


def plan(network: nn.Module, deploy: DeployConfig) -> Plan:
    """What becomes of the weights of a model's convolutions, linear layers and embeddings."""
    names, tensors = weights_of(network), network.state_dict()
    can = [deploy.backend == "reference" or torchao.can_round(tensors[name]) for name in names]
    return Plan(
        *(tuple(name for name, fits in zip(names, can, strict=True) if fits is wanted) for wanted in (True, False))
    )


def quantiser(name: str, deploy: DeployConfig) -> Quantiser:
    """What rounds a layer's weights to the format called `name`. Raises RequestError for one that does not exist."""
    if deploy.backend == "torchao":
        return partial(torchao.rounded, name=name)
    return partial(rounded, format=registry.find(Format, name), group_size=deploy.group_size)
