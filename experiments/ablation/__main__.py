"""What the parts of FUCRT and fucrt_plus are worth, and what FUCRT's outcome depends on, on three seeds.

    python -m experiments.ablation --data DIR   # DIR holds FashionMNIST/raw; no GPU needed
    python -m experiments.ablation --quick      # a few runs on digits: does it work?

The same command goes on where it was stopped. Written into results/ablation: table.md, runs.csv, environment.json.
"""

from __future__ import annotations

from itertools import chain

from experiments import sweeps
from experiments.ablation import page
from experiments.sweeps import AUDITS, FASHION, Sweep

BASE = ("train.local_epochs=3", "retrain.seeds=3", AUDITS)
SEEDS = "seed=0,1,2"
# Settings of the method: every sweep is judged against the same original and retrained models.
PARTS = {
    "weights": ("method.local_weight=0,0.1,1", "method.global_weight=0,0.1,1"),
    "temperatures": ("method.local_temperature=0.1,1", "method.global_temperature=0.1,1"),
    "prototypes": ("method.prototypes_of=retain,all", "method.global_loss=infonce,distance"),
    "selection": (
        "method.selection={threshold:0.05},{threshold:0.4},{min_samples:0},{min_samples:30},"
        "{relabel:once},{vote:sample}",
    ),
    "controls": ("method=relabel,random_relabel,soft_relabel",),
}
# fucrt_plus as it is, then each of its parts switched off. In the cells of experiments/true_erasure, whose models the
# store may have: on digits, the audits hardly tell original from retrained models.
PLUS = {
    "plus_controls": ("method=fucrt,relabel,soft_relabel",),
    "plus": ("method=fucrt_plus",),
    "plus_keep": ("method=fucrt_plus", "method.keep=1"),
    "plus_labels": ("method=fucrt_plus", "method.labels=hard"),
    "plus_logits": ("method=fucrt_plus", "method.forgotten_logits=seen"),
    "plus_weight": ("method=fucrt_plus", "method.forget_weight=0.3"),
    "plus_sharpness": ("method=fucrt_plus", "method.sharpness=1"),
    "plus_alignment": ("method=fucrt_plus", "method.local_weight=0", "method.global_weight=0"),
}
# The situation: each value has an original model, or a request, and retrained models of its own.
BOTH = "method=fucrt,relabel"
SITUATIONS = {
    "alpha": (BOTH, "partition.alpha=0.1,1,10"),
    "participation": (BOTH, "train.participation=0.3"),
    "classes": (BOTH, "request.classes=[8,9],[5,6,7,8,9]"),
    "pooled": ("method.selection.sets=pooled", "request.classes=[8,9],[5,6,7,8,9]"),
}
TINY = (
    *("data.limit=400", "gates=warn", "train.rounds=6", "train.local_epochs=3", "unlearn.rounds=2", "retrain.seeds=1"),
    *("partition.clients=4", "partition.alpha=1", "audit=quick"),
)


def main() -> None:
    asked = sweeps.parser("ablation", __doc__).parse_args()
    groups = [quick()] if asked.quick else [digits(), fashion()]
    with sweeps.place_of(asked) as place:
        sweeps.check_data(["digits"] if asked.quick else ["digits", "fashion_mnist"], place)
        frame = sweeps.run_apart(groups, place)
    text = page.build(frame, PARTS, PLUS, SITUATIONS) + "\n\n"
    text += sweeps.commands("python -m experiments.ablation --data DIR", list(chain.from_iterable(groups)))
    sweeps.finish("ablation", frame, text, asked)


def digits() -> list[Sweep]:
    """FUCRT's parts and situations."""
    return [Sweep(name, (*words, *BASE, SEEDS)) for name, words in {**PARTS, **SITUATIONS}.items()]


def fashion() -> list[Sweep]:
    """The parts of fucrt_plus."""
    return [Sweep(name, (*words, *FASHION)) for name, words in PLUS.items()]


def quick() -> list[Sweep]:
    """One sweep of either kind."""
    some = {"weights": ("method.local_weight=0,0.1",), "classes": (BOTH, "request.classes=[8,9]")}
    return [Sweep(name, (*words, *TINY, "seed=0")) for name, words in some.items()]


if __name__ == "__main__":
    main()
