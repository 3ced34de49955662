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
from fedunlearn.report.verdict import NONE
from fedunlearn.results.findings import Finding, named
from fedunlearn.results.verdict import SURFACE
from fedunlearn.runs.declarations import declared
from fedunlearn.runs.steps import RETRAINED

JUDGED = 8  # n of the tables: what a verdict asks for
SMALL = 0.3  # largest dose by which findings are chosen
SEEN = 0.8  # power against head masks that a finding must have to be chosen
# Findings that do not count, with which the verdict is tried: it counted the one until this was measured, and the other
# is what a run has that asks for five shots.
TRIED = ("probe_forget_accuracy", "fewshot_5_accuracy")
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
resampled {power.RESAMPLES:,} times), as draws within a cell share its models; where all cells agree they have no width,
and as cells of one class are alike they are rather too narrow. **Bold**: the verdict counts it now."""


@dataclass(frozen=True)
class Results:
    """`rows`: all models (`planted.measured`); `power`: `power.summed_up` of the judging cells.

    `limits`: by n and finding, the threshold, and the share of retrained models beyond the verdict's; `sampled` and
    `datasets`: as `power`, by the number of forget samples and by the dataset, at the n of the tables; `counted`:
    findings that the verdict counts, `seeing`: those that see head masks in the choosing cells; `verdicts`:
    `judging.rates` of the judging cells, by `findings`: those that count `now`, and with one more each.
    """

    rows: pd.DataFrame
    power: pd.DataFrame
    limits: pd.DataFrame
    sampled: pd.DataFrame
    datasets: pd.DataFrame
    counted: list[str]
    seeing: list[str]
    verdicts: pd.DataFrame


def declarations() -> dict[str, Finding]:
    """Of the audits that are on if nothing is said, with AUSUC in the place of its leak.

    That is the same on a scale that begins at the retrained models, which no distance here depends on, and ends at the
    original, where it has no value if these two agree.
    """
    known = declared(command_line.read([], main.conf_dir()))
    leak = known.pop("leak")
    return {**known, "ausuc": replace(known["ausuc"], label=leak.label, counted=leak.counted)}


def results(rows: pd.DataFrame, sampled: pd.DataFrame) -> Results:
    """Everything that the page says, from the models of all cells, and of some on fresh forget samples."""
    known = declarations()
    findings = power.findings_of(rows, known)
    found = power.table(rows, findings)
    judged = found[found["part"] == "judging"]
    counted = [finding.name for finding in findings if finding.counted]
    seeing = choice(power.summed_up(found[found["part"] == "choosing"]))
    limits = judged[judged["kind"] == RETRAINED].groupby(["n", "finding"], sort=False)[["threshold", "verdict"]].mean()
    own = rows[rows["part"] == "judging"]
    measured = {finding.name for finding in findings}
    more = {f"with {known[name].label}": [*counted, name] for name in TRIED if name in measured}
    sets = {"now": counted, **more}
    verdicts = [_errors(own, known, names).assign(findings=which) for which, names in sets.items()]
    fresh = power.findings_of(sampled, known)
    by_samples = [
        _judged(power.table(some, fresh)).assign(forget_samples=count)
        for count, some in sampled.groupby("forget_samples")
    ]
    by_dataset = [_judged(some).assign(dataset=name) for name, some in judged.groupby("dataset", sort=False)]
    return Results(
        rows=rows,
        power=power.summed_up(judged),
        limits=limits.reset_index(),
        sampled=pd.concat(by_samples, ignore_index=True),
        datasets=pd.concat(by_dataset, ignore_index=True),
        counted=counted,
        seeing=seeing,
        verdicts=pd.concat(verdicts, ignore_index=True),
    )


def _judged(found: pd.DataFrame) -> pd.DataFrame:
    """`power.summed_up` of the judging cells in a `power.table`, at the n of the tables."""
    return power.summed_up(found[(found["part"] == "judging") & (found["n"] == shown(found))])


def choice(found: pd.DataFrame) -> list[str]:
    """The findings that see head masks, which nothing on the surface does; the best first, by `ranked`.

    From `power.summed_up` of the choosing cells, at the n of the tables or the largest below.
    """
    some = found[found["n"] == shown(found)]
    seen = some[(some["kind"] == HEAD_MASK) & (some["mean"] >= SEEN)]["finding"]
    return ranked(some[some["finding"].isin(seen)])


def build(found: Results) -> str:
    """Markdown."""
    cells = found.rows.drop_duplicates("cell")
    counts = cells.groupby(["part", "dataset"], sort=False)["cell"].count()
    where = ", ".join(f"{number} of {dataset} for {part}" for (part, dataset), number in counts.items())
    known = declarations()
    parts = ["# How well do audits tell what is left?", READING, f"Cells: {where}.", "![Power](power.png)"]
    parts += ["## Power, by what is left", _powers(found, known), "## Power, by the number of retrained models"]
    parts += [_sizes(found, known), "## Power, by the number of forget samples", _samples(found, known)]
    parts += ["## Power, by dataset", _datasets(found, known)]
    parts += ["## Which findings have power", _seeing(found, known), "## The verdict's own errors", VERDICTS]
    parts += [_verdicts(found), "## Are planted models usable?", USABLE, _usable(found.rows)]
    parts += [COMMAND.format(cells=len(cells))]
    return "\n\n".join(parts) + "\n"


SIZES = f"""\
Mean power against planted doses up to {SMALL:g}, in cells whose bank is larger than n."""
BEYOND = """\
The verdict has a threshold of its own, the edge of its band, which is the same for all findings:"""
VERDICTS = f"""\
The verdict with {judging.RETRAINED_MODELS} retrained models of the bank, drawn {judging.VERDICTS} times in each judging
cell: mean share of draws over cells, with its Wilson interval for as many samples as there are cells. A retrained model
should never be called suppressed, a head mask never erased. *now*: by the findings that count; the others: by one
more."""
USABLE = """\
Mean retain accuracy, and lowest of a cell minus the mean of its retrained models: a mixture of networks can be none."""
COMMAND = """\
## Command

