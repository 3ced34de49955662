"""What a page says of one run, as text that a template only has to arrange."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml
from markupsafe import Markup

from fedunlearn.report import feature_map_figure, names, run_figures
from fedunlearn.report.formats import UNKNOWN, capital, count, fixed, interval, quantity, signed
from fedunlearn.report.page_curves import course
from fedunlearn.report.page_map import feature_map
from fedunlearn.report.runs import MODELS, Run, in_forms, known
from fedunlearn.report.verdict import NONE, Said, said_in, said_of
from fedunlearn.results import gates, headline, sampling
from fedunlearn.results.summary import FURTHER

COSTS = {"rounds": "rounds", "seconds": "seconds", "samples": "samples", "megabytes": "MB", "failures": "failures"}
SAMPLES_NOTE = (
    "Verdicts are for classes: a retrained model still knows the classes of these samples, so that nothing needs to be "
    "gone from logits or features. What can be said is whether the samples are treated as retrained models treat them: "
    "by the accuracy on them and by membership, how well they are told from samples that nobody trained on."
)
SURVIVAL = {  # label, and what it says
    "reversion": ("{}: comes back", "by how much more is left than before rounding"),
    "way_back": ("{}: share of the way back", "0: as before rounding; 1: as the original model in this format"),
    "flipped": (
        "codes that differ",
        "share of weights that the format holds otherwise than those of the original model",
    ),
    "cosine": ("direction", "cosine between the update that unlearning made and the one that is left"),
    "length": ("length", "of the update that is left, over that of the one made"),
    "step_ratio_10": ("smallest tenth of the update", "in half steps of the grid: from 1 on, it surely leaves its bin"),
    "step_ratio_50": ("median of the update", "in half steps of the grid"),
    "step_ratio_90": ("largest tenth of the update", "in half steps of the grid"),
}
SIGNED = ("reversion", "way_back", "cosine")
SHOWN_APART = ("transformation_classes",)  # of a method's notes


@dataclass(frozen=True)
class AuditRow:
    """An audit on the three models. `spread`: lowest to highest retrained model; `within`: inside the noise floor.

    `counts`: for the verdict of this run; `interval`: 95 %, where it is a share of few samples. `first`: one of those
    that a reader sees at once.
    """

    name: str
    meaning: str
    original: str
    retrained: str
    spread: str
    unlearned: str
    gap: str
    floor: str
    within: bool | None
    counts: bool
    interval: str
    first: bool


@dataclass(frozen=True)
class FlowRow:
    """Who takes the forgotten samples for a class: per model its per cent as text and its share for the shade."""

    name: str
    forgotten: bool
    cells: list[tuple[str, float]]


@dataclass(frozen=True)
class InForm:
    """The models in another form, such as `At int4`. `survival`: label, value and meaning of what rounding undoes."""

    title: str
    format: str
    warnings: list[str]
    verdict: Said | None
    audits: list[AuditRow]
    survival: list[tuple[str, str, str]]


@dataclass(frozen=True)
class Shipped:
    """The unlearned model in all forms: their names, the verdict's word in each, and per headline finding the values.

    `rows`: label of the finding, then (value, gap to the retrained models of the form) in each form.
    """

    names: list[str]
    words: list[str]
    rows: list[tuple[str, list[tuple[str, str]]]]


@dataclass(frozen=True)
class Facts:
    """Everything about a run that its section shows; lists are empty where there is nothing to show."""

    title: str
    headline: str
    setting: str
    samples: str
    status: str
    reason: str
    command: str
    warnings: list[str]
    cautions: list[str]
    level_note: str
    verdict: Said | None
    audits: list[AuditRow]
    shipped: Shipped | None
    forms: list[InForm]
    flow_models: list[str]
    flow: list[FlowRow]  # a row for each class, as a phone has room for few columns
    maps: list[tuple[str, Markup]]
    courses: list[tuple[str, Markup]]
    transformations: list[tuple[str, str]]
    costs: list[tuple[str, list[str]]]
    cached: str
    config: str
    notes: str


def facts(run: Run, label: str = "") -> Facts:
    """The facts of a run, however it ended. `label`: the method with what tells it from its variants."""
    summary, forms = run.summary, in_forms([run])
    flow_models, flow = _flow(run)
    stored = [stage for stage, was in summary.cached.items() if was]
    return Facts(
        title=_title(run, label),
        headline=headline.of_run(summary) if run.status != "missing" else "",
        setting=names.setting(summary.config, summary.class_names),
        samples=_samples(run),
        status=run.status,
        reason=run.reason,
        command=summary.command,
        warnings=_failed(run),
        cautions=[f"{capital(text)}." for text in sampling.caution(summary.samples)],
        level_note=SAMPLES_NOTE if run.status == "done" and not summary.forget_classes else "",
        verdict=said_of(run) if run.status == "done" else None,
        audits=_audits(run) if run.status == "done" else [],
        shipped=_shipped(forms) if len(forms) > 1 else None,
        forms=list(map(_in_form, forms[1:])),
        flow_models=flow_models,
        flow=flow,
        maps=_maps(run) if run.status == "done" else [],
        courses=_courses(run) if run.status == "done" else [],
        transformations=_transformations(run),
        costs=_costs(run),
        cached=", ".join(stored),
        config=_as_yaml(summary.config) if summary.config else "",
        notes=_notes(run),
    )


def _failed(run: Run) -> list[str]:
    return [f"Sanity gate not passed: {gates.sentence(name)}." for name in run.failed_gates()]


def _shipped(there: list[Run]) -> Shipped:
    """The findings of the headline in all forms, side by side."""
    run, said = there[0], [said_of(each) for each in there]
    shown = [name for name in run.values("unlearned") if run.finding(name).headline]
    rows = [
        (
            run.finding(name).label,
            [
                (_number(each.values("unlearned").get(name)), _signed(known(each.summary.gap).get(name)))
                for each in there
            ],
        )
        for name in shown
    ]
    words = [
        (one.word if one and not each.failed_gates() else "") or NONE for one, each in zip(said, there, strict=True)
    ]
    called = [", ".join(filter(None, ["repaired" if each.repaired else "", each.format])) for each in there]
    return Shipped(called, words, rows)


def _in_form(run: Run) -> InForm:
    title = capital(names.form(run.format, run.repair))
    return InForm(title, run.format, _failed(run), said_of(run), _audits(run), _survival(run))


def _survival(run: Run) -> list[tuple[str, str, str]]:
    """What of the unlearned model's forgetting its format undoes."""
    rows = []
    for key, value in known(run.survival.get("unlearned", {})).items():
        kind, _, finding = key.partition(".")
        label, meaning = SURVIVAL.get(kind, (key, ""))
        show = fixed if kind not in SIGNED else signed
        rows.append((label.format(run.finding(finding).label) if finding else label, show(value), meaning))
    return rows


