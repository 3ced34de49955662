"""What the measurements say: a table and two figures."""

# ruff: noqa: RUF001 (signs of multiplication and dashes between numbers are meant)

from __future__ import annotations

import os
import statistics
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.benchmarks import workloads
from experiments.benchmarks.workloads import Workload
from fedunlearn.report import style
from fedunlearn.results.provenance import environment

NAMES = {
    "local": "fedunlearn, local",
    "tuned": "bare loop, tuned by hand",
    "plain": "bare PyTorch loop",
    "flower": "Flower simulation (Ray)",
    "fucrt": "fedunlearn, FUCRT rounds",
    "fucrt_trained": "fedunlearn, FUCRT by trained models",
    "stacked": "fedunlearn, stacked",
    "local_1": "fedunlearn, local, one worker",
    "tuned_1": "tuned by hand, one process",
    "threads": "fedunlearn, local, threads",
    "processes": "fedunlearn, local, processes",
    "central": "PyTorch without clients",
}
PALETTE = (
    "#0072B2",
    "#A6A6A6",
    "#595959",
    "#D55E00",
    "#009E73",
    "#7fceb9",
    "#56B4E9",
    "#8fbfdd",
    "#dcdcdc",
    "#8fbfdd",
    "#8fbfdd",
    "#CC79A7",
)
COLOURS = dict(zip(NAMES, PALETTE, strict=True))
MARKERS = dict(zip(NAMES, "oXDPsv*^<>12", strict=True))
MISSING = "not measured"
Key = tuple[str, str]  # workload and competitor
Launches = dict[Key, dict[int, dict[str, Any]]]  # by repeat


@dataclass(frozen=True)
class Promise:
    """`what` of `ours` over that of `theirs`, in launches side by side; without `theirs`, `what` of `ours` itself."""

    title: str
    least: float | None
    most: float | None
    ours: Key
    theirs: Key | None = None
    what: str = "seconds"

    @property
    def bound(self) -> str:
        """The bound in signs."""
        return f"≤ {self.most:g}" if self.least is None else f"≥ {self.least:g}"

    def kept(self, value: float) -> bool:
        """Is `value` within the bound?"""
        return value >= self.least if self.least is not None else value <= (self.most or 0.0)


