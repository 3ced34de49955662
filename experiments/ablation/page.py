"""The page: a line for every variant of FUCRT, and one for every situation that it was put into."""

# ruff: noqa: RUF001 (Greek letters are meant)

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from experiments.sweeps import markdown, spread
from fedunlearn.report import verdicts, words
from fedunlearn.report.formats import signed
from fedunlearn.report.statistics import column, failed_gates

AUDITS = ("forget_accuracy", "retain_accuracy", "flow_tv", "flow_confidence", "leak", "probe_forget_accuracy")
READING = """\
Digits, 10 clients, Dirichlet α = 0.3, class 9, three local epochs, 30 rounds of training and 10 of unlearning, except
where a line says otherwise. Values are **gaps**: the unlearned model minus the mean of the three models retrained in
the same run, as mean ± standard deviation over seeds; 0 is what to aim for, and a gap within the noise floor is no
difference: that is the last line of the first table, and stands in brackets behind each gap of the second. Names of
settings are those of the command line, without `method.`; what each does is in
[docs/methods.md](../../docs/methods.md#fucrt). What the audits mean: [docs/audits.md](../../docs/audits.md).

`local_weight=0 global_weight=0` is FUCRT without alignment, the same training as `method=relabel`; `selection` with
`vote:sample` is FUCRT without the vote, each forget sample going to its own most probable class."""


def build(frame: pd.DataFrame, parts: Collection[str], situations: Collection[str]) -> str:
    """Markdown. `parts` and `situations`: names of the sweeps that belong into either table."""
    done = frame[frame["status"] == "done"]
    sections = ["# What FUCRT's parts are worth", READING]
    for title, names, per_line in (("Parts and choices", parts, False), ("Situations", situations, True)):
        rows = done[done["sweep"].isin(list(names))]
        if not rows.empty:
            sections += [f"## {title}", _table(rows, per_line)]
    seeds = ", ".join(map(str, sorted(done["seed"].unique())))
    sections.append(f"Seeds {seeds}; versions and machine are in environment.json, every run in runs.csv.")
    return "\n\n".join(sections)


def _table(rows: pd.DataFrame, per_line: bool) -> str:
    """A line for each variant. `per_line`: each has a noise floor of its own, which then stands in brackets."""
    audits = [audit for audit in AUDITS if column(rows, f"gap.{audit}").notna().any()]
    header = ["", *map(words.label, audits), "verdict"]
    lines, notes = [], []
    for (sweep, asked), group in rows.groupby(["sweep", "asked"], sort=False):
        gates = failed_gates(group)
        name = f"{sweep}: {asked.replace('method.', '')}" + (" †" if gates else "")
        lines.append([name, *(_gap(group, audit, per_line) for audit in audits), verdicts.counted(group)])
        notes += [f"† {name.removesuffix(' †')}: a sanity gate failed, {gates}."] if gates else []
    if not per_line:
        first = rows.drop_duplicates("seed")
        lines.append(["noise floor", *(spread(column(first, f"noise.{audit}")) for audit in audits), ""])
    return "\n\n".join([markdown(header, lines), *notes])


def _gap(group: pd.DataFrame, audit: str, with_floor: bool) -> str:
    gap = spread(column(group, f"gap.{audit}"), show=signed)
    floor = column(group, f"noise.{audit}").mean()
    return f"{gap} ({floor:.3f})" if with_floor and pd.notna(floor) else gap
