"""What the measurements say: a table and two figures."""

from __future__ import annotations

import os
import statistics
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import workloads
from matplotlib.axes import Axes
from workloads import Workload

from fedunlearn.report import style
from fedunlearn.results.provenance import environment

NAMES = {
    "local": "fedunlearn, local",
    "flower": "Flower simulation (Ray)",
    "plain": "bare PyTorch loop",
    "tuned": "bare loop, tuned by hand",
    "stacked": "fedunlearn, stacked",
    "fucrt": "fedunlearn, FUCRT rounds",
    "central": "PyTorch without clients",
}
COLOURS = dict(zip(NAMES, ("#0072B2", "#D55E00", "#595959", "#A6A6A6", "#56B4E9", "#009E73", "#CC79A7"), strict=True))
MARKERS = dict(zip(NAMES, "osDX^vP", strict=True))
MISSING = "not measured"
Summary = dict[tuple[str, str], dict[str, float]]


def machine() -> dict[str, Any]:
    """What it ran on, and how busy that was when the command began."""
    info = environment(0)
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [text.partition(":")[2].strip() for text in lines if text.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {**info, "cpu": models[0] if models else "", "memory": memory, "load": os.getloadavg()[0]}


def summarise(runs: list[dict[str, Any]], known: dict[str, Workload]) -> Summary:
    """Medians over the repeats, by (workload, competitor). The first round of each run is left out of seconds."""
    grouped: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in runs:
        grouped.setdefault((run["workload"], run["competitor"]), []).append(run)
    summary = {}
    for (name, competitor), repeats in grouped.items():
        seconds = statistics.median(statistics.median(run["rounds"][1:] or run["rounds"]) for run in repeats)
        samples = known[name].asked * known[name].samples * known[name].epochs
        summary[name, competitor] = {
            "seconds": seconds,
            "throughput": samples / seconds,
            "first_round": statistics.median(run["first_round"] for run in repeats),
            "peak": statistics.median(run["peak"] for run in repeats),
            "accuracy": statistics.median(run["accuracy"] for run in repeats),
            "repeats": len(repeats),
        }
    return summary


def write(kept: dict[str, Any], known: dict[str, Workload], out: Path) -> None:
    """table.md and the figures."""
    summary = summarise(kept["runs"], known)
    text = [*header(kept), *table(summary, known), "", *ratios(summary)]
    (out / "table.md").write_text("\n".join(text) + "\n", encoding="utf-8")
    with style.styled():
        style.replace(bars(summary), out, "benchmark")
        style.replace(growth(summary), out, "growth")


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
        "Medians. Seconds per round without the first round; the first round counts from the launch of the process.",
        "Memory: the most that the process and its children took together. Equal work: see experiments/benchmarks.",
        "",
    ]


def table(summary: Summary, known: dict[str, Workload]) -> Iterator[str]:
    yield "| workload | who | s per round | images per s | first round, s | memory, MiB | accuracy | repeats |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, workload in known.items():
        rows = [(competitor, summary[key]) for key in summary for competitor in [key[1]] if key[0] == name]
        if not rows:
            yield f"| {workload.title} | {MISSING} | | | | | | |"
        for competitor, row in rows:
            yield (
                f"| {workload.title} | {NAMES[competitor]} | {row['seconds']:.3f} | {row['throughput']:.0f} | "
                f"{row['first_round']:.1f} | {row['peak'] / 2**20:.0f} | {row['accuracy']:.3f} | {row['repeats']:.0f} |"
            )


def ratios(summary: Summary) -> Iterator[str]:
    """The promises, and what became of them."""
    yield "| promise | bound | measured |"
    yield "|---|---|---|"
    for title, bound, ours, theirs, what in PROMISES:
        known = [summary[key][what] for key in (ours, theirs) if key and key in summary]
        if len(known) < (2 if theirs else 1):
            yield f"| {title} | {bound} | {MISSING} |"
            continue
        yield f"| {title} | {bound} | {known[0] / known[1] if theirs else known[0]:.2f} |"


PROMISES: tuple[tuple[str, str, tuple[str, str], tuple[str, str] | None, str], ...] = (
    (
        "local over the bare loop, small CNN with 100 clients",
        "≤ 1.05",
        ("cnn_100", "local"),
        ("cnn_100", "plain"),
        "seconds",
    ),
    (
        "local over the same loop tuned by hand (no promise)",
        "",
        ("cnn_100", "local"),
        ("cnn_100", "tuned"),
        "seconds",
    ),
    (
        "Flower simulation over local, small CNN with 100 clients",
        "≥ 3",
        ("cnn_100", "flower"),
        ("cnn_100", "local"),
        "seconds",
    ),
    ("seconds to the first round, small CNN with 100 clients", "< 6", ("cnn_100", "local"), None, "first_round"),
    ("memory with 1,000 clients over 10", "≤ 1.1", ("clients_1000", "local"), ("clients_10", "local"), "peak"),
    ("FUCRT round over FedAvg round", "≤ 1.6", ("cnn_100", "fucrt"), ("cnn_100", "local"), "seconds"),
    ("one by one over stacked, on a GPU", "≥ 8", ("gpu_cnn_50", "local"), ("gpu_cnn_50", "stacked"), "seconds"),
    (
        "FedAvg epoch over central epoch, on a GPU",
        "≤ 1.3",
        ("gpu_resnet18", "local"),
        ("gpu_resnet18", "central"),
        "seconds",
    ),
)


def bars(summary: Summary):
    """Seconds per round of everybody on the main workloads."""
    figure = style.canvas(2.8)
    for axes, workload in zip(figure.subplots(1, len(workloads.MAIN)), workloads.MAIN, strict=True):
        rows = [(key[1], summary[key]["seconds"]) for key in summary if key[0] == workload.name]
        axes.barh(
            [NAMES[who] for who, _ in rows], [seconds for _, seconds in rows], color=[COLOURS[who] for who, _ in rows]
        )
        for place, (_, seconds) in enumerate(rows):
            axes.annotate(f" {seconds:.2f}", (seconds, place), va="center", fontsize=style.SMALL)
        axes.invert_yaxis()
        axes.set_title(textwrap.fill(workload.title, 20))
        axes.set_xlabel("seconds per round")
        axes.margins(x=0.3)
    return figure


def growth(summary: Summary):
    """Seconds per round and peak memory, by the number of clients and by the width of the model."""
    figure = style.canvas(4.2)
    by_clients = [(workload.name, workload.clients) for workload in workloads.CLIENTS]
    by_width = [(workload.name, workload.width) for workload in workloads.SIZES]
    columns = ((by_clients, "clients (6,000 images in all)"), (by_width, "width of the CNN (20 clients)"))
    for column, (steps, label) in zip(figure.subplots(2, 2).T, columns, strict=True):
        curve(column[0], summary, steps, "seconds", 1.0, "seconds per round")
        curve(column[1], summary, steps, "peak", 2.0**30, "peak memory, GiB")
        column[1].set_xlabel(label)
    if figure.axes[0].lines:
        figure.axes[0].legend()
    return figure


def curve(axes: Axes, summary: Summary, steps: list[tuple[str, int]], what: str, unit: float, label: str) -> None:
    for who in ("local", "flower", "plain", "tuned"):
        points = [(x, summary[name, who][what] / unit) for name, x in steps if (name, who) in summary]
        axes.plot(
            *zip(*points, strict=True), color=COLOURS[who], marker=MARKERS[who], label=NAMES[who]
        ) if points else None
    axes.set_xscale("log")
    axes.set_xticks([x for _, x in steps], [f"{x:,}" for _, x in steps])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_ylabel(label)
