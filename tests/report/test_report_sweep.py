"""The report of a folder of runs, and its command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fedunlearn import files
from fedunlearn.cli import report
from fedunlearn.errors import RequestError
from fedunlearn.report import figures, sweep

FIGURES = [f"{name}.{kind}" for name in ("distance_cost", "erasure_utility") for kind in ("pdf", "png", "svg")]
TEXTS = ["report.html", "runs.csv", "table.md", "table.tex"]


@pytest.fixture
def mixed(tmp_path: Path, make_run: Any, make_failed: Any) -> Path:
    """Two finished runs, one that failed, one that cannot be read, one that never ended, one that never began."""
    make_run(tmp_path / "0", seed=0)
    make_run(tmp_path / "1", seed=1)
    make_failed(tmp_path / "2")
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "summary.json").write_text('{"status": "do')
    (tmp_path / "4").mkdir()
    (tmp_path / "4" / "config.yaml").write_text("seed: 4\n")
    (tmp_path / "sweep.json").write_text(json.dumps({"jobs": [{"dir": str(i), "overrides": []} for i in range(6)]}))
    return tmp_path


@pytest.fixture
def one_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a run, and of a sweep; the others are written in the same way."""
    for kinds in ("OF_A_RUN", "OF_A_SWEEP"):
        name = "erasure_utility"
        monkeypatch.setattr(figures, kinds, {name: getattr(figures, kinds)[name]})


def test_build_writes_its_files_and_lists_what_is_not_in_them(mixed: Path) -> None:
    report = sweep.build(mixed)
    assert sorted(path.name for path in report.files) == [*FIGURES, *TEXTS]
    assert all(path.is_file() and path.parent == mixed for path in report.files)
    kinds = [problem.split(":")[0] for problem in report.problems]
    assert kinds == ["2 failed", "3 failed", "4 missing", "5 missing"]
    for name in ("table.md", "table.tex"):
        text = (mixed / name).read_text()
        assert "2 failed: the loss is not finite in round 3" in text
        assert "5 missing: not started" in text
    assert all(line.startswith("%") for line in (mixed / "table.tex").read_text().splitlines() if "failed:" in line)


def test_the_csv_has_every_run_with_its_numbers_and_command(mixed: Path, one_figure: None) -> None:
    sweep.build(mixed)
    frame = pd.read_csv(mixed / "runs.csv")
    assert frame["status"].tolist() == ["done", "done", "failed", "failed", "missing", "missing"]
    assert frame["folder"].astype(str).tolist() == ["0", "1", "2", "3", "4", "5"]
    assert frame["unlearned.leak"].tolist()[:2] == [0.3, 0.3]
    assert frame["command"].tolist()[1] == "fedunlearn method=fucrt seed=1"


def test_building_again_gives_the_same_bytes(mixed: Path) -> None:
    first = [path.read_bytes() for path in sweep.build(mixed).files]
    assert [path.read_bytes() for path in sweep.build(mixed).files] == first
    assert not list(mixed.rglob("*.tmp"))


def test_a_folder_without_a_finished_run_still_has_a_report(tmp_path: Path, make_failed: Any) -> None:
    make_failed(tmp_path / "a", reason="two\nlines")
    report = sweep.build(tmp_path)
    assert sorted(path.name for path in report.files) == TEXTS
    assert "- a failed: two lines\n" in (tmp_path / "table.md").read_text()


def test_figures_that_cannot_be_drawn_stop_no_other(tmp_path: Path, make_run: Any) -> None:
    make_run(tmp_path / "a", details={"original": {"class_flow": [1.0, 0.0]}, "unlearned": {"class_flow": [1.0]}})
    make_run(tmp_path / "b")
    drawn, undrawn = sweep.draw_runs(tmp_path)
    assert [path.relative_to(tmp_path).parts[0] for path in drawn] == ["b"] * 10  # three figures, three formats, a page
    (sentence,) = undrawn
    assert sentence.startswith("the figures of a cannot be drawn")


