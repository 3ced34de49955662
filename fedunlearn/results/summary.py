"""summary.json: what a run found, as it is written, and as everybody reads it (docs/output.md).

It is the only thing that reports know of a run, and comes from anybody's folder: every field is checked when it is
read. Fields that this version does not know (of a later one) are passed over, those that an older one did not write are
empty.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from fedunlearn.files import write_text
from fedunlearn.plain import finite
from fedunlearn.results.findings import Finding
from fedunlearn.results.verdict import Verdict
from fedunlearn.settings.config import FLOAT32
from fedunlearn.settings.schema import parse, plain

NAME = "summary.json"
FURTHER = ("shadows", "replicas")  # among `cost`: what audits had trained and unlearned besides, all of each together
MENDED = "repaired"  # among `models`: the unlearned model after the repair
OPTIONAL = (
    "reason",
    "profile",
    "spent",
    "judgement",
    "repaired",
    "repair",
    "deployed",
)  # not written where they are empty
Numbers = dict[str, float | None]  # by finding; None where it is not defined
Lists = dict[str, tuple[float | None, ...]]
Plain = dict[str, Any]  # what JSON can hold: a configuration, or the notes of a method


@dataclass(frozen=True)
class Partition:
    """Who holds what: training samples by client and class (`counts`), and those to be forgotten by client."""

    counts: tuple[tuple[int, ...], ...] = ()
    forget: tuple[int, ...] = ()


@dataclass(frozen=True)
class Deployed:
    """A run's models in a form, a format or after a repair: the fields of `Summary` by these names, each model next to
    those of its form.

    `survival`: by role (unlearned), whether the forgetting survives the format (`results.survival`).
    """

    models: dict[str, Numbers] = field(default_factory=dict)
    retrained_seeds: tuple[Numbers, ...] = ()
    noise_floor: Numbers = field(default_factory=dict)
    gap: Numbers = field(default_factory=dict)
    details: dict[str, Lists] = field(default_factory=dict)
    gates: dict[str, bool] = field(default_factory=dict)
    verdict: Verdict | None = None
    judgement: Verdict | None = None
    survival: dict[str, Numbers] = field(default_factory=dict)
    repaired: Deployed | None = None


@dataclass(frozen=True)
class Summary:
    """A run: `status` is done, or failed for a `reason`, with no more than `config` and `command`.

    `models`: findings by role (original, retrained: the mean of `retrained_seeds`, unlearned, and repaired: the last
    one after a repair); `details`: those that are lists. `noise_floor`: highest minus lowest retrained model; `gap`:
    unlearned minus retrained. `findings`: what the run's audits declare, in their order. `gates`: was each passed.
    `method`: its notes. `samples`: how many of the test split are to be forgotten (`forget_test`), and so on. `cost`
    (also of `FURTHER` models) and `profile` (seconds per round, by part) by stage; `cached`: did a stage come from the
    store. `spent`: seconds of this very run, by part (`run`), and of its audits by name, added up over models and
    workers (`audits`). `signature`: what the run is recognised by, made of the keys of all its steps. `judgement`: what
    takes the place of a verdict where clients or samples were forgotten. `repaired`: all models after a repair, where
    the run was asked for one, each next to others that were repaired alike; `repair`: its notes on the unlearned one.
    `deployed`: the models in every format besides float32, where the run was asked for some. `title`: what the method
    is called; `headline`: a sentence on it.
    """

    status: str
    config: Plain = field(default_factory=dict)
    command: str = ""
    reason: str = ""
    signature: str = ""
    models: dict[str, Numbers] = field(default_factory=dict)
    retrained_seeds: tuple[Numbers, ...] = ()
    noise_floor: Numbers = field(default_factory=dict)
    gap: Numbers = field(default_factory=dict)
    details: dict[str, Lists] = field(default_factory=dict)
    findings: dict[str, Finding] = field(default_factory=dict)
    verdict: Verdict | None = None
    judgement: Verdict | None = None
    gates: dict[str, bool] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    method: Plain = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    forget_classes: tuple[int, ...] = ()
    samples: dict[str, int] = field(default_factory=dict)
    partition: Partition | None = None
    cost: dict[str, Numbers] = field(default_factory=dict)
    cached: dict[str, bool] = field(default_factory=dict)
    profile: dict[str, Numbers] = field(default_factory=dict)
    spent: dict[str, Numbers] = field(default_factory=dict)
    repair: Plain = field(default_factory=dict)
    repaired: Deployed | None = None
    deployed: dict[str, Deployed] = field(default_factory=dict)
    title: str = ""
    headline: str = ""

    def at(self, format: str) -> Summary:
        """The same of the models in that format alone."""
        if format == FLOAT32:
            return replace(self, deployed={})
        found = self.deployed[format]
        return replace(self, deployed={}, **_shared(found))

    def after_repair(self) -> Summary:
        """The same of the repaired models, each next to originals and retrained models that were repaired as well."""
        assert self.repaired is not None
        deployed = {name: found.repaired for name, found in self.deployed.items() if found.repaired is not None}
        return replace(self, **_shared(self.repaired), deployed=deployed)

    @property
    def formats(self) -> tuple[str, ...]:
        """The formats that its models are in."""
        return (FLOAT32, *self.deployed)


def _shared(found: Deployed) -> dict[str, Any]:
    """The fields that a form's models have in common with those of a run."""
    return {each.name: getattr(found, each.name) for each in fields(found) if each.name != "survival"}


