"""What things are called in tables and figures: audits, gates, settings of a run."""

# ruff: noqa: RUF001 (Greek letters are meant)

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# Columns of a summary table, where some run has them. The second name stands in for the first in runs that lack it
# (requests that forget no whole class have no forgotten class in the test split).
HEADLINE = ("forget_accuracy", "retain_accuracy", "flow_tv", "leak", "probe_forget_accuracy")
STAND_IN = {"forget_accuracy": "forget_accuracy_train"}

LABELS = {
    "forget_accuracy": "forget accuracy",
    "retain_accuracy": "retain accuracy",
    "forget_accuracy_train": "forget accuracy (train)",
    "retain_accuracy_train": "retain accuracy (train)",
    "flow_tv": "flow TV",
    "flow_js": "flow JS",
    "flow_confidence": "flow confidence",
    "ausuc": "AUSUC",
    "leak": "AUSUC leak",
    "gamma_recovered": "accuracy recovered by γ",
    "probe_forget_accuracy": "probe forget accuracy",
    "probe_accuracy": "probe accuracy",
    "membership_auc": "membership AUC",
    "cmia_auc": "CMIA AUC",
    "cmia_distance": "CMIA distance",
    "ou_gaussian": "over-unlearning (noise)",
    "ou_pgd": "over-unlearning (PGD)",
    "client_accuracy_min": "lowest client accuracy",
    "client_accuracy_mean": "mean client accuracy",
    "client_accuracy_std": "spread of client accuracy",
    "cka_forget": "CKA forget",
    "cka_retain": "CKA retain",
    "u_lira_auc": "U-LiRA AUC",
    "u_lira_tpr": "U-LiRA at 1 % false alarms",
}

GATES = {
    "original_learnt_task": "the original model did not learn the task",
    "original_learnt_forget": "the original model did not learn what is to be forgotten",
    "retrained_at_chance": "the retrained model is not at chance on what it never saw",
}

# Parts of a configuration that make two runs comparable (the rounds of unlearning are among them because retraining
# goes on for as long), and those that tell methods apart.
SETTING = ("dataset", "data", "model", "partition", "request", "train", "retrain", "unlearn.rounds", "audit")
VARIANT = ("method", "unlearn")
ELSEWHERE = ("data.root", "data.download")  # where a machine keeps the data says nothing about the run


def label(audit: str) -> str:
    """The name of an audit as a reader sees it."""
    shots = re.fullmatch(r"fewshot_(\d+)_accuracy", audit)
    return f"{shots[1]}-shot accuracy" if shots else LABELS.get(audit, audit.replace("_", " "))


def gate(name: str) -> str:
    """What it means that a gate was not passed."""
    return GATES.get(name, f"gate {name!r} was not passed")


def setting(config: Mapping[str, Any], class_names: Sequence[str] = ()) -> str:
    """`mnist, lenet, dirichlet α=0.1, 10 clients, forgetting class 3 (three)`; what is not in `config` is left out."""
    names = [str((config.get(part) or {}).get("name", "")) for part in ("dataset", "model", "partition")]
    spread = config.get("partition") or {}
    if spread.get("alpha") is not None:
        names[2] += f" α={spread['alpha']:g}"
    clients = f"{spread['clients']:,} clients" if "clients" in spread else ""
    forgotten = request(config.get("request") or {}, class_names)
    return ", ".join(part for part in (*names, clients, f"forgetting {forgotten}" if forgotten else "") if part)


def request(given: Mapping[str, Any], class_names: Sequence[str] = ()) -> str:
    """What was to be forgotten: `class 3 (three)`, `clients 1 and 4`, `20 samples of client 0`."""
    classes, clients, samples = (given.get(part) or () for part in ("classes", "clients", "samples"))
    if classes:
        return several("class", "classes", [_named(c, class_names) for c in classes])
    if clients:
        return several("client", "clients", list(map(str, clients)))
    if samples:
        return f"{sum(samples.values()):,} samples of {several('client', 'clients', list(samples))}"
    return ""


def _named(number: int, names: Sequence[str]) -> str:
    return f"{number} ({names[number]})" if number < len(names) and names[number] != str(number) else str(number)


def several(one: str, many: str, names: Sequence[str]) -> str:
    """`class 3`, `classes 3 and 4`, or `7 classes` where the list would be long."""
    if len(names) > 3:
        return f"{len(names)} {many}"
    return f"{one if len(names) == 1 else many} {' and '.join(filter(None, [', '.join(names[:-1]), names[-1]]))}"


def flat(config: Mapping[str, Any], parts: Iterable[str]) -> dict[str, str]:
    """The named parts of a configuration, such as `train` or `unlearn.rounds`, as `{"train.lr": "0.05", ...}`."""
    found: dict[str, str] = {}
    for part in parts:
        value: Any = config
        for key in part.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        _flatten(part, value, found)
    return {key: value for key, value in found.items() if key not in ELSEWHERE}


def _flatten(key: str, value: object, into: dict[str, str]) -> None:
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            _flatten(f"{key}.{name}", item, into)
    else:
        into[key] = str(value)


def told_apart(texts: Sequence[str], details: Sequence[Mapping[str, str]]) -> list[str]:
    """`texts`, those that read the same followed by the details in which they differ: `fucrt (unlearn.lr=1.0)`."""
    alike: dict[str, list[Mapping[str, str]]] = {}
    for text, own in zip(texts, details, strict=True):
        alike.setdefault(text, []).append(own)
    keys = {text: _differing(group) for text, group in alike.items()}
    return [_with(text, own, keys[text]) for text, own in zip(texts, details, strict=True)]


def _differing(details: Sequence[Mapping[str, str]]) -> list[str]:
    keys = dict.fromkeys(key for own in details for key in own)
    return [key for key in keys if len({own.get(key) for own in details}) > 1]


def _with(text: str, own: Mapping[str, str], keys: Sequence[str]) -> str:
    shown = [f"{key.removeprefix('method.')}={own.get(key, 'none')}" for key in keys]
    return f"{text} ({', '.join(shown)})" if shown else text
