"""The page: a line for every variant of FUCRT, and one for every situation that it was put into."""

# ruff: noqa: RUF001 (Greek letters are meant)

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from experiments.sweeps import labels, markdown, spread
from fedunlearn.report.formats import signed
from fedunlearn.report.statistics import column, failed_gates

AUDITS = (
    *("forget_accuracy", "retain_accuracy", "flow_tv", "flow_confidence", "leak", "gamma_recovered"),
    *("probe_forget_accuracy", "prototype_forget_accuracy", "relearn_batches"),
)
READING = """\
Values are **gaps**: the unlearned model minus the mean of the models retrained in the same run, as mean ± standard
deviation over seeds; 0 is what to aim for, and a gap within the noise floor is no difference: that is the last line of
a table, and in the one of situations stands in brackets behind each gap. Names of settings are those of the command
line, without `method.`; what each does is in [docs/methods.md](../../docs/methods.md#fucrt). What the audits mean:
[docs/audits.md](../../docs/audits.md)."""
DIGITS = """\
Digits, 10 clients, Dirichlet α = 0.3, class 9, three local epochs, 30 rounds of training and 10 of unlearning, three
retrained models, except where a line says otherwise."""
PARTS = f"""\
{DIGITS}

`local_weight=0 global_weight=0` is FUCRT without alignment, the same training as `method=relabel`; `selection` with
`vote:sample` is FUCRT without the vote, each forget sample going to its own most probable class."""
PLUS = """\
The method as it is, then without each of its parts; above it, what it starts from. Eight retrained models."""


def build(frame: pd.DataFrame, parts: Collection[str], plus: Collection[str], situations: Collection[str]) -> str:
    """Markdown. `parts`, `plus` and `situations`: names of the sweeps that belong into each table."""
    done = frame[frame["status"] == "done"]
    sections = ["# What the parts of FUCRT and fucrt_plus are worth", READING]
    sections += _section("FUCRT: parts and choices", PARTS, done[done["sweep"].isin(list(parts))], per_line=False)
    sections += _section("FUCRT: situations", DIGITS, done[done["sweep"].isin(list(situations))], per_line=True)
    better = done[done["sweep"].isin(list(plus))]
    own = better.assign(asked=better["asked"].str.replace(r" request\.classes=\S+", "", regex=True))
    for setting, rows in own.groupby("setting", sort=False):
        sections += _section(f"fucrt_plus: {setting}", PLUS, rows, per_line=False)
    seeds = ", ".join(map(str, sorted(done["seed"].unique())))
    sections.append(f"Seeds {seeds}; versions and machine are in environment.json, every run in runs.csv.")
    return "\n\n".join(sections)


def _section(title: str, about: str, rows: pd.DataFrame, per_line: bool) -> list[str]:
    return [] if rows.empty else [f"## {title}", about, _table(rows, per_line)]


def _table(rows: pd.DataFrame, per_line: bool) -> str:
    """A line for each variant. `per_line`: each has a noise floor of its own, which then stands in brackets."""
    audits = [audit for audit in AUDITS if column(rows, f"gap.{audit}").notna().any()]
    header = ["", *labels(audits)]
    lines, notes = [], []
    for (sweep, asked), group in rows.groupby(["sweep", "asked"], sort=False):
        gates = failed_gates(group)
        name = f"{sweep}: {asked.replace('method.', '')}" + (" †" if gates else "")
        lines.append([name, *(_gap(group, audit, per_line) for audit in audits)])
        notes += [f"† {name.removesuffix(' †')}: a sanity gate failed, {gates}."] if gates else []
    if not per_line:
        first = rows.drop_duplicates("seed")
        lines.append(["noise floor", *(spread(column(first, f"noise.{audit}")) for audit in audits)])
    return "\n\n".join([markdown(header, lines), *notes])


def _gap(group: pd.DataFrame, audit: str, with_floor: bool) -> str:
    gap = spread(column(group, f"gap.{audit}"), show=signed)
    floor = column(group, f"noise.{audit}").mean()
    return f"{gap} ({floor:.3f})" if with_floor and pd.notna(floor) else gap
