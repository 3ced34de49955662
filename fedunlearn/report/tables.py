"""Runs as tables: one row per run (`tidy`), and one row per method (`summary_table`).

Both hold numbers; how a summary looks on paper and screen is in `formats`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from rich.table import Table

from fedunlearn.report import names, verdict
from fedunlearn.report import runs as reading
from fedunlearn.report.formats import to_markdown, to_rich
from fedunlearn.report.latex import to_latex
from fedunlearn.report.runs import Run, known
from fedunlearn.report.statistics import column, estimate, failed_gates
from fedunlearn.report.swept import columns_of
from fedunlearn.results import sampling
from fedunlearn.results.findings import Declared, Finding, named
from fedunlearn.results.summary import FURTHER
from fedunlearn.settings.config import FLOAT32

__all__ = ["as_unlearned", "headline", "shown", "summary_table", "tidy", "to_latex", "to_markdown", "to_rich"]

STAGES = {"original": "train", "retrained": "retrain", "method": "unlearn"}  # row kind -> whose cost it shows
OF_AUDIT = ("", ".sd", ".gap", ".within", ".best", ".samples")
PARTS = ("forget_test", "forget_train")
COSTS = ("rounds", "seconds", "megabytes")


def tidy(folders: Iterable[Path]) -> pd.DataFrame:
    """One row per run folder, in the order given; never raises for a bad run (see its `status` and `reason`).

    Below these, a row for every other form of a run's models: after the repair (`repair`; empty above) and rounded to a
    format (`format`; float32 above).
    Columns: `setting` (what makes runs comparable, in words), `label` (the method, with what tells it from its
    variants), `method`, `dataset`, `model`, `partition`, `alpha`, `clients`, `seed`, `format`, `repair`, `forget`,
    `status`, `reason`, `samples.P` (how many, such as `forget_test`), `verdict` (empty where there is none) and what it
    is made of (`verdict.columns_of`: `judgement`, `margin.F`, `original_margin.F`, `checks`, …); for every audit
    `original.A`, `retrained.A` (mean of the retrained models), `retrained_low.A`, `retrained_high.A`, `unlearned.A`,
    `gap.A` (unlearned - retrained), `noise.A` (the noise floor, empty where one retrained model leaves it unknown);
    `cost.S.C` for stages train, retrain, unlearn and repair; `cached.S`; `gate.G`; `warnings`, `command`, `folder`.
    """
    return frame_of(reading.in_forms([reading.read(Path(folder)) for folder in folders]))


def as_unlearned(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows about models as unlearning leaves them, in no other form."""
    return rows[(rows["format"] == FLOAT32) & (rows["repair"] == "")]


def frame_of(runs: list[Run]) -> pd.DataFrame:
    """`tidy` for runs that are already read, a row for each (`runs.in_formats` adds those in other formats)."""
    rows = [_row(run) for run in runs]
    done = [number for number, run in enumerate(runs) if run.status == "done"]
    for number, more in zip(done, columns_of([runs[number].summary.config for number in done]), strict=True):
        rows[number] |= more
    settings = names.told_apart(
        [row["setting"] for row in rows],
        [
            names.parts_of(run.summary.config, names.telling_settings(run.summary.config, run.format, run.repair))
            for run in runs
        ],
    )
    labels = names.told_apart(
        [
            f"{where}\n{run.chosen('method')}{names.adapted(run.summary.config)}"
            for where, run in zip(settings, runs, strict=True)
        ],
        [names.parts_of(run.summary.config, names.telling_choices(run.summary.config)) for run in runs],
    )
    for row, where, name in zip(rows, settings, labels, strict=True):
        row |= {"setting": where, "label": name.partition("\n")[2]}
    return pd.DataFrame(rows).astype({"clients": "Int64", "seed": "Int64"})


