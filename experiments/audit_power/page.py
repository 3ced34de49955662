"""The page: false alarms and power of every finding, the verdict's own errors, and which findings should count."""

# ruff: noqa: RUF001 (Greek letters and minus signs are meant)

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from experiments.audit_power import judging, power
from experiments.audit_power.planted import DOSES, HEAD_MASK, LEFT_IN, MIXTURE
from experiments.sweeps import markdown
from fedunlearn.cli import command_line, main
from fedunlearn.results.findings import Finding, named
from fedunlearn.results.verdict import SURFACE
from fedunlearn.runs.declarations import declared
from fedunlearn.runs.steps import RETRAINED

JUDGED = 8  # n of the tables: what a verdict asks for
SMALL = 0.3  # largest dose by which findings are chosen
SEEN = 0.8  # power against head masks that a finding must have to be chosen
KINDS = ((RETRAINED, 0.0), *((LEFT_IN, dose) for dose in DOSES[LEFT_IN]), *((MIXTURE, dose) for dose in DOSES[MIXTURE]))
KINDS += ((HEAD_MASK, 1.0),)
READING = f"""\
In every *cell* (dataset, class, seed) there are an original model, a bank of retrained ones, and *planted* models of
which we know what is left in them: retrained with a share of the forget samples *left in*; *mixtures*, with a share of
the original's weights; and *head masks*, the original with its forgotten logit suppressed. n retrained models of the
bank are drawn ({power.DRAWS} times), and the others and the planted ones are held against them: their distance from
the mean in half widths of the verdict's band ([docs/audits.md](../../docs/audits.md#the-verdict)), above 0 where more
is left. A distance beyond a threshold is an alarm. The threshold of each finding and n is what
{100 * power.FALSE_ALARMS:.0f} % of the retrained models of the *choosing* cells are beyond; rates in the tables are
those of the *judging* cells, which are other classes and seeds. Brackets: 95 % intervals of the mean over cells (cells
resampled {power.RESAMPLES:,} times), as draws within a cell share its models. **Bold**: the verdict counts it now."""


@dataclass(frozen=True)
class Results:
    """`rows`: of all models; `power`: `power.summed_up` of the judging cells; `chosen`: findings that should count.

    `verdicts`: `judging.rates` of the judging cells, with `findings`: as they count `now`, or the `chosen` ones.
    """

    power: pd.DataFrame
    limits: pd.DataFrame
    verdicts: pd.DataFrame
    counted: list[str]
    chosen: list[str]


def declarations() -> dict[str, Finding]:
    """Of the audits that are on if nothing is said, with AUSUC in the place of its leak.

    That is the same on a scale that begins at the retrained models, which no distance here depends on, and ends at the
    original, where it has no value if these two agree.
    """
    known = declared(command_line.read([], main.conf_dir()))
    leak = known.pop("leak")
    return {**known, "ausuc": replace(known["ausuc"], label=leak.label, counted=leak.counted)}


def results(rows: pd.DataFrame) -> Results:
    """Everything that the page says, from the models of all cells."""
    known = declarations()
    findings = power.findings_of(rows, known)
    found = power.table(rows, findings)
    judged = found[found["part"] == "judging"]
    counted = [finding.name for finding in findings if finding.counted]
    chosen = choice(power.summed_up(found[found["part"] == "choosing"]), max(len(counted), 1))
    limits = judged[judged["kind"] == RETRAINED].groupby(["n", "finding"], sort=False)[["threshold", "verdict"]].mean()
    own = rows[rows["part"] == "judging"]
    verdicts = [
        _errors(own, known, names).assign(findings=which)
        for which, names in (("now", counted), ("chosen", chosen))
        if names
    ]
    return Results(power.summed_up(judged), limits.reset_index(), pd.concat(verdicts), counted, chosen)


def choice(found: pd.DataFrame, number: int) -> list[str]:
    """The findings that should count by `power.summed_up` of the choosing cells, at most `number`, the best first.

    Of those that see a head mask, which nothing on the surface does, the ones with the greatest mean power against
    doses up to `SMALL`, at the n of the tables or the largest below.
    """
    some = found[found["n"] == _shown(found)]
    seen = some[(some["kind"] == HEAD_MASK) & (some["mean"] >= SEEN)]["finding"]
    small = some[some["finding"].isin(seen) & some["kind"].isin(DOSES) & (some["dose"] <= SMALL)]
    means = small.groupby("finding", sort=False)["mean"].mean()
    return [str(name) for name in means.sort_values(ascending=False, kind="stable").index[:number]]


def build(rows: pd.DataFrame, found: Results) -> str:
    """Markdown."""
    cells = rows.drop_duplicates("cell")
    counts = cells.groupby(["part", "dataset"], sort=False)["cell"].count()
    where = ", ".join(f"{number} of {dataset} for {part}" for (part, dataset), number in counts.items())
    known = declarations()
    parts = ["# How well do audits tell what is left?", READING, f"Cells: {where}."]
    parts += ["## Power, by what is left", _powers(found, known), "## Power, by the number of retrained models"]
    parts += [
        _sizes(found, known),
        "## Which findings have power",
        _chosen(found, known),
        "## The verdict's own errors",
    ]
    parts += [VERDICTS, _verdicts(found), "## Are planted models usable?", USABLE, _usable(rows), COMMAND]
    return "\n\n".join(parts) + "\n"


