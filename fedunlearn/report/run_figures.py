"""The figures of one run: erasure against utility by round, where the forgotten classes' samples go, who holds what.

Every function takes a run and returns a figure, or None where the run has nothing to show in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fedunlearn.report import names, style
from fedunlearn.report import runs as reading
from fedunlearn.report.runs import MODELS, Run
from fedunlearn.report.style import ORIGINAL, RETRAINED, UNLEARNED, WIDE, Sheet
from fedunlearn.results import gates

HEIGHT = 2.75  # inches of the erasure figure
FEW_FORGOTTEN, FEW_CLASSES = 3, 12  # how many columns the flow figure has for forgotten classes, and in all


def headline(run: Run) -> str:
    """`fucrt (seed 0)`, then the setting on a line of its own."""
    summary = run.summary
    return f"{run.chosen('method')} (seed {run.seed})\n{names.setting(summary.config, summary.class_names)}"


def erasure_utility(run: Run, sheet: Sheet = WIDE) -> Figure | None:
    """Forget and retain accuracy by unlearning round, next to the retrained models and the original."""
    audits = [name for name in (run.present("forget_accuracy"), "retain_accuracy") if name in run.values("unlearned")]
    if not audits:
        return None
    figure = sheet.canvas(HEIGHT, len(audits))
    for axes, audit in zip(sheet.panels(figure, len(audits)), audits, strict=True):
        _by_round(axes, run, audit)
    sheet.headed(figure, headline(run), _note(run, audits[0]))
    return figure


def _by_round(axes: Axes, run: Run, audit: str) -> None:
    rounds = path(run, audit)
    original, retrained = run.values("original").get(audit), run.retrained(audit)
    labels = []
    if retrained:
        mean = float(np.mean(retrained))
        axes.axhspan(min(retrained), max(retrained), color=RETRAINED, alpha=0.25, linewidth=0, zorder=1)
        axes.axhline(mean, color=RETRAINED, zorder=2)
        labels.append((mean, f"retrained {mean:.3f}", RETRAINED))
    if original is not None:
        axes.axhline(original, color=ORIGINAL, linestyle=(0, (4, 3)), linewidth=1, zorder=2)
        labels.append((original, f"original {original:.3f}", ORIGINAL))
    last = list(rounds.values())[-1]
    marked = max(1, len(rounds) // 15)
    line = ":" if len(rounds) == 2 else "-"  # nothing is known of the course in between
    axes.plot(
        list(rounds),
        list(rounds.values()),
        line,
        marker="o",
        markevery=marked,
        color=UNLEARNED,
        zorder=3,
        clip_on=False,
    )
    labels.append((last, f"unlearned {last:.3f}", UNLEARNED))
    _frame(
        axes,
        run.finding(audit).label,
        sorted(rounds),
        [*rounds.values(), *retrained, *([] if original is None else [original])],
    )
    style.label_ends(axes, 0.6 * HEIGHT, labels)


def path(run: Run, audit: str) -> dict[int, float]:
    """The model being unlearned by round: 0 is the original. Its end is the audited model, whatever was logged.

    A method without rounds (such as masking the head) goes from round 0 to its result in one step.
    """
    rounds = reading.curve(run.folder, "unlearn", audit)
    start = run.values("original").get(audit)
    if 0 not in rounds and start is not None:
        rounds = {0: start, **rounds}
    last = max([1, *rounds, int(run.summary.cost.get("unlearn", {}).get("rounds") or 0)])
    return {**rounds, last: run.values("unlearned")[audit]}


def _frame(axes: Axes, title: str, rounds: list[int], values: list[float]) -> None:
    """Limits that hold every value, at least 0.1 apart (so that noise does not look like an effect), and end at 1."""
    low, high = (0.0, 1.0) if max(values) - min(values) > 0.5 else (min(values), max(values))
    middle, half = (high + low) / 2, max((high - low) / 2, 0.05)
    axes.set_ylim(max(middle - 1.12 * half, 0.0), min(middle + 1.12 * half, 1.0))
    axes.set_xlim(-0.03 * rounds[-1], 1.03 * rounds[-1])
    axes.set_title(title)
    axes.yaxis.grid(True, color=style.PALE, linewidth=0.5, zorder=0)
    if rounds[-1] == 1:
        axes.set_xlim(-0.5, 1.3)
        axes.set_xticks([0, 1], ["before", "after"])
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("unlearning round")


def _note(run: Run, audit: str) -> str:
    count = len(run.retrained(audit))
    band = f"Blue band: lowest to highest of {count} retrained models; line: their mean."
    notes = [band if count > 1 else "Blue line: the one retrained model (no noise floor)."]
    notes += [f"Sanity gate not passed: {gates.sentence(name)}." for name in run.failed_gates()]
    return "\n".join(notes)


@dataclass(frozen=True)
class Column:
    """A column of the flow figure: the shares [models] of the forgotten classes' test samples that go there."""

    name: str
    shares: np.ndarray
    forgotten: bool


