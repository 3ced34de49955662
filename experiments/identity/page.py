"""The page: what losses reach, what a split by image leaks, and what methods leave of an individual."""

from __future__ import annotations

import pandas as pd

from experiments.sweeps import markdown, spread
from fedunlearn.report.formats import signed
from fedunlearn.report.statistics import column, failed_gates
from fedunlearn.report.verdict import NONE, WORDS

METHODS, LOSSES, LEAKS, BACKBONES = "methods", "losses", "leaks", "backbones"
READING = """\
Accuracy and F1 are those of the study ([arXiv 2501.02112](https://arxiv.org/abs/2501.02112)): one training image of
each individual is its anchor, and a test image gets the name of the nearest one. TAR is the share of pairs of images
of one individual that are accepted where 1 % of pairs of two are
([docs/audits.md](../../docs/audits.md#verification)), *seen* of individuals that models were trained on, *strangers* of
those that nobody ever trained on. ± is the standard deviation over seeds, or over cells."""
FACES = """\
`identity_folder` are the ORL faces (AT&T Laboratories Cambridge): of 40 persons 32 are trained on, with seven
photographs each, and eight are strangers. One seed."""
OF_BACKBONES = """\
All from random weights, with one seed, and after the same few rounds, in which larger networks learn less (the commands
below say how many). The study's networks began with weights of ImageNet and left them as they were."""
HEADERS = {
    "anchor_accuracy": "accuracy",
    "anchor_f1": "F1",
    "retain_tar_1": "TAR, seen",
    "unseen_tar_1": "TAR, strangers",
    "retain_eer": "EER, seen",
    "unseen_eer": "EER, strangers",
    "unseen_map": "mAP, strangers",
}
OF_METHODS = """\
## Methods

A cell is an individual and a seed. In each, every method starts from the same original model and is held against the
same retrained ones. *Between strangers*: in how many cells the TAR of the forgotten individual is no higher than that
of the stranger that is verified best. *Re-enrolled*: share of the individual's images that are recognised after it was
enrolled with three others. *False matches*: share of pairs with images of the retained individual that it is confused
with most, at FAR 1 %. *Retain gap*: TAR of retained individuals minus that of retrained models."""


def build(frame: pd.DataFrame) -> str:
    """Markdown, from the table of the runs."""
    done = frame[frame["status"] == "done"]
    parts = ["# Forgetting an individual", READING]
    tables = done[done["sweep"].str.startswith(LOSSES)]
    if len(tables):
        parts += ["## Losses", FACES, _originals(tables, ["dataset", "model", "asked"])]
    if len(nets := done[done["sweep"].str.startswith(BACKBONES)]):
        nets = nets.assign(model=nets["sweep"].str.split("_", n=2).str[2])
        parts += ["## Backbones", OF_BACKBONES, _originals(nets, ["dataset", "model", "asked"])]
    if len(leaks := done[done["sweep"] == LEAKS]):
        told = "Filmed animals: six scenes of each, eight frames of a scene that hardly differ."
        parts += ["## What a split by image leaks", told, _originals(leaks, ["asked"])]
    if len(methods := done[done["sweep"] == METHODS]):
        parts += [OF_METHODS, _told(methods), _methods(methods)]
        parts += [f"A sanity gate failed: {gates}." for gates in [failed_gates(methods)] if gates]
    return "\n\n".join(parts)


def _originals(done: pd.DataFrame, by: list[str]) -> str:
    """What original models reach."""
    done = done.assign(asked=done["asked"].str.extract(r"(?:loss|split)=(\w+)")[0].fillna(""))
    rows = [
        [" ".join(map(str, key)).strip(), *(spread(column(group, f"original.{name}")) for name in HEADERS)]
        for key, group in done.groupby(by, sort=False)
    ]
    return markdown(["", *HEADERS.values()], rows)


def _told(done: pd.DataFrame) -> str:
    """The control that everything rests on, in a sentence."""
    cells = done.drop_duplicates(["forget", "seed"])
    within = (cells["retrained.forget_tar_1"] <= cells["retrained.unseen_tar_most"]).sum()
    above = (cells["original.forget_tar_1"] > cells["original.unseen_tar_most"]).sum()
    return (
        f"Retrained models verify the forgotten individual no better than the best verified stranger in {within} of "
        f"{len(cells)} cells; original models verify it better in {above} of {len(cells)}."
    )


def _methods(done: pd.DataFrame) -> str:
    header = ["method", *WORDS, "TAR forget", "strangers", "between strangers", "mAP forget", "re-enrolled"]
    cells = done.drop_duplicates(["forget", "seed"])
    rows = [_row(str(method), group, "unlearned") for method, group in done.groupby("method", sort=False)]
    rows = [_row("(original)", cells, "original"), _row("(retrained)", cells, "retrained"), *rows]
    return markdown([*header, "false matches", "retain gap"], rows)


def _row(name: str, group: pd.DataFrame, model: str) -> list[str]:
    words = group["verdict"].fillna("").replace("", NONE)
    counts = [str((words == word).sum() or "") for word in WORDS] if model == "unlearned" else [""] * len(WORDS)
    found = {
        finding: column(group, f"{model}.{finding}")
        for finding in ("forget_tar_1", "unseen_tar_1", "forget_map", "forget_enrolled_3", "false_match_any")
    }
    between = int((found["forget_tar_1"] <= column(group, f"{model}.unseen_tar_most")).sum())
    gap = column(group, f"{model}.retain_tar_1") - column(group, "retrained.retain_tar_1")
    tar, strangers, *others = (spread(values) for values in found.values())
    return [name, *counts, tar, strangers, f"{between} of {len(group)}", *others, spread(gap, show=signed)]
