"""What a page of 200 runs costs: to build, to send, to open and to use.

    python experiments/report_cost/run.py           # about a minute on two cores; writes results/report_cost/
    python experiments/report_cost/run.py --runs 20 # fewer runs; writes nothing

One real run with all audits is made, then copied: twenty names of methods, ten seeds, every number moved a little.
`fedunlearn-report` builds the tables, figures and pages of all of them. A browser opens the page, if there is one
(Chromium), and is asked how long it took, and how long a sort, a letter in the filter and opening a run take.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fedunlearn.results.provenance import environment

RUNS = 200
REAL = ["train.local_epochs=3"]
RESULTS = Path(__file__).resolve().parents[2] / "results" / "report_cost"
ASKED = """addEventListener("load", () => {
  const took = action => {
    const begun = performance.now();
    action();
    document.documentElement.getBoundingClientRect();  // lays the page out
    return Math.round(performance.now() - begun);
  };
  const timing = performance.getEntriesByType("navigation")[0], filter = document.querySelector(".filter");
  const letter = () => { filter.value = "m"; filter.dispatchEvent(new Event("input")); };
  const found = {
    ready_ms: Math.round(timing.domInteractive - timing.responseEnd),
    loaded_ms: Math.round(timing.loadEventStart - timing.responseEnd),
    sort_ms: took(() => document.querySelector("#all-runs th:nth-child(4) button").click()),
    filter_ms: took(letter),
    open_ms: took(() => document.querySelector("#all-runs a").click()),
  };
  document.body.textContent = "FOUND" + ":" + JSON.stringify(found) + "END";
});"""


def main() -> None:
    """Measure, print, and keep the result."""
    parser = argparse.ArgumentParser(description="What a page of 200 runs costs.")
    parser.add_argument("--runs", type=int, default=RUNS, help="how many; only %(default)s writes results")
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), runs)
    print(table(found))
    if runs == RUNS:
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / "report_cost.json").write_text(json.dumps(found, indent=1) + "\n")
        (RESULTS / "table.md").write_text(table(found))
        (RESULTS / "environment.json").write_text(json.dumps(environment(0), indent=1) + "\n")


def measure(folder: Path, runs: int) -> dict[str, Any]:
    """Seconds of the report's command, size of its page, and what the browser says."""
    real, many = folder / "real", folder / "many"
    places = [f"output.dir={real}", f"store.dir={folder / 'store'}"]
    subprocess.run([sys.executable, "-m", "fedunlearn", *REAL, *places], check=True, stdout=subprocess.DEVNULL)
    for number in range(runs):
        copy(real, many / str(number), number)
    begun = time.perf_counter()
    report = Path(sys.executable).with_name("fedunlearn-report")
    subprocess.run([report, many], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - begun
    size = (many / "report.html").stat().st_size / 1e6
    return {"runs": runs, "seconds": round(seconds, 1), "megabytes": round(size, 2), **opened(many / "report.html")}


def copy(real: Path, folder: Path, number: int) -> None:
    """A run of method `number // 10` and seed `number % 10` like the real one."""
    shutil.copytree(real, folder, ignore=shutil.ignore_patterns("report.html", ".lock"))
    summary = json.loads((real / "summary.json").read_text())
    summary["config"]["method"]["name"] = f"method_{number // 10}"
    summary["config"]["seed"] = number % 10
    dice = random.Random(number)
    for part in ("unlearned", "original"):
        values = summary["models"][part]
        values.update({name: value * dice.uniform(0.95, 1) for name, value in values.items() if value is not None})
    (folder / "summary.json").write_text(json.dumps(summary))


def opened(page: Path) -> dict[str, int]:
    """Milliseconds, by what was done; empty where there is no Chromium."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        return {}
    asking = page.with_name("asking.html")
    text = re.sub('<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text())  # it forbids our script
    asking.write_text(text.replace("</body>", f"<script>{ASKED}</script></body>"))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync", f"--user-data-dir={page.parent / 'profile'}"]
    done = subprocess.run([browser, *flags, "--dump-dom", asking.as_uri()], check=True, capture_output=True, text=True)
    answer = re.search("FOUND:(.*?)END", done.stdout)
    assert answer, "the browser said nothing"
    return dict(json.loads(answer[1]))


def table(found: dict[str, Any]) -> str:
    """The result for people."""
    return "\n".join([*lines(found)]) + "\n"


def lines(found: dict[str, Any]) -> Iterator[str]:
    """One row for each measurement."""
    yield f"| a folder of {found['runs']} runs, all audits | |"
    yield "|---|---:|"
    yield f"| `fedunlearn-report`: tables, figures, {found['runs']} pages and one over all | {found['seconds']} s |"
    yield f"| report.html | {found['megabytes']} MB |"
    named = {"ready_ms": "read", "loaded_ms": "shown", "sort_ms": "sorted", "filter_ms": "filtered by a letter"}
    for name, said in {**named, "open_ms": "a run unfolded"}.items():
        if name in found:
            yield f"| in Chromium: {said} | {found[name]} ms |"


if __name__ == "__main__":
    main()
