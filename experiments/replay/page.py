"""The tables: what selectors cost and keep, and whether a chosen subset is better than a random one."""

from __future__ import annotations

import pandas as pd

from experiments.survival.page import above_zero, shown
from experiments.sweeps import markdown
from fedunlearn.report.formats import UNKNOWN, fixed, signed
from fedunlearn.report.statistics import Estimate, column, estimate

CELL = ["setting", "method"]
SAME = [*CELL, "seed", "share"]  # what a selector and `random` must have in common to be held against each other
RETAIN, WORST, FORGET, LEAK = "unlearned.retain_accuracy", "worst_class", "unlearned.forget_accuracy", "unlearned.leak"
SAMPLES, SECONDS, DISTANCE = "cost.unlearn.samples", "cost.unlearn.seconds", "distance"
POINT, BUDGET = 0.01, 0.35  # of retain accuracy; of the unlearning samples
READING = """\
Numbers are means over seeds with half their 95 % t-interval; differences are taken seed by seed, from the run on the
same data with another selector. *Samples*: forward-backward passes while unlearning, forget samples included, as a
share of those with all retain samples. *Seconds*: of the whole unlearning stage, selection included. *Worst class*:
lowest accuracy on a retained class. *Distance*: energy distance of all that clients keep to all that they retain, in
the original model's features; only a simulation can know it. A chosen subset is *better* than a random one where the
whole interval is above 0 (below 0 for the distance)."""


def build(frame: pd.DataFrame) -> str:
    """Markdown, from the table of the runs."""
    done = against_all(frame[frame["status"] == "done"])
    parts = ["# Which retain samples clients replay", READING, "## Enough?", enough(done)]
    parts += ["## Better than a random subset?", versus_random(done)]
    for (where, method), group in done.groupby(CELL, sort=False):
        parts += [f"## {method}, {where}", table(group)]
    seeds = ", ".join(map(str, sorted(done["seed"].unique())))
    return "\n\n".join([*parts, f"Seeds {seeds}; versions and machine are in environment.json, every run in runs.csv."])


def against_all(done: pd.DataFrame) -> pd.DataFrame:
    """Every run with what differs from the one on all samples: `lost.F`, `ratio.samples`."""
    same = [*CELL, "seed"]
    whole = done[done["select"] == "all"].set_index(same)
    at = pd.MultiIndex.from_frame(done[same])
    differences = {f"lost.{name}": column(done, name) - whole[name].reindex(at).to_numpy() for name in (RETAIN, WORST)}
    ratio = column(done, SAMPLES) / whole[SAMPLES].reindex(at).to_numpy()
    return done.assign(**differences, **{"ratio.samples": ratio})


def over_seeds(rows: pd.DataFrame, name: str) -> Estimate:
    return estimate(column(rows, name), rows["seed"])


def table(group: pd.DataFrame) -> str:
    """A line for each selector and share, the shares below each other."""
    header = ["selector", "share", "samples", "retain accuracy", "minus all", "worst class", "minus all"]
    header += ["forget accuracy", "leak", "seconds", "distance"]
    lines = []
    for (share, name), runs in group.groupby(["share", "select"], sort=False):
        values = [
            shown(over_seeds(runs, "ratio.samples")),
            shown(over_seeds(runs, RETAIN)),
            shown(over_seeds(runs, f"lost.{RETAIN}"), signed),
            shown(over_seeds(runs, WORST)),
            shown(over_seeds(runs, f"lost.{WORST}"), signed),
            *(shown(over_seeds(runs, finding)) for finding in (FORGET, LEAK)),
            shown(over_seeds(runs, SECONDS)),
            shown(over_seeds(runs, DISTANCE)),
        ]
        lines.append([str(name), f"{100 * float(share):g} %", *values])  # type: ignore[arg-type]
    return markdown(header, lines)


def versus_random(done: pd.DataFrame) -> str:
    """Every selector minus `random`, over all settings, and setting by setting how often it is better."""
    header = ["selector", "share", "retain accuracy", "worst class", "distance", "higher retain accuracy in", "better"]
    lines = []
    for (name, share), runs in _others(done).groupby(["select", "share"], sort=False):
        values = [over_seeds(runs, f"gain.{each}") for each in (RETAIN, WORST, DISTANCE)]
        higher = int((runs[f"gain.{RETAIN}"] > 0).sum())
        better = [
            each for each, good in (("accuracy", above_zero(values[0])), ("worst class", above_zero(values[1]))) if good
        ]
        better += ["distance"] if above_zero(_turned(values[2])) else []
        line = [str(name), f"{100 * float(share):g} %", *(shown(value, signed) for value in values)]  # type: ignore[arg-type]
        lines.append([*line, f"{higher} of {len(runs)}", ", ".join(better) or UNKNOWN])
    return markdown(header, lines)


def _others(done: pd.DataFrame) -> pd.DataFrame:
    """The runs of all selectors but `random`, with their gain on it: `gain.F`."""
    drawn = done[done["select"] == "random"].set_index(SAME)
    others = done[~done["select"].isin(["all", "random"])]
    at = pd.MultiIndex.from_frame(others[SAME])
    gains = {f"gain.{n}": column(others, n) - drawn[n].reindex(at).to_numpy() for n in (RETAIN, WORST, DISTANCE)}
    return others.assign(**gains)


def _turned(value: Estimate) -> Estimate:
    return Estimate(-value.mean, value.sd, value.half, value.n)


def enough(done: pd.DataFrame) -> str:
    """What costs at most a point of retain accuracy at no more than the budget of samples, setting by setting."""
    header = ["method", "setting", "within one point at", "the nearest within the budget"]
    lines = []
    for (where, method), group in done.groupby(CELL, sort=False):
        some = group[group["select"] != "all"]
        told = {
            f"{name} {100 * float(share):g} %": (
                over_seeds(runs, f"lost.{RETAIN}").mean,
                over_seeds(runs, "ratio.samples").mean,
            )
            for (share, name), runs in some.groupby(["share", "select"], sort=False)
        }
        good = [name for name, (lost, ratio) in told.items() if lost >= -POINT and ratio <= BUDGET]
        cheap = [(lost, name) for name, (lost, ratio) in told.items() if ratio <= BUDGET]
        near = max(cheap or [(lost, name) for name, (lost, _) in told.items()])
        lines.append([str(method), str(where), ", ".join(good) or "none", f"{near[1]} ({signed(near[0])})"])
    return (
        f"Retain accuracy at most {fixed(POINT)} below that with all samples, at no more than {fixed(BUDGET)} of the "
        f"unlearning samples:\n\n{markdown(header, lines)}"
    )
