"""Where the rounds' time went, as a run shows it."""

from __future__ import annotations

import pytest

from fedunlearn.report import profile
from fedunlearn.report.runs import Run
from fedunlearn.results.summary import Summary


def test_table_and_figure_show_every_stage_and_part(tmp_path):
    spent = {"train": {"data": 0.25, "local training": 0.75}, "unlearn": {"data": 0.0, "local training": 2.0}}
    run = Run(tmp_path, "done", summary=Summary("done", profile=spent))
    table = profile.table(run)
    cells = [list(column.cells) for column in table.columns]
    assert cells[0] == ["data", "local training", "all"]
    assert cells[1][:2] == ["0.250  25%", "0.750  75%"]
    axes = profile.figure(run).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["train", "unlearn"]
    assert sum(patch.get_width() for patch in axes.patches) == pytest.approx(3.0)


def test_a_run_that_was_not_profiled_shows_neither(tmp_path):
    run = Run(tmp_path, "done", summary=Summary("done"))
    assert profile.table(run) is None and profile.figure(run) is None


def test_the_whole_run_with_its_audits_by_name(tmp_path):
    spent = {
        "run": {"data": 1.0, "train": 5.0, "audits": 2.0, "figures": 2.0},
        "audits": {"cmia": 1.5, "relearning": 2},
    }
    rounds = {"train": {"data": 0.25, "local training": 0.75}}
    run = Run(tmp_path, "done", summary=Summary("done", profile=rounds, spent=spent))
    parts, seconds = (list(column.cells) for column in profile.whole(run).columns)
    assert parts == ["data", "train", "audits", "  relearning", "  cmia", "figures", "all"]
    assert seconds[1] == "5.000  50%" and seconds[-1].strip() == "10.000"
    axes = profile.figure(run).axes[1]
    assert [patch.get_width() for patch in axes.patches] == [1, 5, 2, 2, 1.5, 2]