def machine() -> dict[str, Any]:
    """What it ran on, and how busy that was when the command began."""
    info = environment(0)
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [text.partition(":")[2].strip() for text in lines if text.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {**info, "cpu": models[0] if models else "", "memory": memory, "load": os.getloadavg()[0]}


def launches(runs: list[dict[str, Any]]) -> Launches:
    """The measurements by workload and competitor, each by repeat."""
    found: Launches = {}
    for run in runs:
        found.setdefault((run["workload"], run["competitor"]), {})[run["repeat"]] = run
    return found


def seconds(run: dict[str, Any]) -> float:
    """Seconds per round of a launch: the median of its rounds without the first."""
    return statistics.median(run["rounds"][1:] or run["rounds"])


def value(run: dict[str, Any], what: str) -> float:
    """`seconds` (per round), `first_round` (seconds from the launch), `peak` (bytes) or `accuracy`."""
    return seconds(run) if what == "seconds" else float(run[what])


def middle(found: Launches, key: Key, what: str) -> float:
    """The median over the launches."""
    return statistics.median(value(run, what) for run in found[key].values())


def paired(found: Launches, ours: Key, theirs: Key, what: str) -> list[float]:
    """Ratios of launches that took place side by side: those of the same repeat."""
    first, second = found.get(ours, {}), found.get(theirs, {})
    return [value(first[repeat], what) / value(second[repeat], what) for repeat in sorted(first.keys() & second.keys())]


def spread(values: list[float]) -> str:
    """Median and, of several, the smallest and the largest."""
    if len(values) < 2:
        return "".join(f"{each:.2f}" for each in values)
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def write(kept: dict[str, Any], known: dict[str, Workload], out: Path) -> None:
    """table.md and the figures."""
    found = launches(kept["runs"])
    text = [*header(kept), *promises(found), "", *table(found, known)]
    (out / "table.md").write_text("\n".join(text) + "\n", encoding="utf-8")
    with style.styled():
        style.replace(bars(found), out, "benchmark")
        style.replace(growth(found), out, "growth")


def header(kept: dict[str, Any]) -> list[str]:
    info = kept["machine"]
    versions = info["versions"]
    used = ", ".join(f"{name} {versions[name]}" for name in ("python", "torch", "flwr", "ray") if versions.get(name))
    sources = sorted({run["source"] for run in kept["runs"]})
    gpus = ", ".join(info["hardware"]["gpus"]) or "none"
    return [
        "# Benchmark",
        "",
        f"`{kept['command']}` on {info['hardware']['cores']} cores of {info['cpu']}, {info['memory'] / 2**30:.0f} GiB, "
        f"GPU: {gpus}; {used}; load when it began: {info['load']:.1f}. Images: {' and '.join(sources)}.",
        "",
        "Every launch is a process of its own, and the competitors take turns. Ratios are those of launches side by",
        "side: their median and, in brackets, the smallest and the largest. Seconds per round are medians without the",
        "first round, which counts from the launch of the process. Memory: the most that the process and its children",
        "took together. Equal work: see experiments/benchmarks.",
        "",
    ]


def promises(found: Launches) -> Iterator[str]:
    """The promises, and what became of them."""
    yield "| promise | bound | measured | launches | kept? |"
    yield "|---|---|---|---|---|"
    for promise in PROMISES:
        if promise.theirs:
            values = paired(found, promise.ours, promise.theirs, promise.what)
        else:
            values = [value(run, promise.what) for run in found.get(promise.ours, {}).values()]
        if not values:
            yield f"| {promise.title} | {promise.bound} | {MISSING} | 0 | |"
            continue
        kept = "yes" if promise.kept(statistics.median(values)) else "**no**"
        yield f"| {promise.title} | {promise.bound} | {spread(values)} | {len(values)} | {kept} |"


def table(found: Launches, known: dict[str, Workload]) -> Iterator[str]:
    """All medians, and everybody's seconds in units of `local`'s."""
    columns = ("workload", "who", "s per round", "× local", "images per s", "first round, s", "memory, MiB", "accuracy")
    yield f"| {' | '.join(columns)} | launches |"
    yield "|---" * (len(columns) + 1) + "|"
    for name, workload in known.items():
        rows = [key for who in NAMES if (key := (name, who)) in found]
        if not rows:
            yield f"| {workload.title} | {MISSING} | | | | | | | |"
        for key in rows:
            took = middle(found, key, "seconds")
            ratio = spread(paired(found, key, (name, "local"), "seconds")) if key[1] != "local" else "1"
            images = workload.asked * workload.samples * workload.epochs / took
            yield (
                f"| {workload.title} | {NAMES[key[1]]} | {took:.3f} | {ratio} | {images:.0f} | "
                f"{middle(found, key, 'first_round'):.1f} | {middle(found, key, 'peak') / 2**20:.0f} | "
                f"{middle(found, key, 'accuracy'):.3f} | {len(found[key])} |"
            )


PROMISES = (
    Promise("local / tuned loop, small CNN with 100 clients", None, 1.0, ("cnn_100", "local"), ("cnn_100", "tuned")),
    Promise("local / tuned loop, 1,000 clients, 50 a round", None, 1.0, ("cnn_1000", "local"), ("cnn_1000", "tuned")),
    Promise("local / tuned loop, ResNet-18", None, 1.0, ("resnet18_10", "local"), ("resnet18_10", "tuned")),
    Promise(
        "local / tuned loop, 6,000 images on 1,000 clients",
        None,
        1.25,
        ("clients_1000", "local"),
        ("clients_1000", "tuned"),
    ),
    Promise("Flower on Ray / local, small CNN with 100 clients", 4, None, ("cnn_100", "flower"), ("cnn_100", "local")),
    Promise(
        "Flower on Ray / local, 6,000 images on 1,000 clients",
        15,
        None,
        ("clients_1000", "flower"),
        ("clients_1000", "local"),
    ),
    Promise("FUCRT round / FedAvg round", None, 1.25, ("cnn_100", "fucrt"), ("cnn_100", "local")),
    Promise("seconds to the end of the first round", None, 4, ("cnn_100", "local"), None, "first_round"),
    Promise(
        "memory with 10,000 clients / with 10, the same images in a round",
        None,
        1.1,
        ("many_10000", "local"),
        ("many_10", "local"),
        "peak",
    ),
    Promise("one by one / stacked, on a GPU", 8, None, ("gpu_cnn_50", "local"), ("gpu_cnn_50", "stacked")),
    Promise(
        "FedAvg epoch / central epoch, on a GPU", None, 1.3, ("gpu_resnet18", "local"), ("gpu_resnet18", "central")
    ),
)


def bars(found: Launches) -> Figure:
    """Seconds per round of everybody on the main workloads."""
    figure = style.canvas(3.2)
    for axes, workload in zip(figure.subplots(1, len(workloads.MAIN)), workloads.MAIN, strict=True):
        rows = [(who, middle(found, key, "seconds")) for who in NAMES if (key := (workload.name, who)) in found]
        axes.barh([NAMES[who] for who, _ in rows], [took for _, took in rows], color=[COLOURS[who] for who, _ in rows])
        for place, (_, took) in enumerate(rows):
            axes.annotate(f" {took:.2f}", (took, place), va="center", fontsize=style.SMALL)
        axes.invert_yaxis()
        axes.set_title(textwrap.fill(workload.title, 20))
        axes.set_xlabel("seconds per round")
        axes.margins(x=0.3)
    return figure


def growth(found: Launches) -> Figure:
    """Seconds per round and peak memory, by the number of clients and by the width of the model."""
    figure = style.canvas(4.2)
    by_clients = [(workload.name, workload.clients) for workload in workloads.CLIENTS]
    by_width = [(workload.name, workload.width) for workload in workloads.SIZES]
    columns = ((by_clients, "clients (6,000 images in all)"), (by_width, "width of the CNN (20 clients)"))
    for column, (steps, label) in zip(figure.subplots(2, 2).T, columns, strict=True):
        curve(column[0], found, steps, "seconds", 1.0, "seconds per round")
        curve(column[1], found, steps, "peak", 2.0**30, "peak memory, GiB")
        column[1].set_xlabel(label)
    if figure.axes[0].lines:
        figure.axes[0].legend()
    return figure


def curve(axes: Axes, found: Launches, steps: list[tuple[str, int]], what: str, unit: float, label: str) -> None:
    for who in ("local", "tuned", "plain", "flower"):
        points = [(x, middle(found, (name, who), what) / unit) for name, x in steps if (name, who) in found]
        if points:
            axes.plot(*zip(*points, strict=True), color=COLOURS[who], marker=MARKERS[who], label=NAMES[who])
    axes.set_xscale("log")
    axes.set_xticks([x for _, x in steps], [f"{x:,}" for _, x in steps])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_ylabel(label)
