"""Which methods can train adapters in place of whole models."""

from __future__ import annotations

from fedunlearn.errors import RequestError
from fedunlearn.federation.method import Method
from fedunlearn.federation.spec import StageSpec
from fedunlearn.models.base import Network
from fedunlearn.models.lora import Lora, matrices
from fedunlearn.settings.config import RunConfig


def check(method: Method, config: RunConfig, spec: StageSpec, model: Network) -> None:
    """Can the method train this model by adapters? Raises RequestError."""
    settings = config.adapter.settings
    if not isinstance(settings, Lora):
        return
    why = _hindrance(method, config, spec)
    if why:
        raise RequestError(f"adapter={config.adapter.name} does not go with method {method.name}, which {why}")
    matrices(model, settings.targets)


def _hindrance(method: Method, config: RunConfig, spec: StageSpec) -> str:
    if method.start == "fresh":
        return "starts from a fresh model: there is nothing to adapt"
    if not method.trains(config):
        return untrained(method)
    if method.objective(config.method.settings, spec).constrain is not None:
        return "corrects single weights after every step, while an adapter moves all of a layer's"
    return ""


def untrained(method: Method) -> str:
    """What a method without rounds does, for a sentence on why it has no steps to change."""
    return "is a finished model" if method.given else "edits weights without training"
