"""The models of a run as files that anybody can audit or ship: `models/unlearned.safetensors` and so on."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save

from fedunlearn.files import replacing
from fedunlearn.runs.pipeline import Outcome

FOLDER = "models"


def write(work: Path, outcome: Outcome) -> None:
    """Every model in every form, under its label: `original`, `retrained_0`, `unlearned`, `unlearned.int4` …"""
    for each in outcome.models:
        content = save({name: tensor.contiguous() for name, tensor in each.model.tensors.items()})
        with replacing(work / FOLDER / f"{each.step.label}.safetensors") as temporary:
            temporary.write_bytes(content)


def are_there(folder: Path) -> bool:
    """Does a finished run's folder hold its models?"""
    return (folder / FOLDER / "unlearned.safetensors").is_file()