def _row(run: Run) -> dict[str, Any]:
    summary = run.summary
    config, classes = summary.config, summary.class_names
    partition = config.get("partition") or {}
    return {
        "setting": names.setting(config, classes, run.format, run.repair),
        "label": "",
        **{section: run.chosen(section) for section in reading.NAMED},
        "alpha": partition.get("alpha"),
        "clients": partition.get("clients"),
        "seed": run.seed,
        "format": run.format,
        "repair": run.repair,
        "adapter": names.adapted(config).removeprefix(" by "),
        "select": run.chosen("select"),
        "forget": names.request(config.get("request") or {}, classes),
        "status": run.status,
        "reason": run.reason,
        **{f"samples.{part}": number for part, number in summary.samples.items()},
        **verdict.columns_of(run),
        **_audits(run),
        **_costs(run),
        **{f"cached.{stage}": was for stage, was in summary.cached.items()},
        **{f"gate.{name}": passed for name, passed in summary.gates.items()},
        "warnings": " ".join(summary.warnings),
        "command": summary.command,
        "folder": str(run.folder),
    }


def _audits(run: Run) -> dict[str, float]:
    row = {f"{model}.{a}": x for model in ("original", "retrained", "unlearned") for a, x in run.values(model).items()}
    for audit in run.values("retrained"):
        each = run.retrained(audit)
        if each:
            row |= {f"retrained_low.{audit}": min(each), f"retrained_high.{audit}": max(each)}
    row |= {f"gap.{audit}": gap for audit, gap in known(run.summary.gap).items()}
    floors = known(run.summary.noise_floor).items()
    return row | {f"noise.{audit}": floor for audit, floor in floors if len(run.retrained(audit)) > 1}


def _costs(run: Run) -> dict[str, float]:
    stages = (*STAGES.values(), *(stage for stage in ("repair", *FURTHER) if stage in run.summary.cost))
    spent = {stage: known(run.summary.cost.get(stage, {})) for stage in stages}
    row = {f"cost.{stage}.{name}": x for stage, costs in spent.items() for name, x in costs.items()}
    for stage in stages:
        traffic = [row[key] for key in (f"cost.{stage}.bytes_up", f"cost.{stage}.bytes_down") if key in row]
        if traffic:
            row[f"cost.{stage}.megabytes"] = sum(traffic) / 1e6
    return row


def headline(frame: pd.DataFrame, declared: Declared) -> list[str]:
    """The findings worth a column that some run has, with the stand-ins that some run needs."""
    found: list[str] = []
    for name in (finding.name for finding in declared.values() if finding.headline):
        value = column(frame, f"unlearned.{name}")
        stand_ins = [other.name for other in declared.values() if other.stands_in_for == name]
        found += [name] if value.notna().any() else []
        found += [other for other in stand_ins if column(frame, f"unlearned.{other}")[value.isna()].notna().any()]
    return found


def shown(runs: list[Run]) -> Table:
    """The summary of these runs for the console."""
    declared = reading.declared(runs)
    return to_rich(summary_table(frame_of(reading.in_forms(runs)), declared), declared)


def summary_table(frame: pd.DataFrame, declared: Declared) -> pd.DataFrame:
    """Per setting: the original model, the retrained models, their noise floor, then every method; finished runs only.

    `frame` is what `tidy` returns (or its CSV, read back), `declared` what its runs declare. Columns: `setting`, `kind`
    (original, retrained, noise, method), `row` (its name), `runs` (how many seeds), `failed_gates` (in words; empty if
    all passed), `verdict` (counted over seeds, such as `2 erased, 1 suppressed`; empty if no run has one), `checks`
    (how many of the findings that count say what, in words); `samples` to `samples.most` forget samples of the split
    `samples.split` (0: not known), and `A.samples` of them that a finding is a share of (0: it is none); for every
    headline audit `A` (mean over seeds), `A.sd`, and for methods `A.gap` (mean over seeds of unlearned - retrained),
    `A.within` (whether the gap is at most the mean noise floor; empty if unknown), `A.best` (whether the gap is the
    smallest of several in the setting: nearest to retraining, not the smallest number); the means of `rounds`,
    `seconds` and `megabytes`. Gaps are compared by size, those of distances and similarities by their excess.
    A method with a run that failed a gate is not judged: no `within`, and it is never `best`.
    """
    done = frame[frame["status"] == "done"]
    audits = [named(name, declared) for name in headline(done, declared)]
    rows = [row for name, block in done.groupby("setting", sort=False) for row in _block(str(name), block, audits)]
    columns = ["setting", "kind", "row", "runs", "failed_gates", "verdict", "checks"]
    columns += ["samples", "samples.most", "samples.split"]
    columns += [
        f"{audit.name}{part}" for audit in audits for part in ("", ".sd", ".gap", ".within", ".best", ".samples")
    ]
    return pd.DataFrame(rows, columns=[*columns, *COSTS])


