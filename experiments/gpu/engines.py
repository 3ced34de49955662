"""Does every engine on this device come to what the CPU comes to? Every method, after two rounds of each stage.

    python -m experiments.gpu.engines [--quick] TABLE.csv WORK

A row of the table is an engine and a method: `deviation`, the largest difference of a weight of the unlearned model in
units of the largest weight of its tensor (at least 1); `within` the tolerance, or not; and what it took. Convolutions
are computed without TensorFloat-32, which rounds to three digits. Rows that are there are not computed again.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from experiments import sweeps
from fedunlearn.cli import command_line
from fedunlearn.cli.main import conf_dir
from fedunlearn.runs import pipeline
from fedunlearn.runs.console import Console
from fedunlearn.runs.pipeline import Outcome
from fedunlearn.settings import registry
from fedunlearn.settings.config import RunConfig
from fedunlearn.tasks.base import defined

ENGINES = ("local", "stacked", "ray")
TOLERANCE = 1e-3  # of float32, after the four rounds of two stages; sums are in another order
SIZE = ("data.limit=400", "partition.clients=5", "train.rounds=2", "unlearn.rounds=2", "retrain.seeds=1", "gates=warn")
BRIEFLY = ("audit=quick", "audit.ausuc=null", "report.figures=false", "model.width=4")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("table", type=Path)
    parser.add_argument("work", type=Path)
    asked = parser.parse_args()
    sweeps.settle()
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    engines, methods = (ENGINES[:2], ["finetune", "fucrt"]) if asked.quick else (ENGINES, every_method())
    frame = compared(asked.table, asked.work, "auto", engines, methods)
    print(frame.to_string(index=False))
    beyond = frame[~frame["within"].astype(bool)]
    if len(beyond):
        sys.exit(f"beyond {TOLERANCE:g}: " + ", ".join(f"{row.method} on {row.engine}" for row in beyond.itertuples()))


def every_method() -> list[str]:
    """The names of the methods that classes can be forgotten by, without finished models."""
    members = [registry.find("method", name) for name in registry.names("method")]
    fitting = [m for m in members if not m.given and "class" in m.levels and defined(m.tasks, "classification")]
    return [member.name for member in fitting]


def compared(path: Path, work: Path, device: str, engines: tuple[str, ...], methods: list[str]) -> pd.DataFrame:
    """The table, with a row for each of these engines and methods, kept in the file after each of them."""
    frame = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=["engine", "method"])
    for engine, method in _missing(frame, engines, methods):
        config = configured(method, work)
        row = {"engine": engine, "method": method, **comparison(config, engine, device)}
        frame = pd.concat([frame, pd.DataFrame([row])], ignore_index=True) if len(frame) else pd.DataFrame([row])
        sweeps.write_csv(path, frame)
        print(row, flush=True)
    return frame


def _missing(frame: pd.DataFrame, engines: tuple[str, ...], methods: list[str]) -> Iterator[tuple[str, str]]:
    known = set(zip(frame["engine"], frame["method"], strict=True))
    yield from ((engine, method) for engine in engines for method in methods if (engine, method) not in known)


def configured(method: str, work: Path) -> RunConfig:
    """A run on digits; models are shared through the store, by device and engine."""
    words = [*SIZE, *BRIEFLY, f"method={method}", f"store.dir={work / 'engines'}", "device=cpu"]
    return command_line.read(words, conf_dir())


def comparison(config: RunConfig, engine: str, device: str) -> dict[str, Any]:
    """`config` on this engine and device beside the local engine on the CPU."""
    other = command_line.read([f"engine={engine}"], conf_dir()).engine
    plain, there = unlearned(config), unlearned(replace(config, engine=other, device=device))
    found = deviation(plain.unlearned.tensors, there.unlearned.tensors)
    cost = there.unlearned.cost
    failures = sum(model.model.cost["failures"] for model in there.models)
    within = found <= TOLERANCE and not failures
    return {"deviation": found, "within": within, "failures": failures, "seconds": cost["seconds"]}


def unlearned(config: RunConfig) -> Outcome:
    """The run, without a word."""
    return pipeline.run(config, Console(io.StringIO(), quiet=True))


def deviation(expected: dict[str, torch.Tensor], found: dict[str, torch.Tensor]) -> float:
    """The largest difference of two models' numbers, in units of the largest number of a tensor, or of 1."""
    pairs = [(expected[name].double(), found[name].double()) for name in expected]
    return max(float((a - b).abs().max() / max(1.0, float(a.abs().max()))) for a, b in pairs if a.numel())


if __name__ == "__main__":
    main()
