"""The verdict's own errors: how often it says what of a model of which we know what is left in it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import pandas as pd

from fedunlearn.randomness import numpy_stream
from fedunlearn.report.verdict import NONE
from fedunlearn.results import gates
from fedunlearn.results.findings import Finding
from fedunlearn.results.sampling import wilson
from fedunlearn.results.verdict import SURFACE, UTILITY, Compared, judge
from fedunlearn.runs.steps import ORIGINAL, RETRAINED
from fedunlearn.tasks.classification import TASKS

RETRAINED_MODELS = 8  # that a verdict is made with
VERDICTS = 50  # draws of these from the bank of each cell
(TASK,) = (task for task in TASKS.values() if task.name == "classification")


def counting(declared: Mapping[str, Finding], counted: Collection[str]) -> dict[str, Finding]:
    """The declarations, of which these are counted instead."""
    return {name: replace(finding, counted=name in counted) for name, finding in declared.items()}


def words(rows: pd.DataFrame, declared: Mapping[str, Finding], draws: int = VERDICTS) -> pd.DataFrame:
    """Of each cell in `rows`, kind and dose: the share of draws in which the verdict is a `word`, as `share`.

    A retrained model is held against others that were drawn; where a cell has few of them, against one less than all.
    """
    lines = []
    for name, group in rows.groupby("cell", sort=False):
        said = _of_cell(group, declared, draws)
        shares = said.groupby(["kind", "dose"], sort=False)["word"].value_counts(normalize=True).rename("share")
        lines.append(shares.reset_index().assign(cell=name, part=group["part"].iloc[0]))
    return pd.concat(lines, ignore_index=True)


def rates(said: pd.DataFrame, wanted: str) -> pd.DataFrame:
    """Of `words`, by kind and dose: the mean share of `wanted` over cells, with its Wilson interval.

    As many cells as there are, and not draws, are the sample: those of a cell share its models.
    """
    lines = []
    for (kind, dose), group in said.groupby(["kind", "dose"], sort=False):
        cells = group["cell"].nunique()
        share = float(group.loc[group["word"] == wanted, "share"].sum()) / cells
        low, high = wilson(min(share, 1.0), cells)
        ever = int((group["word"] == wanted).sum())
        line = {"kind": kind, "dose": dose, "word": wanted, "share": share, "low": low, "high": high}
        lines.append({**line, "cells": cells, "ever": ever})
    return pd.DataFrame(lines)


def _of_cell(group: pd.DataFrame, declared: Mapping[str, Finding], draws: int) -> pd.DataFrame:
    numbers = [name for name in declared if name in group]
    models = [{name: _known(row[name]) for name in numbers} for _, row in group.iterrows()]
    kinds = list(group["kind"])
    bank = [model for model, kind in zip(models, kinds, strict=True) if kind == RETRAINED]
    original = models[kinds.index(ORIGINAL)]
    planted = [
        (k, d, m) for k, d, m in zip(kinds, group["dose"], models, strict=True) if k not in (ORIGINAL, RETRAINED)
    ]
    stream = numpy_stream(0, "verdicts", len(bank))
    first = group.iloc[0]
    lines = []
    for _ in range(draws):
        order = stream.permutation(len(bank))
        drawn = [bank[number] for number in order[: min(RETRAINED_MODELS, len(bank) - 1)]]
        for kind, dose, model in [(RETRAINED, 0.0, bank[order[-1]]), *planted]:
            word = _word(Compared(original, model, drawn), declared, 1 / first["classes"], int(first["forget_samples"]))
            lines.append({"kind": kind, "dose": dose, "word": word})
    return pd.DataFrame(lines)


def _word(models: Compared, declared: Mapping[str, Finding], chance: float, samples: int) -> str:
    passed = gates.check(models.original, models.retrained, chance, TASK.unseen_at_chance, TASK.learnt)
    expected = [SURFACE, UTILITY, *(finding.name for finding in declared.values() if finding.counted)]
    return judge(models, declared, passed, chance=chance, samples=samples, expected=expected).word or NONE


def _known(value: float | None) -> float | None:
    return None if pd.isna(value) else value