def _block(setting: str, block: pd.DataFrame, findings: list[Finding]) -> list[dict[str, Any]]:
    audits = [finding.name for finding in findings]
    references = [_reference(block, kind, audits) for kind in ("original", "retrained")]
    noise = {audit: estimate(column(block, f"noise.{audit}"), block["seed"]).mean for audit in audits}
    methods = [_method(str(label), group, findings) for label, group in block.groupby("label", sort=False)]
    _mark_best(methods, findings)
    rows = [*references, {"kind": "noise", "row": "noise floor", "failed_gates": "", "verdict": "", **noise}, *methods]
    return [{"setting": setting, "checks": "", **_samples(block, findings), **row} for row in rows]


def _samples(block: pd.DataFrame, findings: list[Finding]) -> dict[str, Any]:
    """How many forget samples there are, at least and at most, of which split; and how many a finding is a share of."""
    every = [
        {part: int(number) for part in PARTS if pd.notna(number := row.get(f"samples.{part}"))}
        for row in block.to_dict("records")
    ]
    numbers = [sampling.forgotten(samples) for samples in every]
    shares = {f"{finding.name}.samples": min(sampling.behind(finding, each) for each in every) for finding in findings}
    return {"samples": min(numbers)[0], "samples.most": max(numbers)[0], "samples.split": max(numbers)[1], **shares}


def _reference(block: pd.DataFrame, kind: str, audits: list[str]) -> dict[str, Any]:
    return {"kind": kind, "row": kind, "verdict": "", **_means(block, kind, audits), **_mean_costs(block, STAGES[kind])}


def _method(label: str, group: pd.DataFrame, findings: list[Finding]) -> dict[str, Any]:
    row: dict[str, Any] = {"kind": "method", "row": label, "verdict": verdict.counted(group)}
    row |= {**_means(group, "unlearned", [finding.name for finding in findings]), **_mean_costs(group, "unlearn")}
    for finding in findings:
        gap = estimate(column(group, f"gap.{finding.name}"), group["seed"]).mean
        floor = estimate(column(group, f"noise.{finding.name}"), group["seed"]).mean
        judged = not row["failed_gates"] and pd.notna(gap) and pd.notna(floor)
        within = bool(finding.excess(gap) <= floor) if judged else None
        row |= {f"{finding.name}.gap": gap, f"{finding.name}.within": within}
    row["checks"] = "" if row["failed_gates"] else verdict.checked(group)
    return row


def _means(group: pd.DataFrame, model: str, audits: list[str]) -> dict[str, Any]:
    row: dict[str, Any] = {"runs": group["seed"].nunique(), "failed_gates": failed_gates(group)}
    for audit in audits:
        value = estimate(column(group, f"{model}.{audit}"), group["seed"])
        row |= {audit: value.mean, f"{audit}.sd": value.sd}
    return row


def _mean_costs(group: pd.DataFrame, stage: str) -> dict[str, float]:
    return {name: estimate(column(group, f"cost.{stage}.{name}"), group["seed"]).mean for name in COSTS}


def _mark_best(methods: list[dict[str, Any]], findings: list[Finding]) -> None:
    for finding in findings:
        distances = [_distance(finding, row) for row in methods]
        judged = [distance for distance in distances if pd.notna(distance)]
        nearest = min(judged) if len(judged) > 1 else None  # the only one would be best of nothing
        for row, distance in zip(methods, distances, strict=True):
            row[f"{finding.name}.best"] = bool(pd.notna(distance) and nearest is not None and distance == nearest)


def _distance(finding: Finding, row: dict[str, Any]) -> float:
    gap = row[f"{finding.name}.gap"]
    return float("nan") if row["failed_gates"] or pd.isna(gap) else finding.excess(gap)