def as_plain(summary: Summary) -> Plain:
    """The content of summary.json, strict JSON; of a failed run only what there is."""
    content = finite(plain(summary))
    content["findings"] = {name: _without_name(entry) for name, entry in content["findings"].items()}
    optional = OPTIONAL if summary.status == "done" else content
    return {name: value for name, value in content.items() if value or name not in optional}


def _without_name(entry: Plain) -> Plain:
    return {key: value for key, value in entry.items() if key != "name"}


def to_json(summary: Summary) -> str:
    """The text of summary.json."""
    return json.dumps(as_plain(summary), indent=1, allow_nan=False) + "\n"


def from_json(text: str) -> Summary:
    """The summary in `text`. Raises ValueError with one sentence that names the field that is not what it should be."""
    given = json.loads(text)
    if not isinstance(given, dict):
        raise ValueError(f"it holds no summary of a run but {given!r:.60}")
    return parse(Summary, _known(finite(given)))


def _known(given: Plain) -> Plain:
    """What this version knows of the content of a file, in the layout of `Summary`."""
    known = _with_parts(_fields_of(Summary, given))
    if isinstance(formats := known.get("deployed"), dict):
        known["deployed"] = {name: _known_form(found) for name, found in formats.items()}
    if isinstance(declared := known.get("findings"), dict):
        known["findings"] = {
            name: {**_fields_of(Finding, entry), "name": name} if isinstance(entry, dict) else entry
            for name, entry in declared.items()
        }
    return known


def _known_form(found: Any) -> Any:
    return _with_parts(_fields_of(Deployed, found)) if isinstance(found, dict) else found


def _with_parts(known: Plain) -> Plain:
    if MENDED in known:
        known = {**known, MENDED: _known_form(known[MENDED])}
    parts = (("verdict", Verdict), ("judgement", Verdict), ("partition", Partition))
    return known | {name: _fields_of(kind, known[name]) for name, kind in parts if isinstance(known.get(name), dict)}


def _fields_of(kind: type, given: Plain) -> Plain:
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in given.items() if name in names}


def read(folder: Path) -> Summary:
    """The summary of the run in `folder`. Raises OSError if there is none, ValueError if it cannot be read."""
    return from_json((folder / NAME).read_text(encoding="utf-8"))


def write(folder: Path, summary: Summary) -> Path:
    """Put it into the folder, which says that the run has ended."""
    return write_text(folder / NAME, to_json(summary))
