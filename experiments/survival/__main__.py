"""Does forgetting survive what happens to a model before it ships: low-bit rounding, calibration, further training?

    python -m experiments.survival --data DIR   # DIR holds FashionMNIST/raw and cifar-10-batches-py; no GPU needed
    python -m experiments.survival --quick      # digits, one seed, few rounds: does it work?

Sized for ten minutes on two idle cores: a small CNN, 2,000 images, few rounds. The same command goes on where it was
stopped. Written into results/survival: README.md (the answers), table.md (the tables), runs.csv, environment.json.

Runs are made in this process and without figures, which would take longer than training; `fedunlearn-report DIR` draws
them. Audited are accuracy and AUSUC alone: a verdict needs three more audits and eight retrained models.
"""

from __future__ import annotations

import pandas as pd

from experiments import sweeps
from experiments.survival import answers, forms, page, planted
from experiments.sweeps import Location, Sweep, jobs
from fedunlearn.files import write_text

SEEDS = "seed=0,1,2"
FORMATS = "deploy.formats=[int8,int4,int3]"
CALIBRATED = "repair=average_logit_gap"  # its runs hold the models without it as well
AUDITS = ("audit=quick", "audit.class_flow=null", "gates=warn")
SIZE = (
    *("data.limit=2000", "partition.alpha=0.3", "train.rounds=15", "train.batch_size=32", "train.lr=0.05"),
    *("train.evaluate_every=0", "unlearn.rounds=3", "retrain.seeds=2", "request.classes=[9]"),
)
TINY = (
    *("dataset=digits", "data.limit=400", "partition.clients=4", "partition.alpha=0.3", "train.rounds=8"),
    *("train.local_epochs=3", "unlearn.rounds=2", "retrain.seeds=2"),
)
METHODS = "method=fucrt,soft_relabel,gradient_ascent,fedosd,finetune,head_mask,retrain"
ADAPTED = "method=fucrt,soft_relabel,fedosd"  # most others do not train, or correct single weights
MENDED = {  # training on retain data after FUCRT: plain, on int4 weights, and with ClimbQ's weights of classes
    "finetune": ("repair=finetune",),
    "rounded": ("repair=climbq", "repair.weighting=none", "repair.scale_mode=none"),
    "climbq": ("repair=climbq",),
}


def main() -> None:
    asked = sweeps.plain_parser("survival", __doc__).parse_args()
    sweeps.settle()
    plan = quick() if asked.quick else [*fashion(), *cifar()]
    with sweeps.place_of(asked) as place:
        sweeps.check_data(["digits"] if asked.quick else ["fashion_mnist", "cifar10"], place)
        frame = pd.concat([run(sweep, place) for sweep in plan], ignore_index=True)
        controls = pd.concat([planted.run(words, place) for words in jobs(control(plan[0]))], ignore_index=True)
    tables = page.build(frame, controls) + "\n\n" + sweeps.commands("python -m experiments.survival --data DIR", plan)
    said = answers.build(frame, controls)
    print(f"\n{said}")
    every = pd.concat([frame, controls], ignore_index=True)
    sweeps.finish("survival", every, tables, asked, lambda folder: write_text(folder / "README.md", said))


def fashion() -> list[Sweep]:
    """All methods, whole and by adapters of two ranks; smaller steps; and training after FUCRT."""
    base = (SEEDS, "dataset=fashion_mnist", *SIZE, FORMATS, *AUDITS)
    return [
        Sweep("fashion_whole", (*base, METHODS, CALIBRATED)),
        *(Sweep(f"fashion_rank{rank}", (*base, ADAPTED, CALIBRATED, *lora(rank))) for rank in (4, 16)),
        Sweep("fashion_small_steps", (*base, "method=fucrt,soft_relabel", CALIBRATED, "unlearn.lr=0.003")),
        *(Sweep(f"fashion_{name}", (*base, "method=fucrt", *words)) for name, words in MENDED.items()),
    ]


def cifar() -> list[Sweep]:
    """Some of it on colour images."""
    base = (SEEDS, "dataset=cifar10", *SIZE, FORMATS, *AUDITS)
    return [
        Sweep("cifar_whole", (*base, "method=fucrt,soft_relabel,gradient_ascent,head_mask", CALIBRATED)),
        Sweep("cifar_rank16", (*base, "method=fucrt,soft_relabel", CALIBRATED, *lora(16))),
    ]


def quick() -> list[Sweep]:
    """One of each kind, on digits."""
    base = ("seed=0", *TINY, FORMATS, *AUDITS)
    return [
        Sweep("digits_whole", (*base, "method=fucrt,gradient_ascent,head_mask", CALIBRATED)),
        Sweep("digits_rank4", (*base, "method=fucrt", CALIBRATED, *lora(4))),
        Sweep("digits_climbq", (*base, "method=fucrt", *MENDED["climbq"])),
    ]


def lora(rank: int) -> tuple[str, ...]:
    """Adapters, with α = r and the larger rate that they need to get as far as whole weights do."""
    return ("adapter=lora", f"adapter.rank={rank}", f"adapter.alpha={rank}", "unlearn.lr=0.1")


def control(sweep: Sweep) -> Sweep:
    """The original models of a sweep, by seed."""
    return Sweep(sweep.name, tuple(word for word in sweep.words if not word.startswith(("method=", "repair="))))


def run(sweep: Sweep, place: Location) -> pd.DataFrame:
    """The jobs of a sweep, one after another; what is finished is not run again. A row for each form of each."""
    return forms.table(sweep.name, sweeps.run_here(sweep, place))


if __name__ == "__main__":
    main()