def test_figures_that_nobody_wants_are_drawn_once_somebody_asks(
    tmp_path: Path, make_run: Any, one_figure: None
) -> None:
    make_run(tmp_path / "a", changes={"report": {"figures": False}})
    assert [path.name for path in sweep.draw_runs(tmp_path)[0]] == ["report.html"]
    assert sorted(path.name for path in sweep.build(tmp_path).files) == TEXTS
    assert report.main([str(tmp_path), "--figures"]) == 0
    of_all, of_run = (folder / "erasure_utility.svg" for folder in (tmp_path, tmp_path / "a" / "figures"))
    assert of_run.is_file()
    drawn = of_all.read_text()
    of_all.write_text("of other runs")
    sweep.build(tmp_path)
    assert of_all.read_text() == drawn, "no figure of other runs stays behind"


def test_figures_are_drawn_where_they_are_missing_or_again_if_asked(
    tmp_path: Path, make_run: Any, one_figure: None
) -> None:
    make_run(tmp_path / "a")
    sweep.draw_runs(tmp_path)
    figure = tmp_path / "a" / "figures" / "erasure_utility.svg"
    figure.write_text('<svg width="1" height="1"></svg>')
    sweep.draw_runs(tmp_path)
    assert figure.read_text() == '<svg width="1" height="1"></svg>'
    assert report.main([str(tmp_path), "--figures"]) == 0
    assert len(figure.read_text()) > 5000


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = files.write_text(tmp_path / "new" / "table.md", "old")
    with pytest.raises(ZeroDivisionError), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert [found.name for found in path.parent.iterdir()] == ["table.md"]


def test_command_rebuilds_everything(mixed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main([str(mixed)]) == 0
    shown = capsys.readouterr().out
    assert "not in the table: 2 failed: the loss is not finite in round 3" in shown
    assert "fucrt" in shown
    assert (mixed / "runs.csv").is_file()
    assert len(list((mixed / "0" / "figures").glob("*.*"))) == 9


def test_status_lists_done_failed_and_missing_and_writes_nothing(
    mixed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(mixed.rglob("*"))
    assert report.main([str(mixed), "--status"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == ["done", "done", "failed", "failed", "missing", "missing"]
    assert lines[2] == "failed  2: the loss is not finite in round 3"
    assert lines[-1] == "2 done, 2 failed, 2 missing"
    assert sorted(mixed.rglob("*")) == before


def test_status_of_missing_runs_alone_is_no_failure(
    tmp_path: Path, make_run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path / "0")
    (tmp_path / "sweep.json").write_text(json.dumps({"jobs": [{"dir": "9", "overrides": ["seed=9"]}]}))
    assert report.main([str(tmp_path), "--status"]) == 0
    assert "missing 9: not started (seed=9)" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [[], ["--status"]])
def test_a_wrong_folder_is_one_sentence_and_status_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    for folder in (tmp_path, tmp_path / "nothing", tmp_path / ("a" * 300)):
        assert report.main([str(folder), *flags]) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.startswith("fedunlearn-report: ")
        assert shown.err.count("\n") == 1
    with pytest.raises(RequestError):
        sweep.build(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_status_does_not_wait_for_matplotlib() -> None:
    code = "import sys, fedunlearn.cli.report; sys.exit('matplotlib' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", ["digits", "fashion_mnist"])
def test_a_summary_of_before_there_were_declarations_still_makes_a_report(tmp_path: Path, name: str) -> None:
    """Findings are called by their names then, and the tables have the columns that they used to have."""
    (tmp_path / "run").mkdir()
    old = Path(__file__).parents[2] / "results" / name / "summary.json"
    content = json.loads(old.read_text())
    content.pop("findings", None)
    (tmp_path / "run" / "summary.json").write_text(json.dumps(content))
    drawn, undrawn = sweep.draw_runs(tmp_path)
    assert not undrawn and len(drawn) >= 7
    built = sweep.build(tmp_path)
    assert built.problems == ()
    header = next(line for line in (tmp_path / "table.md").read_text().splitlines() if line.startswith("| Model"))
    columns = [cell.strip() for cell in header.split("|")]
    assert columns[3:8] == ["Forget accuracy", "Retain accuracy", "Flow tv", "Leak", "Probe forget accuracy"]
    assert "membership auc" in (tmp_path / "run" / "report.html").read_text() or name == "fashion_mnist"
