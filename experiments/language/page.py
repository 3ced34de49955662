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
EXTRACTION = "forget_extraction"
BACK = f"survival.reversion.{FORGET}"
CELL = ["called", "trained"]
CALLED = {
    ("gradient_difference", "none"): "GA",
    ("gradient_difference", "ce"): "GA + GDR",
    ("gradient_difference", "kl"): "GA + KLR",
    ("npo", "none"): "NPO",
    ("npo", "ce"): "NPO + GDR",
    ("npo", "kl"): "NPO + KLR",
}
WHOLE, SLOW, LORA = "whole", "whole, small steps", "LoRA"
WIDE, FFA, NAIVE, FEDEX = "LoRA, rank 32", "LoRA, A frozen", "LoRA, factors averaged", "LoRA, corrected factors"
TRAINED = {("whole", "default", ""): WHOLE, ("whole", "0.0003", ""): SLOW, ("rank 32", "0.01", ""): WIDE}
TRAINED |= {
    ("rank 8", "0.01", how): name for how, name in (("", LORA), ("ffa", FFA), ("naive", NAIVE), ("fedex", FEDEX))
}
COMPARED = ((NAIVE, FEDEX), (NAIVE, LORA), (FEDEX, LORA), (FFA, LORA), (WIDE, LORA))
TOGETHER = "together"
FICTIONS = "fictions"
AUTHORS = {"2": "TOFU, 2 authors (forget01)", "10": "TOFU, 10 authors (forget05)"}
READING = """\
*Fictions*: four clients hold what is known of ten authors (six facts each) and of the world; a decoder of two layers
is trained for 25 rounds, one author is to be forgotten in 3 rounds, and two models are retrained without (seeds 0 to
2; with `--quick` less of everything). *TOFU*: two clients hold the questions about the last 14 of its authors; the
same decoder is trained for 10 rounds of 4 epochs, the last 2 or 10 authors are to be forgotten in 2 rounds, and one
model is retrained without (seeds 0 and 1).

*GA*: `gradient_difference` with `method.retain=none`, *NPO*: `npo` likewise; *+ GDR*: `method.retain=ce`, *+ KLR*:
`method.retain=kl`. *Whole*: all weights, at the rate of training, 0.003; *small steps*: at 0.0003, three times as
long. *LoRA*: adapters of rank 8 (or 32) on linear layers, at 0.01, new in every round, averaged as products; *A
frozen*: `adapter.aggregation=ffa`; *factors averaged*: `naive`, which is not the average of the clients' models;
*corrected factors*: `fedex`, which is, and goes on from the mean factors as `naive` does. Numbers are means over
seeds with half their 95 % t-interval.

*Forget accuracy*: the share of the tokens of answers about that author that are likeliest, asked in words that were
not trained on (six questions in fictions, so that one token is a lot). Retrained models, which never saw the author,
get some right, since answers share their wording. *Back*: rounded minus float32, above 0 where more is there.
*Median step*: median over the weights of their change by unlearning, in half steps of the format. *Flipped*: share
of the weights whose code in the format is another one than before unlearning. Audited are accuracy, answer
probability and extraction strength alone, so there is no verdict."""


def named(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs with `called`, `trained` and `data`: what method, way of training and request are called here."""
    retain, averaged = (_said(frame, key) for key in ("method.retain", "adapter.aggregation"))
    called = [CALLED.get(key, key[0]) for key in zip(frame["method"], retain, strict=True)]
    ways = zip(frame["way"], frame["rate"], averaged, strict=True)
    named = [AUTHORS[str(text.count("author "))] if "dataset=tofu" in text else FICTIONS for text in frame["asked"]]
    return frame.copy().assign(called=called, trained=[TRAINED[way] for way in ways], data=named)


def _said(frame: pd.DataFrame, key: str) -> list[str]:
    """The value of that key in every command, where it is said."""
    return [found[1] if (found := re.search(rf"{re.escape(key)}=(\w+)", text)) else "" for text in frame["asked"]]


def build(rows: pd.DataFrame) -> str:
    """All tables, in Markdown."""
    own = of_fictions(rows)
    sections = [
        ("What is left in every format", left(own)),
        ("What comes back", back(own)),
        ("Adapters against whole weights", adapters(own)),
        ("Adapters of other kinds", kinds(own)),
        *((name, f"{left(group)}\n\n{back(group)}\n\n{adapters(group)}") for name, group in of_tofu(rows)),
    ]
    return "\n\n".join(["## How to read this", READING, *(f"## {title}\n\n{body}" for title, body in sections if body)])


def of_fictions(rows: pd.DataFrame) -> pd.DataFrame:
    """Those about authors that do not exist."""
    return rows[rows["data"] == FICTIONS]


def of_tofu(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Those of each of the requests about TOFU's."""
    for name in AUTHORS.values():
        if len(group := rows[rows["data"] == name]):
            yield name, group


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


def kinds(rows: pd.DataFrame) -> str:
    """Adapters of one kind minus those of another."""
    header = ["method", "adapters", "minus", "forget accuracy", "retain accuracy", "answer probability"]
    header += ["extraction strength", "forget accuracy back at int4", "median step at int4", "bytes sent, share"]
    wanted = [(f"unlearned.{name}", FLOAT32) for name in (FORGET, RETAIN, PROBABILITY, EXTRACTION)]
    wanted += [(BACK, "int4"), (RATIO, "int4")]
    lines = []
    for called, kinds, one, other in compared(rows):
        values = [shown(paired(at(one, format), at(other, format), name), signed) for name, format in wanted]
        sent = [column(each, "cost.unlearn.bytes_up").mean() for each in (one, other)]
        lines.append([called, *kinds, *values, f"{quantity(100 * sent[0] / sent[1])} %"])
    return markdown(header, lines) if lines else ""


def compared(rows: pd.DataFrame) -> Iterator[tuple[str, tuple[str, str], pd.DataFrame, pd.DataFrame]]:
    """For each pair of kinds of adapters, by method and for all methods together: the rows of either."""
    for kinds in COMPARED:
        one, other = (rows[rows["trained"] == kind] for kind in kinds)
        both = [called for called in one["called"].unique() if (other["called"] == called).any()]
        for called in both:
            yield str(called), kinds, one[one["called"] == called], other[other["called"] == called]
        if len(both) > 1:
            yield TOGETHER, kinds, one[one["called"].isin(both)], other[other["called"].isin(both)]


def pairs(rows: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame, pd.DataFrame]]:
    """Of each method with adapters: its rows, and those of whole weights at each rate."""
    for called, block in rows.groupby("called", sort=False):
        low = block[block["trained"] == LORA]
        for other in (WHOLE, SLOW):
            whole = block[block["trained"] == other]
            if len(low) and len(whole):
                yield str(called), other, low, whole
