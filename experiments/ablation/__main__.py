"""What the parts and choices of FUCRT and fucrt_plus are worth, and what the outcome depends on: digits, three seeds.

    python -m experiments.ablation            # minutes, no GPU, nothing to download
    python -m experiments.ablation --quick    # a few runs: does it work?

The same command goes on where it was stopped. Written into results/ablation: table.md, runs.csv, environment.json.
"""

from __future__ import annotations

from experiments import sweeps
from experiments.ablation import page
from experiments.sweeps import Sweep

BASE = ("train.local_epochs=3", "retrain.seeds=3", "audit.feature_map=null")
SEEDS = "seed=0,1,2"
# Settings of the method: every sweep is judged against the same original and retrained models.
PARTS = {
    "weights": ("method.local_weight=0,0.1,1", "method.global_weight=0,0.1,1"),
    "temperatures": ("method.local_temperature=0.1,1", "method.global_temperature=0.1,1"),
    "prototypes": ("method.prototypes_of=retain,all", "method.global_loss=infonce,distance"),
    "selection": (
        "method.selection={threshold:0.05},{threshold:0.4},{min_samples:0},{min_samples:30},{relabel:once},{vote:sample}",
    ),
    "controls": ("method=relabel,random_relabel,soft_relabel",),
    "plus": ("method=fucrt_plus",),  # as it is, then each of its parts switched off
    "plus_keep": ("method=fucrt_plus", "method.keep=1"),
    "plus_labels": ("method=fucrt_plus", "method.labels=hard"),
    "plus_logits": ("method=fucrt_plus", "method.forgotten_logits=seen"),
    "plus_weight": ("method=fucrt_plus", "method.forget_weight=1"),
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
    *("data.limit=400", "train.rounds=6", "train.local_epochs=3", "unlearn.rounds=2", "retrain.seeds=1"),
    *("partition.clients=4", "partition.alpha=1", "audit=quick"),
)


def main() -> None:
    asked = sweeps.parser("ablation", __doc__).parse_args()
    planned = quick() if asked.quick else full()
    with sweeps.place_of(asked) as place:
        frame = sweeps.run(planned, place)
    text = page.build(frame, PARTS, SITUATIONS) + "\n\n" + sweeps.commands("python -m experiments.ablation", planned)
    sweeps.finish("ablation", frame, text, asked)


def full() -> list[Sweep]:
    """All of it."""
    return [Sweep(name, (*words, *BASE, SEEDS)) for name, words in {**PARTS, **SITUATIONS}.items()]


def quick() -> list[Sweep]:
    """One sweep of either kind."""
    some = {"weights": ("method.local_weight=0,0.1",), "classes": (BOTH, "request.classes=[8,9]")}
    return [Sweep(name, (*words, *TINY, "seed=0")) for name, words in some.items()]


if __name__ == "__main__":
    main()
