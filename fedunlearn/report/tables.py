"""Runs as tables: one row per run (`tidy`), and one row per method (`summary_table`).

Both hold numbers; how a summary looks on paper and screen is in `formats`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from fedunlearn.report import runs as reading
from fedunlearn.report import verdicts, words
from fedunlearn.report.formats import to_markdown, to_rich
from fedunlearn.report.latex import to_latex
from fedunlearn.report.runs import Run
from fedunlearn.report.statistics import column, estimate, failed_gates
from fedunlearn.results.verdict import excess

__all__ = ["headline", "summary_table", "tidy", "to_latex", "to_markdown", "to_rich"]

STAGES = {"original": "train", "retrained": "retrain", "method": "unlearn"}  # row kind -> whose cost it shows
COSTS = ("rounds", "seconds", "megabytes")


def tidy(folders: Iterable[Path]) -> pd.DataFrame:
    """One row per run folder, in the order given; never raises for a bad run (see its `status` and `reason`).

    Columns: `setting` (what makes runs comparable, in words), `label` (the method, with what tells it from its
    variants), `method`, `dataset`, `model`, `partition`, `alpha`, `clients`, `seed`, `forget`, `status`, `reason`,
    `verdict` (empty where there is none) and of its findings `margin.F` and `original_margin.F`; for every audit
    `original.A`, `retrained.A` (mean of the retrained models), `retrained_low.A`, `retrained_high.A`, `unlearned.A`,
    `gap.A` (unlearned - retrained), `noise.A` (the noise floor, empty where one retrained model leaves it unknown);
    `cost.S.C` for stages train, retrain, unlearn; `cached.S`; `gate.G`; `warnings`, `command`, `folder`.
    """
    return frame_of([reading.read(Path(folder)) for folder in folders])


def frame_of(runs: list[Run]) -> pd.DataFrame:
    """`tidy` for runs that are already read."""
    rows = [_row(run) for run in runs]
    settings = words.told_apart(
        [row["setting"] for row in rows], [words.flat(run.get("config") or {}, words.SETTING) for run in runs]
    )
    labels = words.told_apart(
        [f"{where}\n{row['method']}" for where, row in zip(settings, rows, strict=True)],
        [words.flat(run.get("config") or {}, words.VARIANT) for run in runs],
    )
    for row, where, name in zip(rows, settings, labels, strict=True):
        row |= {"setting": where, "label": name.partition("\n")[2]}
    return pd.DataFrame(rows).astype({"clients": "Int64", "seed": "Int64"})


def _row(run: Run) -> dict[str, Any]:
    config = run.get("config") or {}
    partition = config.get("partition") or {}
    named = {part: (config.get(part) or {}).get("name", "") for part in ("method", "dataset", "model", "partition")}
    classes = run.get("class_names") or ()
    return {
        "setting": words.setting(config, classes),
        "label": "",
        **named,
        "alpha": partition.get("alpha"),
        "clients": partition.get("clients"),
        "seed": config.get("seed"),
        "forget": words.request(config.get("request") or {}, classes),
        "status": run.status,
        "reason": run.reason,
        **verdicts.columns_of(run),
        **_audits(run),
        **_costs(run),
        **{f"cached.{stage}": was for stage, was in (run.get("cached") or {}).items()},
        **{f"gate.{name}": passed for name, passed in (run.get("gates") or {}).items()},
        "warnings": " ".join(run.get("warnings") or ()),
        "command": run.get("command") or "",
        "folder": str(run.folder),
    }


def _audits(run: Run) -> dict[str, float]:
    row = {
        f"{model}.{a}": x
        for model in ("original", "retrained", "unlearned")
        for a, x in run.numbers("models", model).items()
    }
    for audit in run.numbers("models", "retrained"):
        each = run.retrained(audit)
        if each:
            row |= {f"retrained_low.{audit}": min(each), f"retrained_high.{audit}": max(each)}
    row |= {f"gap.{audit}": gap for audit, gap in run.numbers("gap").items()}
    known = {audit: floor for audit, floor in run.numbers("noise_floor").items() if len(run.retrained(audit)) > 1}
    return row | {f"noise.{audit}": floor for audit, floor in known.items()}


def _costs(run: Run) -> dict[str, float]:
    row = {f"cost.{stage}.{name}": x for stage in STAGES.values() for name, x in run.numbers("cost", stage).items()}
    for stage in STAGES.values():
        traffic = [row[key] for key in (f"cost.{stage}.bytes_up", f"cost.{stage}.bytes_down") if key in row]
        if traffic:
            row[f"cost.{stage}.megabytes"] = sum(traffic) / 1e6
    return row


def headline(frame: pd.DataFrame) -> list[str]:
    """The audits worth a column: the chosen few that some run has, with the stand-ins that some run needs."""
    shown: list[str] = []
    for audit in words.HEADLINE:
        value = column(frame, f"unlearned.{audit}")
        stand_in = words.STAND_IN.get(audit)
        if value.notna().any():
            shown.append(audit)
        if stand_in and column(frame, f"unlearned.{stand_in}")[value.isna()].notna().any():
            shown.append(stand_in)
    return shown


def summary_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Per setting: the original model, the retrained models, their noise floor, then every method; finished runs only.

    `frame` is what `tidy` returns (or its CSV, read back). Columns: `setting`, `kind` (original, retrained, noise,
    method), `row` (its name), `runs` (how many seeds), `failed_gates` (in words; empty if all passed), `verdict`
    (counted over seeds, such as `2 erased, 1 suppressed`; empty if no run has one); for every headline audit `A` (mean
    over seeds), `A.sd`, and for methods `A.gap` (mean over seeds of unlearned - retrained), `A.within` (whether the gap
    is at most the mean noise floor; empty if unknown), `A.best` (whether the gap is the smallest of several in the
    setting: nearest to retraining, not the smallest number); the means of `rounds`, `seconds` and `megabytes`. Gaps
    are compared by size, those of distances and similarities by their excess (see `fedunlearn.results.verdict`).
    A method with a run that failed a gate is not judged: no `within`, and it is never `best`.
    """
    done = frame[frame["status"] == "done"]
    audits = headline(done)
    rows = [row for name, block in done.groupby("setting", sort=False) for row in _block(str(name), block, audits)]
    columns = ["setting", "kind", "row", "runs", "failed_gates", "verdict"]
    columns += [f"{audit}{part}" for audit in audits for part in ("", ".sd", ".gap", ".within", ".best")]
    return pd.DataFrame(rows, columns=[*columns, *COSTS])