VERDICTS = f"""\
The verdict with {judging.RETRAINED_MODELS} retrained models of the bank, drawn {judging.VERDICTS} times in each judging
cell: mean share of draws over cells, with its Wilson interval for as many samples as there are cells. A retrained model
should never be called suppressed, a head mask never erased. *now*: by the findings that count; *chosen*: by those of
the rule above, which has seen no judging cell."""
USABLE = """\
Mean retain accuracy, and lowest of a cell minus the mean of its retrained models: a mixture of networks can be none."""
COMMAND = """\
## Command

```
python -m experiments.audit_power --data DIR
```

Every model with its findings is in runs.csv, every rate in power.csv and verdicts.csv."""


def _powers(found: Results, known: Mapping[str, Finding]) -> str:
    some = found.power[found.power["n"] == _shown(found.power)]
    header = [f"finding, n = {_shown(found.power)}", *(_title(kind, dose) for kind, dose in KINDS)]
    order = [name for name in _ranked(some) if name in set(some["finding"])]
    return markdown(header, [[_name(name, known), *(_rate(some, name, *kind) for kind in KINDS)] for name in order])


def _sizes(found: Results, known: Mapping[str, Finding]) -> str:
    """False alarms and mean power against small doses, by n; and the false alarms of the verdict's own threshold."""
    sizes = sorted(found.power["n"].unique())
    header = ["finding", *(f"power, n = {n}" for n in sizes), *(f"false alarms, n = {n}" for n in sizes)]
    header += [f"the verdict's own false alarms, n = {n}" for n in sizes]
    lines = []
    for name in _ranked(found.power[found.power["n"] == _shown(found.power)]):
        own = found.power[found.power["finding"] == name]
        small = own[own["kind"].isin(DOSES) & (own["dose"] <= SMALL)].groupby("n")["mean"].mean()
        false = own[own["kind"] == RETRAINED].set_index("n")["mean"]
        limits = found.limits[found.limits["finding"] == name].set_index("n")["verdict"]
        lines.append([_name(name, known), *(_percent(each[n]) for each in (small, false, limits) for n in sizes)])
    return f"Mean power against planted doses up to {SMALL:g}.\n\n" + markdown(header, lines)


def _chosen(found: Results, known: Mapping[str, Finding]) -> str:
    """The rule, what it chooses and what it leaves out."""
    rule = (
        f"By a rule, on the choosing cells alone: of the findings that see at least {SEEN:.0%} of head masks, the "
        f"{len(found.chosen)} with the greatest mean power against planted doses up to {SMALL:g}"
    )
    labels = [named(name, known).label for name in found.chosen]
    kept = [named(name, known).label for name in found.counted if name in found.chosen]
    gone = [named(name, known).label for name in found.counted if name not in found.chosen]
    said = f"{rule}: {', '.join(labels) or 'none'}."
    said += f" Of those that count now, it keeps {', '.join(kept) or 'none'}"
    return said + (f" and leaves out {', '.join(gone)}." if gone else ".")


def _verdicts(found: Results) -> str:
    words = list(dict.fromkeys(found.verdicts["word"]))
    lines = []
    for which, group in found.verdicts.groupby("findings", sort=False):
        for kind, dose in KINDS:
            own = group[(group["kind"] == kind) & (group["dose"] == dose)].set_index("word")
            if len(own):
                shares = [
                    _interval(own.loc[word, "share"], own.loc[word, "low"], own.loc[word, "high"]) for word in words
                ]
                lines.append([f"{_title(kind, dose)}, {which}", *shares, str(own["cells"].iloc[0])])
    return markdown(["model, findings", *words, "cells"], lines)


def _usable(rows: pd.DataFrame) -> str:
    centre = rows[rows["kind"] == RETRAINED].groupby("cell")["retain_accuracy"].mean()
    lines = []
    for kind, dose in KINDS:
        own = rows[(rows["kind"] == kind) & (rows["dose"] == dose)]
        gaps = own["retain_accuracy"] - own["cell"].map(centre)
        lines.append(
            [_title(kind, dose), f"{own['retain_accuracy'].mean():.3f}", f"{gaps.min():+.3f}".replace("-", "−")]
        )
        lines[-1].append(f"{own[SURFACE].mean():.3f}")
    return markdown(["model", "retain accuracy", "lowest, minus retrained", "forget accuracy"], lines)


def _errors(rows: pd.DataFrame, known: Mapping[str, Finding], names: list[str]) -> pd.DataFrame:
    said = judging.words(rows, judging.counting(known, names))
    words = ("not erased", "suppressed", "over-erased", "erased", judging.NONE)
    return pd.concat([judging.rates(said, word) for word in words], ignore_index=True)


def _ranked(some: pd.DataFrame) -> list[str]:
    """Findings by their mean power against small doses."""
    small = some[some["kind"].isin(DOSES) & (some["dose"] <= SMALL)]
    return list(small.groupby("finding", sort=False)["mean"].mean().sort_values(ascending=False, kind="stable").index)


def _shown(found: pd.DataFrame) -> int:
    """The n of the tables, or the largest that there is."""
    return int(max(n for n in found["n"].unique() if n <= JUDGED))


def _rate(some: pd.DataFrame, name: str, kind: str, dose: float) -> str:
    own = some[(some["finding"] == name) & (some["kind"] == kind) & (some["dose"] == dose)]
    return _interval(*own[["mean", "low", "high"]].iloc[0]) if len(own) else "–"


def _interval(mean: float, low: float, high: float) -> str:
    """`12 % (5–30)`."""
    return _percent(mean) + ("" if np.isnan(low) else f" ({100 * low:.0f}–{100 * high:.0f})")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _title(kind: str, dose: float) -> str:
    return f"{kind} {dose:g}" if kind in DOSES else kind


def _name(name: str, known: Mapping[str, Finding]) -> str:
    finding = named(name, known)
    return f"**{finding.label}**" if finding.counted else finding.label
