"""Does what a language model forgot come back when its weights are rounded, and do adapters prevent that?

    python -m experiments.language           # nothing to download, no GPU; needs fedunlearn[language]
    python -m experiments.language --quick   # one seed, few facts, few rounds: does it work?

The question is that of Boer et al. (arXiv 2602.13151), here about a small decoder and authors that do not exist, with
original and retrained models in every format beside the unlearned ones. The same command goes on where it was stopped.
Written into results/language: README.md (the answers), table.md, runs.csv, environment.json and the figure formats.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from experiments import sweeps
from experiments.language import answers, figure, page
from experiments.survival import forms
from experiments.sweeps import Sweep
from fedunlearn.files import write_text
from fedunlearn.report import style

FORMATS = "deploy.formats=[int8,int4,nf4]"
SIZE = (
    *("dataset=fictions", "dataset.authors=10", "dataset.facts=6", "request.classes=[3]", "partition=iid"),
    *("train.rounds=25", "train.evaluate_every=0", "unlearn.rounds=3", "retrain.seeds=2", "audit=quick"),
)
TINY = (
    *("dataset=fictions", "dataset.authors=3", "dataset.facts=2", "request.classes=[1]", "partition=iid"),
    *("partition.clients=2", "model.layers=1", "model.width=32", "train.rounds=2", "train.local_epochs=1"),
    *("unlearn.rounds=1", "retrain.seeds=1", "audit=quick", "gates=warn"),
)
TERMS = "method.retain=none,ce"  # without and with a term that holds on to retain samples
SLOW = ("unlearn.lr=0.0003", "unlearn.local_epochs=9")  # a tenth of the rate of training, three times as long
LORA = ("adapter=lora", "adapter.rank=8", "adapter.alpha=8", "unlearn.lr=0.01")


def main() -> None:
    asked = sweeps.plain_parser("language", __doc__).parse_args()
    sweeps.settle()
    plan = quick() if asked.quick else full()
    with sweeps.place_of(asked) as place:
        frame = pd.concat([forms.table(each.name, sweeps.run_here(each, place)) for each in plan], ignore_index=True)
    rows = page.named(frame)
    tables = page.build(rows) + "\n\n" + sweeps.commands("python -m experiments.language", plan)
    said = answers.build(rows)
    print(f"\n{said}")

    def rest(folder: Path) -> None:
        write_text(folder / "README.md", said)
        with style.styled():
            style.replace(figure.formats(rows), folder, "formats")

    sweeps.finish("language", rows, tables, asked, rest)


def full() -> list[Sweep]:
    """Every method, on whole weights at two rates and by adapters; retraining once."""
    base = ("seed=0,1,2", *SIZE, FORMATS)
    ways = {"whole": (), "slow": SLOW, "rank8": LORA}
    return [
        *(
            Sweep(f"{method}_{way}", (*base, f"method={method}", TERMS, *words))
            for way, words in ways.items()
            for method in ("npo", "gradient_difference")
        ),
        *(Sweep(f"finetune_{way}", (*base, "method=finetune", *words)) for way, words in ways.items()),
        Sweep("retrain", (*base, "method=retrain")),
    ]


def quick() -> list[Sweep]:
    """One of each kind."""
    base = ("seed=0", *TINY, FORMATS)
    return [
        Sweep("npo_whole", (*base, "method=npo", TERMS)),
        Sweep("npo_rank8", (*base, "method=npo", "method.retain=ce", *LORA)),
        Sweep("retrain", (*base, "method=retrain")),
    ]


if __name__ == "__main__":
    main()
