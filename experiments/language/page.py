"""The tables: what is left in every format, what comes back by rounding, and adapters against whole weights.

Intervals are 95 % t-intervals of the mean over seeds. With three seeds they are wide, and a difference counts only if
its interval does not hold 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pandas as pd

from experiments.survival.page import RATIO, at, over_seeds, paired, shown
from experiments.sweeps import markdown
from fedunlearn.report.formats import quantity, signed
from fedunlearn.report.statistics import column
from fedunlearn.settings.config import FLOAT32

FORMATS = (FLOAT32, "int8", "int4", "nf4")
FORGET, PROBABILITY, RETAIN = "forget_accuracy", "forget_probability", "retain_accuracy"
BACK = f"survival.reversion.{FORGET}"
CELL = ["called", "trained"]
CALLED = {
    ("gradient_difference", "none"): "GA",
    ("gradient_difference", "ce"): "GA + retain",
    ("npo", "none"): "NPO",
    ("npo", "ce"): "NPO + retain",
}
WHOLE, SLOW, LORA = "whole", "whole, small steps", "LoRA"
TRAINED = {("whole", "default"): WHOLE, ("whole", "0.0003"): SLOW}
READING = """\
Four clients hold what is known of ten authors (six facts each) and of the world; a decoder of two layers is trained for
25 rounds, one author is to be forgotten in 3 rounds, and two models are retrained without (seeds 0 to 2; with `--quick`
less of everything). *GA*: `gradient_difference` with `method.retain=none`, *NPO*: `npo` likewise; *+ retain*:
`method.retain=ce`. *Whole*: all weights, at the rate of training, 0.003; *small steps*: at 0.0003, three times as long.
*LoRA*: adapters of rank 8 on linear layers, at 0.01. Numbers are means over seeds with half their 95 % t-interval.

*Forget accuracy*: the share of the tokens of answers about that author that are likeliest, asked in words that were not
trained on (six questions, so that one token is a lot). Retrained models, which never saw the author, get some right,
since answers share their wording. *Back*: rounded minus float32, above 0 where more is there. *Median step*: median
over the weights of their change by unlearning, in half steps of the format. *Flipped*: share of the weights whose code
in the format is another one than before unlearning. Audited are accuracy, answer probability and extraction strength
alone, so there is no verdict."""


def named(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs with `called` and `trained`: what their method and their way of training are called here."""
    retain = [found[1] if (found := re.search(r"method\.retain=(\w+)", text)) else "" for text in frame["asked"]]
    called = [CALLED.get(key, key[0]) for key in zip(frame["method"], retain, strict=True)]
    ways = zip(frame["way"], frame["rate"], strict=True)
    return frame.assign(called=called, trained=[TRAINED.get(way, LORA) for way in ways])


def build(rows: pd.DataFrame) -> str:
    """All tables, in Markdown."""
    sections = [
        ("What is left in every format", left(rows)),
        ("What comes back", back(rows)),
        ("Adapters against whole weights", adapters(rows)),
    ]
    return "\n\n".join(["## How to read this", READING, *(f"## {title}\n\n{body}" for title, body in sections if body)])


def cells(rows: pd.DataFrame) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    """Each method in each way of training."""
    for (called, trained), group in rows.groupby(CELL, sort=False):
        yield (str(called), str(trained)), group


def left(rows: pd.DataFrame) -> str:
    """Forget and retain accuracy of all models."""
    header = ["model", "trained", *(f"forget accuracy, {name}" for name in FORMATS)]
    header += [f"retain accuracy, {name}" for name in FORMATS] + ["answer probability, float32"]
    lines = [["original", "", *_levels(rows, "original")], ["retrained", "", *_levels(rows, "retrained")]]
    lines += [[*names, *_levels(group, "unlearned")] for names, group in cells(rows)]
    return markdown(header, lines)


def _levels(rows: pd.DataFrame, model: str) -> list[str]:
    wanted = [(name, format) for name in (FORGET, RETAIN) for format in FORMATS] + [(PROBABILITY, FLOAT32)]
    return [shown(over_seeds(at(rows, format), f"{model}.{name}")) for name, format in wanted]


def back(rows: pd.DataFrame) -> str:
    """What rounding changes, and how large updates were."""
    header = ["method", "trained", *(f"forget accuracy back at {name}" for name in FORMATS[1:])]
    header += [f"{what} at {name}" for what in ("median step", "flipped") for name in FORMATS[2:]]
    lines = []
    for names, group in cells(rows[rows["called"] != "retrain"]):
        values = [shown(over_seeds(at(group, name), BACK), signed) for name in FORMATS[1:]]
        sizes = [
            shown(over_seeds(at(group, name), what)) for what in (RATIO, "survival.flipped") for name in FORMATS[2:]
        ]
        lines.append([*names, *values, *sizes])
    return markdown(header, lines)


def adapters(rows: pd.DataFrame) -> str:
    """Adapters minus whole weights, by seed, and what clients send."""
    header = ["method", "LoRA minus", "forget accuracy", "retain accuracy"]
    header += [f"forget accuracy back at {name}" for name in FORMATS[2:]] + ["median step at int4", "bytes sent, share"]
    lines = []
    for called, other, low, whole in pairs(rows):
        wanted = [(f"unlearned.{FORGET}", FLOAT32), (f"unlearned.{RETAIN}", FLOAT32)]
        wanted += [(BACK, name) for name in FORMATS[2:]] + [(RATIO, "int4")]
        values = [shown(paired(at(low, format), at(whole, format), name), signed) for name, format in wanted]
        sent = [column(each, "cost.unlearn.bytes_up").mean() for each in (low, whole)]
        lines.append([called, other, *values, f"{quantity(100 * sent[0] / sent[1])} %"])
    return markdown(header, lines) if lines else ""


def pairs(rows: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame, pd.DataFrame]]:
    """Of each method with adapters: its rows, and those of whole weights at each rate."""
    for called, block in rows.groupby("called", sort=False):
        low = block[block["trained"] == LORA]
        for other in (WHOLE, SLOW):
            whole = block[block["trained"] == other]
            if len(low) and len(whole):
                yield str(called), other, low, whole
