"""What the settings of a run are called in tables and figures, and how runs that read the same are told apart."""

# ruff: noqa: RUF001 (Greek letters are meant)

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fedunlearn.plain import flat
from fedunlearn.settings.config import FLOAT32

# Parts of a configuration that make two runs comparable (the rounds of unlearning are among them because retraining
# goes on for as long), and those that tell methods apart.
SETTING = ("dataset", "data", "model", "partition", "request", "train", "retrain", "unlearn.rounds", "audit")
VARIANT = ("method", "unlearn", "select")
ROUNDED = ("deploy.backend", "deploy.group_size")  # of models in other formats than float32
ELSEWHERE = ("data.root", "data.download")  # where a machine keeps the data says nothing about the run


def telling_settings(config: Mapping[str, Any], format: str, repair: str = "") -> tuple[str, ...]:
    """The parts of a configuration that tell settings apart that read the same."""
    more = {"augment": augmented(config), "repair": repair}
    return (*SETTING, *(() if format == FLOAT32 else ROUNDED), *(part for part, there in more.items() if there))


def augmented(config: Mapping[str, Any]) -> str:
    """`flip_crop`, the augmentation of a run's images; empty for none."""
    name = str((config.get("augment") or {}).get("name", "none"))
    return "" if name == "none" else name


def adapted(config: Mapping[str, Any]) -> str:
    """` by lora`, after the name of a method that trained adapters; else empty."""
    name = (config.get("adapter") or {}).get("name", "none")
    return "" if name == "none" else f" by {name}"


def telling_choices(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The parts of a configuration that tell methods apart that read the same."""
    return (*VARIANT, "adapter") if adapted(config) else VARIANT


def form(format: str, repair: str = "") -> str:
    """`repaired by average logit gap, at int4`: what models went through; empty for those as unlearning leaves them."""
    parts = (f"repaired by {repair.replace('_', ' ')}" if repair else "", "" if format == FLOAT32 else f"at {format}")
    return ", ".join(filter(None, parts))


def setting(config: Mapping[str, Any], class_names: Sequence[str] = (), format: str = FLOAT32, repair: str = "") -> str:
    """`mnist, lenet, dirichlet α=0.1, 10 clients, augmented by blur, forgetting class 3 (three), at int4`.

    What is not in `config` is left out, and so are no augmentation and float32.
    """
    names = [str((config.get(part) or {}).get("name", "")) for part in ("dataset", "model", "partition")]
    spread = config.get("partition") or {}
    if spread.get("alpha") is not None:
        names[2] += f" α={spread['alpha']:g}"
    clients = f"{spread['clients']:,} clients" if "clients" in spread else ""
    forgotten = request(config.get("request") or {}, class_names)
    parts = (
        *names,
        clients,
        f"augmented by {augmented(config)}" if augmented(config) else "",
        f"forgetting {forgotten}" if forgotten else "",
        form(format, repair),
    )
    return ", ".join(part for part in parts if part)


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


def _named(asked: int | str, names: Sequence[str]) -> str:
    """`9 (Ankle boot)`, whether the class was asked for by number or by name."""
    number = names.index(asked) if isinstance(asked, str) and asked in names else asked
    if isinstance(number, str):  # a run that did not get far enough to say what its classes are called
        return number
    return f"{number} ({names[number]})" if number < len(names) and names[number] != str(number) else str(number)


def several(one: str, many: str, names: Sequence[str]) -> str:
    """`class 3`, `classes 3 and 4`, or `7 classes` where the list would be long."""
    if len(names) > 3:
        return f"{len(names)} {many}"
    return f"{one if len(names) == 1 else many} {' and '.join(filter(None, [', '.join(names[:-1]), names[-1]]))}"


def parts_of(config: Mapping[str, Any], parts: Iterable[str]) -> dict[str, str]:
    """The named parts of a configuration, such as `train` or `unlearn.rounds`, as `{"train.lr": "0.05", ...}`."""
    known = flat(config)
    found: dict[str, str] = {}
    for part in parts:
        own = {key: str(value) for key, value in known.items() if key == part or key.startswith(f"{part}.")}
        found |= own or {part: "None"}
    return {key: value for key, value in found.items() if key not in ELSEWHERE}


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