def flow_columns(flows: np.ndarray, forgotten: list[int], names: list[str]) -> list[Column]:
    """Forgotten classes first, then the others from the most to the least that any model sends there.

    `flows` [models, classes]. Many forgotten classes share one column, and so do the classes that get least; nothing
    is lost. No column for the forgotten classes where no model sends anything there (a flow among retain classes).
    """
    kept = [c for c in range(len(names)) if c not in forgotten]
    ranked = sorted(kept, key=lambda c: (-flows[:, c].max(), c))
    columns = [Column(names[c], flows[:, c], True) for c in forgotten]
    if len(forgotten) > FEW_FORGOTTEN:
        columns = [Column(f"the {len(forgotten)} forgotten", flows[:, forgotten].sum(axis=1), True)]
    if not flows[:, forgotten].any():
        columns = []
    room = FEW_CLASSES - len(columns)
    shown, rest = (ranked, []) if len(ranked) <= room else (ranked[: room - 1], ranked[room - 1 :])
    columns += [Column(names[c], flows[:, c], False) for c in shown]
    return columns + ([Column(f"{len(rest)} others", flows[:, rest].sum(axis=1), False)] if rest else [])


def flows_of(run: Run) -> dict[str, np.ndarray]:
    """The class flow [classes] of every model that has one."""
    found = {model: run.summary.details.get(model, {}).get("class_flow") for model in MODELS}
    return {model: np.array(flow, dtype=float) for model, flow in found.items() if flow}


def class_names(run: Run, classes: int) -> list[str]:
    """What the classes are called; their numbers where that is not known."""
    return list(run.summary.class_names) or [str(number) for number in range(classes)]


def class_flow(run: Run, sheet: Sheet = WIDE) -> Figure | None:
    """One row per model: the share of the forgotten classes' test samples that it takes for each class."""
    flows, forgotten = flows_of(run), list(run.summary.forget_classes)
    if not flows or not forgotten:
        return None
    columns = flow_columns(np.stack(list(flows.values())), forgotten, class_names(run, len(next(iter(flows.values())))))
    figure = sheet.canvas(2.1 + 0.03 * max(len(column.name) for column in columns))
    _shares(figure.subplots(), columns, list(flows))
    sheet.headed(figure, headline(run), _flow_note(run))
    return figure


def _shares(axes: Axes, columns: list[Column], models: list[str]) -> None:
    shares = np.stack([column.shares for column in columns], axis=1)
    axes.imshow(shares, cmap=style.AMOUNTS, vmin=0, vmax=1, aspect="auto")
    for (row, place), share in np.ndenumerate(shares):
        text = "" if share == 0 else "<1" if share < 0.01 else f"{100 * share:.0f}"
        axes.text(place, row, text, ha="center", va="center", color="white" if share > 0.6 else "black")
    style.name_columns(axes, [column.name for column in columns])
    axes.set_yticks(range(len(models)), models)
    axes.tick_params(length=0)
    axes.spines[:].set(visible=True, color=style.PALE)
    axes.set_xticks(np.arange(len(columns) - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(len(models) - 1) + 0.5, minor=True)
    axes.grid(which="minor", color=style.PALE, linewidth=0.6)
    axes.tick_params(which="minor", length=0)
    for tick, column in zip(axes.get_xticklabels(), columns, strict=True):
        tick.set(color=UNLEARNED if column.forgotten else "black", fontweight="bold" if column.forgotten else "normal")


def _flow_note(run: Run) -> str:
    distance = run.values("unlearned").get("flow_tv")
    said = (
        "Per cent of the forgotten classes' test samples that each model takes for each class (forgotten: bold, first)."
    )
    return (
        said
        if distance is None
        else f"{said}\nTotal variation from unlearned to retrained, among retain classes: {distance:.3f}."
    )