```
python -m experiments.audit_power --data DIR --cells {cells}
```

Every model with its findings is in runs.csv and samples.csv, every rate in power.csv and verdicts.csv. environment.json
is of the models; verdicts are by the rule of the code that wrote this page (`--page`)."""


def _powers(found: Results, known: Mapping[str, Finding]) -> str:
    some = found.power[found.power["n"] == shown(found.power)]
    header = [f"finding, n = {shown(found.power)}", *(_title(kind, dose) for kind, dose in KINDS)]
    return markdown(
        header, [[_name(name, known), *(_rate(some, name, *kind) for kind in KINDS)] for name in ranked(some)]
    )


def _sizes(found: Results, known: Mapping[str, Finding]) -> str:
    """By n, and the false alarms of the verdict's own threshold."""
    limits = found.limits.pivot(index="finding", columns="n", values="verdict")
    header = ["retrained models beyond the verdict's band", *(f"n = {n}" for n in limits.columns)]
    lines = [[_name(name, known), *map(_percent, limits.loc[name])] for name in limits.index]
    return f"{SIZES}\n\n{_against(found.power, 'n', 'n = {}', known)}\n\n{BEYOND}\n\n{markdown(header, lines)}"


def _samples(found: Results, known: Mapping[str, Finding]) -> str:
    cells, n = (int(found.sampled[name].max()) for name in ("cells", "n"))
    said = f"The same models of letters on fresh forget samples, n = {n}, over {cells} judging cells."
    return f"{said}\n\n{_against(found.sampled, 'forget_samples', '{} samples', known)}"


def _datasets(found: Results, known: Mapping[str, Finding]) -> str:
    n = int(found.datasets["n"].max())
    return f"n = {n}.\n\n{_against(found.datasets, 'dataset', '{}', known)}"


def _against(some: pd.DataFrame, by: str, title: str, known: Mapping[str, Finding]) -> str:
    """Power against small doses and false alarms of every finding, by a column."""
    values = list(dict.fromkeys(some[by]))
    header = ["finding", *(f"{what}, {title.format(each)}" for what in ("power", "false alarms") for each in values)]
    lines = []
    for name in ranked(some):
        own = some[some["finding"] == name]
        false = own[own["kind"] == RETRAINED].set_index(by)["mean"]
        lines.append(
            [_name(name, known), *(_percent(rates[each]) for rates in (small_doses(own, by), false) for each in values)]
        )
    return markdown(header, lines)


def _seeing(found: Results, known: Mapping[str, Finding]) -> str:
    """The rule, which findings pass, and what the verdict would be with others."""
    passed = ", ".join(named(name, known).label for name in found.seeing) or "none"
    said = (
        f"By a rule, on the choosing cells alone, a finding has power if it sees at least {100 * SEEN:.0f} % of head "
        f"masks: {passed}. The verdict counts those of them that every run has; how many shots there are is a setting."
    )
    return f"{said}\n\n{_compared(found)}"


def _compared(found: Results) -> str:
    """On the judging cells, by the findings that count now and with one more."""
    sets, lines = list(dict.fromkeys(found.verdicts["findings"])), []
    for title, kinds, words in (
        ("retrained models called suppressed", [RETRAINED], ["suppressed"]),
        ("retrained models called erased", [RETRAINED], ["erased"]),
        ("retrained models without a verdict", [RETRAINED], [NONE]),
        ("head masks called erased", [HEAD_MASK], ["erased"]),
        ("head masks called suppressed", [HEAD_MASK], ["suppressed"]),
        (
            f"planted doses up to {SMALL:g} found: called suppressed or not erased",
            [*DOSES],
            ["suppressed", "not erased"],
        ),
    ):
        some = found.verdicts[found.verdicts["kind"].isin(kinds) & found.verdicts["word"].isin(words)]
        some = some[(some["dose"] <= SMALL) | (some["kind"] == HEAD_MASK)]
        shares = some.groupby(["findings", "kind", "dose"])["share"].sum().groupby("findings").mean()
        lines.append([title, *(_percent(shares[which]) if which in shares else "–" for which in sets)])
    return markdown(["on the judging cells", *sets], lines)


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
    words = ("not erased", "suppressed", "over-erased", "erased", NONE)
    return pd.concat([judging.rates(said, word) for word in words], ignore_index=True)


def small_doses(some: pd.DataFrame, by: str) -> pd.Series:
    """Mean power against planted doses up to `SMALL`, by what a column says."""
    small = some[some["kind"].isin(DOSES) & (some["dose"] <= SMALL)]
    return small.groupby(by, sort=False)["mean"].mean()


def ranked(some: pd.DataFrame) -> list[str]:
    """Findings by that."""
    return [str(name) for name in small_doses(some, "finding").sort_values(ascending=False, kind="stable").index]


def shown(found: pd.DataFrame) -> int:
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
