"""Does what a language model forgot come back when its weights are rounded, and do adapters prevent that?

    python -m experiments.language --data DIR   # no GPU; needs fedunlearn[language], and TOFU's files in DIR/tofu
    python -m experiments.language --quick      # one seed, few facts, few rounds, no TOFU: does it work?
    python -m experiments.language --size paper # what would models of the papers' size take?

The question is that of Boer et al. (arXiv 2602.13151), here about a small decoder and authors that do not exist, with
original and retrained models in every format beside the unlearned ones. And is averaging the factors of adapters, which
is not averaging models, worse than averaging what they are factors of? The same command goes on where it was stopped.
Written into results/language: README.md (the answers), table.md, runs.csv, environment.json and the figure formats.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from experiments import sweeps
from experiments.language import answers, figure, page, paper
from experiments.survival import forms
from experiments.sweeps import Sweep
from fedunlearn.files import write_text
from fedunlearn.report import style

FORMATS = "deploy.formats=[int8,int4,nf4]"
AS_ONE = ("partition=iid", "train.evaluate_every=0", "audit=quick")
FICTIONS = (
    *("dataset=fictions", "dataset.authors=10", "dataset.facts=6", "request.classes=[3]", *AS_ONE),
    *("train.rounds=25", "unlearn.rounds=3", "retrain.seeds=2"),
)
TOFU = (
    *("dataset=tofu", "dataset.authors=14", "partition.clients=2", *AS_ONE, "gates=warn", "train.lr=0.003"),
    *("train.rounds=10", "train.local_epochs=4", "unlearn.rounds=2", "unlearn.local_epochs=1", "retrain.seeds=1"),
)
REQUESTS = {  # the last 2 and the last 10 of TOFU's 200 authors
    number: f"request.classes=[{','.join(f'author {each}' for each in range(201 - count, 201))}]"
    for number, count in (("01", 2), ("05", 10))
}
TINY = (
    *("dataset=fictions", "dataset.authors=3", "dataset.facts=2", "request.classes=[1]", *AS_ONE),
    *("partition.clients=2", "model.layers=1", "model.width=32", "train.rounds=2", "train.local_epochs=1"),
    *("unlearn.rounds=1", "retrain.seeds=1", "gates=warn"),
)
METHODS = ("npo", "gradient_difference")
TERMS = "method.retain=none,ce,kl"  # without and with a term that holds on to retain samples
SLOW = ("unlearn.lr=0.0003", "unlearn.local_epochs=9")  # a tenth of the rate of training, three times as long
LORA = ("adapter=lora", "adapter.rank=8", "adapter.alpha=8", "unlearn.lr=0.01")
WIDE = ("adapter=lora", "adapter.rank=32", "adapter.alpha=32", "unlearn.lr=0.01")
WAYS = {"whole": (), "rank8": LORA}
OTHERS = {  # asked of the methods with a term for the rest alone
    "slow": SLOW,
    "rank32": WIDE,
    **{how: (*LORA, f"adapter.aggregation={how}") for how in ("ffa", "naive", "fedex")},
}


def main() -> None:
    parser = sweeps.plain_parser("language", __doc__)
    help = "paper: train nothing, and estimate what models of the papers' size would take"
    parser.add_argument("--size", choices=("small", "paper"), default="small", help=help)
    asked = parser.parse_args()
    if asked.size == "paper":
        paper.main()
        return
    sweeps.settle()
    plan = quick() if asked.quick else full()
    with sweeps.place_of(asked) as place:
        if not asked.quick:
            sweeps.check_data(["tofu"], place)
        frame = pd.concat([forms.table(each.name, sweeps.run_here(each, place)) for each in plan], ignore_index=True)
    rows = page.named(frame)
    tables = page.build(rows) + "\n\n" + sweeps.commands("python -m experiments.language --data DIR", plan)
    said = answers.build(rows)
    print(f"\n{said}")

    def rest(folder: Path) -> None:
        write_text(folder / "README.md", said)
        with style.styled():
            style.replace(figure.formats(rows), folder, "formats")

    sweeps.finish("language", rows, tables, asked, rest)


def full() -> list[Sweep]:
    """What is asked of authors that do not exist, then what is asked of TOFU's."""
    return [*fictions(), *tofu()]


def fictions() -> list[Sweep]:
    """Every method on whole weights and by adapters, two of them in other ways; retraining once."""
    base = ("seed=0,1,2", *FICTIONS, FORMATS)
    return [
        *(
            Sweep(f"{method}_{way}", (*base, f"method={method}", terms, *words))
            for ways, terms in ((WAYS, TERMS), (OTHERS, "method.retain=ce"))
            for way, words in ways.items()
            for method in METHODS
        ),
        *(Sweep(f"finetune_{way}", (*base, "method=finetune", *words)) for way, words in WAYS.items()),
        Sweep("retrain", (*base, "method=retrain")),
    ]


def tofu() -> list[Sweep]:
    """Two methods, on whole weights and by adapters, for two requests."""
    return [
        Sweep(
            f"forget{number}_{method}_{way}",
            ("seed=0,1", *TOFU, FORMATS, request, f"method={method}", "method.retain=ce", *words),
        )
        for number, request in REQUESTS.items()
        for way, words in WAYS.items()
        for method in METHODS
    ]


def quick() -> list[Sweep]:
    """One of each kind."""
    base = ("seed=0", *TINY, FORMATS)
    return [
        Sweep("npo_whole", (*base, "method=npo", TERMS)),
        Sweep("npo_rank8", (*base, "method=npo", "method.retain=ce", *LORA)),
        Sweep("npo_naive", (*base, "method=npo", "method.retain=ce", *LORA, "adapter.aggregation=naive")),
        Sweep("retrain", (*base, "method=retrain")),
    ]


if __name__ == "__main__":
    main()
