"""A model that was made elsewhere: its tensors read from a file, and held against the configured architecture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from fedunlearn.errors import RequestError, listed

NAMED = 3  # how many tensors a sentence names
PICKLES = (b"PK\x03\x04", b"\x80")  # how files begin that torch.save writes, now and long ago
CONVERT = "safetensors.torch.save_model(model, 'model.safetensors')"


def read(path: Path) -> dict[str, Tensor]:
    """The tensors in a safetensors file, by name, on the CPU. Raises RequestError for any other file."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RequestError(f"the model {path} cannot be read ({error.strerror or error})") from error
    if content.startswith(PICKLES):
        raise RequestError(
            f"{path} is a pickle, which can run code when it is read, so it is not read: have it saved with {CONVERT}"
        )
    try:
        return load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise RequestError(f"{path} is no safetensors file ({error}): models are saved with {CONVERT}") from error


def fitting(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """Copies of the given tensors on the CPU, in the order of the architecture's own, which `wanted` are.

    `what`: the architecture, for people. Raises RequestError where names, shapes or types differ, or where a number is
    not finite.
    """
    for names, has in ((wanted.keys() - given.keys(), "lacks"), (given.keys() - wanted.keys(), "has, beyond those,")):
        if names:
            raise RequestError(f"this is no {what}: it {has} the {_some(names)}")
    for name, tensor in wanted.items():
        if given[name].shape != tensor.shape:
            shapes = f"{list(given[name].shape)}, not {list(tensor.shape)}"
            raise RequestError(f"this is no {what}: {name} has the shape {shapes}")
        if given[name].dtype != tensor.dtype:
            raise RequestError(f"this is no {what}: {name} holds {given[name].dtype}, not {tensor.dtype}")
        if not torch.isfinite(given[name]).all():
            raise RequestError(f"this model cannot be used: {name} holds numbers that are not finite")
    return {name: given[name].detach().cpu().clone().contiguous() for name in wanted}


def _some(names: set[str]) -> str:
    shown = sorted(names)[:NAMED]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"tensor{'s' if len(names) > 1 else ''} {listed(shown) if not more else ', '.join(shown) + more}"
