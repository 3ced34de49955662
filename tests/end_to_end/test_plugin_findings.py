"""An audit of another package: what it declares is in the summary, the tables, the page and the verdict like ours."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path

import pytest

from tests import forked

AUDIT = '''
"""How large the largest logit of forget samples is."""

from dataclasses import dataclass

from fedunlearn.audits.base import Audit
from fedunlearn.results.findings import Finding


@dataclass(frozen=True)
class Size:
    scale: float = 2.0


def measure(evidence, reference, settings):
    largest = evidence.test.logits[evidence.test.forget].max(axis=1)
    own = float(evidence.test.logits[evidence.test.forget][:, list(reference.forget_classes)].mean())
    return {"own_logit": own * settings.scale, "sizes": largest[:3].tolist(), EXTRA}


DECLARED = (
    Finding(
        "own_logit", "logit of its own", "how sure it is of <the> forgotten class", "up", headline=True, counted=True
    ),
    Finding("sizes", "first sizes", "the largest logits of three samples", kind="list"),
)
AUDIT = Audit("logit_size", Size, measure, findings=DECLARED)
'''
WORDS = ["method=head_mask", "train.rounds=12", "train.local_epochs=3", "unlearn.rounds=1", "retrain.seeds=2"]
WORDS += ["data.limit=900", "+audit.logit_size={scale: 3.0}", "partition.clients=4", "partition.alpha=1.0"]
WORDS += ["report.figures=false", "output.dir=out"]
NEEDLESS = ("feature_map", "cmia", "over_unlearning", "client_utility", "similarity", "request_leak")
WORDS += [f"audit.{name}=null" for name in NEEDLESS]
WORDS += ["audit.relearning.cap=25", "audit.relearning.seeds=1"]  # a verdict takes it


def run(folder: Path, store: Path, extra: str) -> subprocess.CompletedProcess[str]:
    site = folder / "site"
    info = site / "their_package-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "their_audit.py").write_text(AUDIT.replace("EXTRA", extra))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fedunlearn.audits]\nlogit_size = their_audit:AUDIT\n")
    return forked.command(["-m", *WORDS, f"store.dir={store}"], folder, site)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models are trained once: audits alone depend on the audit's code."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Path:
    folder = tmp_path_factory.mktemp("plugin")
    done = run(folder, store, "")
    assert done.returncode == 0, done.stderr
    assert "Logit" in done.stdout, "a column of the table on the screen"
    return folder / "out"


def test_its_findings_are_in_the_summary_as_they_were_declared(out: Path) -> None:
    (path,) = out.glob("*/summary.json")
    summary = json.loads(path.read_text())
    declared = summary["findings"]["own_logit"]
    assert (declared["label"], declared["direction"]) == ("logit of its own", "up")
    assert declared["meaning"] == "how sure it is of <the> forgotten class" and declared["counted"]
    assert list(summary["findings"])[-2:] == ["own_logit", "sizes"], "in the order of the run's audits"
    assert set(summary["findings"]) >= set(summary["gap"])
    assert all(summary["models"][model]["own_logit"] is not None for model in summary["models"])
    assert summary["noise_floor"]["own_logit"] > 0 and len(summary["details"]["original"]["sizes"]) == 3
    assert "own_logit" in summary["verdict"]["margins"], summary["verdict"]["reasons"]
    assert any(reason.startswith("logit of its own") for reason in summary["verdict"]["reasons"])


def test_they_are_columns_of_the_tables_and_rows_of_the_pages(out: Path) -> None:
    with (out / "runs.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["unlearned.own_logit"]) and row["margin.own_logit"]
    header = next(line for line in (out / "table.md").read_text().splitlines() if line.startswith("| Model"))
    assert [cell.strip() for cell in header.split("|")][-5] == "Logit of its own"
    assert r"\shortstack[r]{Logit \\ of its own}" in (out / "table.tex").read_text()
    (page,) = out.glob("*/report.html")
    for text in (page.read_text(), (out / "report.html").read_text()):
        assert '<th scope="row">logit of its own' in text
        assert "how sure it is of &lt;the&gt; forgotten class" in text
    assert "Logit of its own" in (out / "report.html").read_text(), "in the table of all runs"


def test_what_it_did_not_declare_is_an_error_that_names_audit_and_finding(tmp_path: Path, store: Path) -> None:
    done = run(tmp_path, store, '"secret": 1.0')
    assert done.returncode == 1
    said = "the audit logit_size returned a finding that it does not declare: secret (declared: own_logit, sizes)"
    assert said in done.stderr and "Traceback" not in done.stderr


def test_a_finding_that_is_no_number_is_null_and_every_file_is_strict_json(tmp_path: Path, store: Path) -> None:
    done = run(tmp_path, store, '"own_logit": float("nan"), "sizes": [1.0, float("inf"), 2.0]')
    assert done.returncode == 0, done.stderr
    files = [path for path in tmp_path.joinpath("out").rglob("*") if path.suffix in (".json", ".jsonl")]
    assert {path.name for path in files} >= {"summary.json", "environment.json", "metrics.jsonl", "sweep.json"}
    for path in files:
        for text in path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]:
            json.loads(text, parse_constant=lambda word, path=path: pytest.fail(f"{path.name} holds {word}"))
    (path,) = tmp_path.glob("out/*/summary.json")
    summary = json.loads(path.read_text())
    assert summary["models"]["unlearned"]["own_logit"] is None and summary["gap"]["own_logit"] is None
    assert summary["details"]["original"]["sizes"] == [1.0, None, 2.0]
    said = [warning for warning in summary["warnings"] if "not a finite number" in warning]
    assert [warning.split()[2] for warning in said] == ["own_logit", "sizes"]
    assert all("unlearned" in warning for warning in said)