def _block(setting: str, block: pd.DataFrame, audits: list[str]) -> list[dict[str, Any]]:
    references = [_reference(block, kind, audits) for kind in ("original", "retrained")]
    noise = {audit: estimate(column(block, f"noise.{audit}"), block["seed"]).mean for audit in audits}
    methods = [_method(str(label), group, audits) for label, group in block.groupby("label", sort=False)]
    _mark_best(methods, audits)
    rows = [*references, {"kind": "noise", "row": "noise floor", "failed_gates": "", "verdict": "", **noise}, *methods]
    return [{"setting": setting, **row} for row in rows]


def _reference(block: pd.DataFrame, kind: str, audits: list[str]) -> dict[str, Any]:
    return {"kind": kind, "row": kind, "verdict": "", **_means(block, kind, audits), **_mean_costs(block, STAGES[kind])}


def _method(label: str, group: pd.DataFrame, audits: list[str]) -> dict[str, Any]:
    row: dict[str, Any] = {"kind": "method", "row": label, "verdict": verdicts.counted(group)}
    row |= {**_means(group, "unlearned", audits), **_mean_costs(group, "unlearn")}
    for audit in audits:
        gap = estimate(column(group, f"gap.{audit}"), group["seed"]).mean
        floor = estimate(column(group, f"noise.{audit}"), group["seed"]).mean
        judged = not row["failed_gates"] and pd.notna(gap) and pd.notna(floor)
        row |= {f"{audit}.gap": gap, f"{audit}.within": bool(excess(audit, gap) <= floor) if judged else None}
    return row


def _means(group: pd.DataFrame, model: str, audits: list[str]) -> dict[str, Any]:
    row: dict[str, Any] = {"runs": group["seed"].nunique(), "failed_gates": failed_gates(group)}
    for audit in audits:
        value = estimate(column(group, f"{model}.{audit}"), group["seed"])
        row |= {audit: value.mean, f"{audit}.sd": value.sd}
    return row


def _mean_costs(group: pd.DataFrame, stage: str) -> dict[str, float]:
    return {name: estimate(column(group, f"cost.{stage}.{name}"), group["seed"]).mean for name in COSTS}


def _distance(audit: str, gap: float) -> float:
    return gap if pd.isna(gap) else excess(audit, gap)


def _mark_best(methods: list[dict[str, Any]], audits: list[str]) -> None:
    for audit in audits:
        distances = [pd.NA if row["failed_gates"] else _distance(audit, row[f"{audit}.gap"]) for row in methods]
        judged = [distance for distance in distances if pd.notna(distance)]
        nearest = min(judged) if len(judged) > 1 else None  # the only one would be best of nothing
        for row, distance in zip(methods, distances, strict=True):
            row[f"{audit}.best"] = bool(pd.notna(distance) and nearest is not None and distance == nearest)
