"""Distance to the retrained models against time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fedunlearn.cli import command_line, main
from fedunlearn.report import cost_figure, tables
from fedunlearn.runs.declarations import declared
from tests.report.test_report_figures import drawn

DECLARED = declared(command_line.read([], main.conf_dir()))


def test_the_distance_is_the_largest_gap_and_the_flow(tmp_path: Path, make_run: Any) -> None:
    values = {"forget_accuracy": 0.10, "retain_accuracy": 0.75, "leak": 5.0, "flow_tv": 0.2}
    rows = tables.tidy([make_run(tmp_path, unlearned=values)])
    accuracy, flow = cost_figure.distances(rows, DECLARED)
    assert accuracy.values.tolist() == pytest.approx([0.05]), "forget: 0.10 - 0.05, retain: 0.75 - 0.79"
    assert accuracy.floor.tolist() == pytest.approx([0.02])
    assert "(forget, retain)" in accuracy.name
    assert flow.values.tolist() == [0.2] and flow.floor.tolist() == pytest.approx([0.1])


def test_below_class_level_the_training_samples_stand_in(tmp_path: Path, make_run: Any) -> None:
    known = {"forget_accuracy": None, "retain_accuracy": 0.7, "flow_tv": None, "forget_accuracy_train": 0.5}
    rows = tables.tidy([make_run(tmp_path, original=known, retrained=[known, known], unlearned=known)])
    (accuracy,) = cost_figure.distances(rows, DECLARED)
    assert "(retain, forget (train))" in accuracy.name


def test_points_stand_at_their_share_of_the_time_of_retraining(tmp_path: Path, make_run: Any) -> None:
    cost = {"rounds": 1.0, "bytes_up": 0.0, "bytes_down": 0.0, "samples": 1.0}
    spent = {"train": {**cost, "seconds": 9.0}, "retrain": {**cost, "seconds": 20.0}}
    slow = make_run(tmp_path / "a", cost={**spent, "unlearn": {**cost, "seconds": 5.0}})
    fast = make_run(tmp_path / "b", method="mask", cost={**spent, "unlearn": {**cost, "seconds": 0.0}})
    figure = drawn(cost_figure.distance_cost, tables.tidy([slow, fast]), DECLARED)
    places = [line.get_xydata()[0, 0] for line in figure.axes[0].lines if line.get_marker() in "os"]
    assert places == [0.25, cost_figure.FASTEST]
    assert figure.axes[0].get_xlim()[0] < cost_figure.FASTEST


def test_without_times_there_is_no_figure(tmp_path: Path, make_run: Any) -> None:
    assert cost_figure.distance_cost(tables.tidy([make_run(tmp_path, cost={})]), DECLARED) is None


def test_twelve_methods_in_two_settings_are_readable(tmp_path: Path, make_run: Any) -> None:
    folders = [
        make_run(tmp_path / f"{name}{i}", method=f"a_long_method_name_{i}", changes={"dataset.name": name})
        for i in range(12)
        for name in ("mnist", "shoes")
    ]
    assert len(drawn(cost_figure.distance_cost, tables.tidy(folders), DECLARED).axes) == 4
