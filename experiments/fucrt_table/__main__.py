"""FUCRT's table: its methods on its datasets, IID and not, beside the published numbers.

    python -m experiments.fucrt_table --data DIR                # size=laptop: reduced data, a small model, no GPU
    python -m experiments.fucrt_table --size paper --data DIR   # all data, ResNet-18 and ResNet-50: a GPU, and hours
    python -m experiments.fucrt_table --quick                   # digits, a few rounds: does it work?

The same command goes on where it was stopped. Written into results/fucrt_table_SIZE: table.md, runs.csv,
environment.json.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from experiments import sweeps
from experiments.fucrt_table import page
from experiments.sweeps import Sweep

METHODS = ("fucrt", "finetune", "gradient_ascent", "pruning", "momentum_degradation", "head_mask", "fucrt_plus")
# A tenth of the classes, as published; which one is not known to us, except that the text looks at CIFAR-10's cars.
FORGET = {
    "digits": "[9]",
    "fashion_mnist": "[9]",
    "cifar10": "[1]",
    "cifar100": "[0,1,2,3,4,5,6,7,8,9]",
    "eurosat": "[9]",
}
PARTITIONS = {"iid": ("partition=iid",), "dirichlet": ("partition=dirichlet", "partition.alpha=0.5")}


@dataclass(frozen=True)
class Size:
    """How large the experiment is. `models`: by dataset; `words`: what is the same everywhere."""

    models: dict[str, str]
    seeds: str
    words: tuple[str, ...]


SIZES = {
    "quick": Size(
        {"digits": "cnn"},
        "0",
        (
            *(
                "partition.clients=4",
                "data.limit=400",
                "gates=warn",
                "train.rounds=6",
                "train.local_epochs=3",
                "unlearn.rounds=2",
            ),
            "retrain.seeds=1",
        ),
    ),
    "laptop": Size(
        {"fashion_mnist": "cnn", "cifar10": "cnn"},
        "0,1,2",
        ("partition.clients=10", "data.limit=6000", "train.rounds=25", "unlearn.rounds=6", "retrain.seeds=2"),
    ),
    "paper": Size(
        {"cifar10": "resnet18", "fashion_mnist": "resnet18", "cifar100": "resnet50", "eurosat": "resnet18"},
        "0,1,2",
        (
            *("partition.clients=10", "gates=warn", "train.rounds=100", "train.local_epochs=2", "train.batch_size=64"),
            *("train.lr=0.01", "unlearn.rounds=10", "retrain.seeds=3"),
        ),
    ),
}


def main() -> None:
    asked = arguments()
    size = SIZES["quick" if asked.quick else asked.size]
    datasets = asked.datasets if asked.datasets and not asked.quick else list(size.models)
    planned = [sweep(size, dataset, partition) for dataset in datasets for partition in PARTITIONS]
    with sweeps.place_of(asked) as place:
        sweeps.check_data(datasets, place)
        frame = sweeps.run(planned, place)
    command = f"python -m experiments.fucrt_table --size {asked.size} --data DIR"
    text = page.build(frame, size.models) + "\n\n" + sweeps.commands(command, planned)
    sweeps.finish(f"fucrt_table_{asked.size}", frame, text, asked)


def arguments() -> argparse.Namespace:
    parser = sweeps.parser("fucrt_table", __doc__)
    parser.add_argument("--size", choices=("laptop", "paper"), default="laptop")
    parser.add_argument("--datasets", nargs="+", choices=list(SIZES["paper"].models), help="only these")
    return parser.parse_args()


def sweep(size: Size, dataset: str, partition: str) -> Sweep:
    """All methods and seeds on one dataset, dealt to the clients in one way."""
    varied = (f"method={','.join(METHODS)}", f"seed={size.seeds}")
    data = (f"dataset={dataset}", f"model={size.models[dataset]}", f"request.classes={FORGET[dataset]}")
    return Sweep(f"{dataset}_{partition}", (*varied, *data, *PARTITIONS[partition], *size.words, "audit=quick"))


if __name__ == "__main__":
    main()
