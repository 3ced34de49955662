"""Who really erases, and at what cost: every method, two datasets, two classes each, three seeds, all audits.

The attack with shadow models, which costs more than the others together, is made in one cell.

    python -m experiments.true_erasure --data DIR   # DIR holds FashionMNIST/raw; no GPU needed
    python -m experiments.true_erasure --quick      # digits, one class, one seed: does it work?

The same command goes on where it was stopped. Written into results/true_erasure: table.md, runs.csv,
environment.json, true_erasure.png/.svg.
"""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pandas as pd

from experiments import sweeps
from experiments.sweeps import AUDITS, FASHION, METHODS, RETRAINED, Sweep
from experiments.true_erasure import figure, page
from fedunlearn.report import style

ALL = f"method={','.join(METHODS)}"
DIGITS = ("train.local_epochs=3", RETRAINED)
SWEEPS = (
    Sweep("digits", (ALL, "request.classes=[8],[9]", "seed=0,1,2", *DIGITS, AUDITS)),
    Sweep("fashion_mnist", (ALL, *FASHION)),
)
# Shadow models cost more than everything else together: one cell has to do, and of the other audits the quick ones.
SHADOWS = f"+audit.u_lira.shadows={page.SHADOWS}"
ATTACK = Sweep(page.ATTACK, (ALL, "request.classes=[9]", "seed=0", *DIGITS, "audit=quick", SHADOWS))
SOME = "method=fucrt,random_relabel,head_mask,retrain"
TINY = (
    "data.limit=400",
    "gates=warn",
    "train.rounds=8",
    "train.local_epochs=3",
    "unlearn.rounds=2",
    "partition.clients=4",
)
QUICK = (Sweep("digits", (SOME, "request.classes=[9]", "seed=0", *TINY, "partition.alpha=1", AUDITS)),)


def main() -> None:
    asked = sweeps.parser("true_erasure", __doc__).parse_args()
    # Apart, so that a cell is not named after the audits in which the attack's sweep differs.
    groups = [QUICK] if asked.quick else [SWEEPS, (ATTACK,)]
    with sweeps.place_of(asked) as place:
        sweeps.check_data(["digits"] if asked.quick else ["digits", "fashion_mnist"], place)
        frame = sweeps.run_apart(groups, place)
    planned = list(chain.from_iterable(groups))
    text = page.build(frame) + "\n\n" + sweeps.commands("python -m experiments.true_erasure --data DIR", planned)
    sweeps.finish("true_erasure", frame, text, asked, lambda folder: draw(frame, folder))


def draw(frame: pd.DataFrame, folder: Path) -> None:
    """The figure, in the look of all others."""
    with style.styled():
        style.replace(figure.erasure_and_cost(frame), folder, "true_erasure")


if __name__ == "__main__":
    main()