def _as_yaml(config: dict[str, Any]) -> str:
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # ten times faster, where libyaml is there
    return str(yaml.dump(config, Dumper=dumper, sort_keys=False, allow_unicode=True))


def _title(run: Run, label: str) -> str:
    name = label or run.chosen("method") or run.folder.name
    return name if run.seed is None else f"{name}, seed {run.seed}"


def _audits(run: Run) -> list[AuditRow]:
    values = {model: run.values(model) for model in MODELS}
    gaps, floors = known(run.summary.gap), known(run.summary.noise_floor)
    found = said_in(run)
    counts = found.counts if found and not run.failed_gates() else ()
    return [
        AuditRow(
            name=run.finding(audit).label,
            meaning=run.finding(audit).meaning,
            original=number(values["original"].get(audit)),
            retrained=number(values["retrained"].get(audit)),
            spread=_spread(run.retrained(audit), number),
            unlearned=number(values["unlearned"].get(audit)),
            gap=_signed(gaps.get(audit), number),
            floor=number(floors.get(audit)) if len(run.retrained(audit)) > 1 else UNKNOWN,
            within=_within(gaps.get(audit), floors.get(audit), run, audit),
            counts=audit in counts,
            interval=_interval(values["unlearned"].get(audit), run, audit),
            first=audit in counts or run.finding(audit).headline,
        )
        for audit in _ordered(run, values)
        for number in [_shown_as([*(each.get(audit) for each in values.values()), *run.retrained(audit)])]
    ]


def _ordered(run: Run, values: dict[str, dict[str, float]]) -> list[str]:
    """The findings that some model has, as they were declared, then those that were not."""
    found = dict.fromkeys(audit for model in MODELS for audit in values[model])
    return [
        *(name for name in run.summary.findings if name in found),
        *(n for n in found if n not in run.summary.findings),
    ]


def _within(gap: float | None, floor: float | None, run: Run, audit: str) -> bool | None:
    """Is the gap within the noise floor, in the wrong direction if there is but one? None where that is not known."""
    if gap is None or floor is None or len(run.retrained(audit)) < 2 or run.failed_gates():
        return None
    return run.finding(audit).excess(gap) <= floor


def _interval(value: float | None, run: Run, audit: str) -> str:
    """Where the finding is a share of few samples, its 95 % interval."""
    samples = sampling.behind(run.finding(audit), run.summary.samples)
    return interval(value, samples) if value is not None and samples < sampling.FEW else ""


def _samples(run: Run) -> str:
    number, split = sampling.forgotten(run.summary.samples)
    return f"{number:,} forget {split} {'sample' if number == 1 else 'samples'}" if number else ""


def _shown_as(found: Iterable[float | None]) -> Callable[[float | None], str]:
    """How such numbers are written: counts, which are whole and not 0 and 1 alone, without decimals."""
    there = [value for value in found if value is not None]
    counts = max(map(abs, there), default=0) > 1 and all(float(value).is_integer() for value in there)
    return _count if counts else _number


def _count(value: float | None) -> str:
    return UNKNOWN if value is None else count(value)


def _number(value: float | None) -> str:
    return UNKNOWN if value is None else fixed(value)


def _signed(value: float | None, number: Callable[[float | None], str] = _number) -> str:
    shown = number(value)
    return f"+{shown}" if value is not None and value > 0 and shown != number(0.0) else shown


def _spread(values: list[float], number: Callable[[float | None], str]) -> str:
    return f"{number(min(values))} to {number(max(values))}" if len(values) > 1 else ""


def _flow(run: Run) -> tuple[list[str], list[FlowRow]]:
    """The models that have a class flow, and a row for each class, in the order of the figure."""
    flows, forgotten = run_figures.flows_of(run), list(run.summary.forget_classes)
    if not flows or not forgotten:
        return [], []
    stacked = np.stack(list(flows.values()))
    classes = run_figures.flow_columns(stacked, forgotten, run_figures.class_names(run, stacked.shape[1]))
    return list(flows), [
        FlowRow(each.name, each.forgotten, [(_per_cent(share), float(share)) for share in each.shares])
        for each in classes
    ]


def _maps(run: Run) -> list[tuple[str, Markup]]:
    """The map of features of each model that has one."""
    forgotten = run.summary.forget_classes
    found = feature_map_figure.read(run) if forgotten else {}
    called = {model: feature_map_figure.PANELS[model] for model in found}
    return [
        (name, feature_map(found[model], forgotten, run.summary.class_names, f"features of the {name} model"))
        for model, name in called.items()
    ]


def _per_cent(share: float) -> str:
    return "" if share == 0 else "<1" if share < 0.01 else f"{100 * share:.0f}"


def _courses(run: Run) -> list[tuple[str, Markup]]:
    measured = run.values("unlearned")
    drawn = []
    for audit in (name for name in (run.present("forget_accuracy"), "retain_accuracy") if name in measured):
        rounds = run_figures.path(run, audit)
        name, first, *_, last = run.finding(audit).label, *rounds.values()
        said = f"{name} by round: from {fixed(first)} to {fixed(last)}"
        original = run.values("original").get(audit)
        drawn.append((f"{name}, round 0 to {max(rounds)}", course(rounds, original, run.retrained(audit), said)))
    return drawn


def _transformations(run: Run) -> list[tuple[str, str]]:
    """What FUCRT and its relatives elected: forgotten class -> the classes that its samples are moved to."""
    elected = run.summary.method.get("transformation_classes")
    if not isinstance(elected, dict):
        return []
    named = {str(number): name for number, name in enumerate(run.summary.class_names)}
    return [
        (named.get(str(source), str(source)), ", ".join(named.get(str(target), str(target)) for target in targets))
        for source, targets in elected.items()
    ]


def _costs(run: Run) -> list[tuple[str, list[str]]]:
    rows = []
    for stage in ("train", "retrain", "unlearn", "repair", *FURTHER):
        spent = known(run.summary.cost.get(stage, {}))
        spent["megabytes"] = (spent.get("bytes_up", 0) + spent.get("bytes_down", 0)) / 1e6
        if len(spent) > 1:
            rows.append((stage, [quantity(spent[name]) if name in spent else "" for name in COSTS]))
    return rows


def _notes(run: Run) -> str:
    others = {name: value for name, value in run.summary.method.items() if name not in SHOWN_APART}
    others |= {"repair": run.summary.repair} if run.summary.repair else {}
    return json.dumps(others, indent=None, separators=(", ", ": ")) if others else ""
