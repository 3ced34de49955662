"""What figures contain, that nothing in them is cut off or too small, and that their files are the same every time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from fedunlearn.cli import command_line, main
from fedunlearn.report import figures, partition_figure, run_figures, runs, style, sweep_figure, tables
from fedunlearn.report.legible import legible
from fedunlearn.report.statistics import Estimate
from fedunlearn.runs.declarations import declared

DECLARED = declared(command_line.read([], main.conf_dir()))


def hidden_ticks(figure: Figure) -> Iterator[Text]:
    """Labels of ticks beyond the ends of an axis, which are there but are not drawn."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            yield from (tick.label1 for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high)


def check_readable(figure: Figure) -> None:
    """Every text is inside the figure and at least 7 points tall; level tick labels of an axis do not overlap."""
    figure.canvas.draw()
    inside, hidden = figure.bbox.padded(1), set(hidden_ticks(figure))
    shown = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    for text in (text for text in shown if text not in hidden):
        box = text.get_window_extent()
        assert float(text.get_fontsize()) >= 7, text
        assert inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1, text
    for axes in figure.axes:
        for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
            level = [label for label in labels if label in set(shown) - hidden and not label.get_rotation()]
            boxes = [label.get_window_extent() for label in level]
            assert not any(a.overlaps(b) for a, b in pairwise(boxes)), level


def drawn(draw: Callable[..., Figure | None], *subject: Any) -> Any:
    """The figure in our style, having passed `check_readable`."""
    with style.styled():
        figure = draw(*subject)
        assert figure is not None
        check_readable(figure)
    return figure


def many(classes: int, clients: int, forgotten: list[int]) -> dict[str, Any]:
    """A run's parts for as many classes and clients, by a fixed stream."""
    draw = np.random.default_rng(0)
    counts = draw.integers(0, 9, (clients, classes)) * draw.integers(0, 2, (clients, classes))
    flow = draw.dirichlet(np.ones(classes)).tolist()
    return {
        "class_names": [f"a rather long name {c}" for c in range(classes)],
        "forget_classes": forgotten,
        "partition": {"counts": counts.tolist(), "forget": counts[:, forgotten].sum(axis=1).tolist()},
        "details": {model: {"class_flow": flow} for model in run_figures.MODELS},
    }


def test_a_run_has_three_figures_in_three_formats_with_the_same_bytes_every_time(tmp_path: Path, make_run: Any) -> None:
    folder = make_run(tmp_path)
    written = figures.draw(runs.read(folder))
    names = ["erasure_utility", "class_flow", "partition"]
    assert written == [folder / "figures" / f"{name}.{kind}" for name in names for kind in ("png", "svg", "pdf")]
    first = [path.read_bytes() for path in written]
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "svg.hashsalt": None}):
        figures.draw(runs.read(folder))  # nor do the user's own settings matter
    assert [path.read_bytes() for path in written] == first
    assert not any(b"<dc:date>" in content or b"Matplotlib v" in content for content in first)
    there = [path.name for path in (folder / "figures").iterdir() if path.is_file()]
    assert sorted(there) == sorted(path.name for path in written)


def test_drawing_leaves_the_settings_of_matplotlib_alone() -> None:
    with matplotlib.rc_context({"font.size": 17}):
        with style.styled():
            assert matplotlib.rcParams["font.size"] == 7.5
        assert matplotlib.rcParams["font.size"] == 17


def test_a_figure_without_content_is_not_drawn_and_an_old_one_goes(tmp_path: Path, make_run: Any) -> None:
    old = tmp_path / "figures" / "class_flow.png"
    old.parent.mkdir()
    old.touch()
    written = figures.draw(
        runs.read(make_run(tmp_path, forget_classes=[], details={"unlearned": {"class_flow": None}}))
    )
    assert not any(path.stem == "class_flow" for path in written)
    assert not old.exists()


@pytest.mark.parametrize(
    ("classes", "clients", "forgotten"), [(4, 1, [2]), (10, 10, [3]), (100, 1000, [1, 2, 3, 60]), (12, 25, [0, 11])]
)
def test_figures_of_a_run_are_readable_for_few_and_for_many(
    tmp_path: Path, make_run: Any, classes: int, clients: int, forgotten: list[int]
) -> None:
    run = runs.read(make_run(tmp_path, **many(classes, clients, forgotten)))
    for name, draw in figures.OF_A_RUN.items():
        if name in ("erasure_utility", "class_flow", "partition"):  # this run has no exhibits, and no profile
            drawn(draw, run)


def test_path_starts_at_the_original_and_ends_at_the_audited_model(tmp_path: Path, make_run: Any) -> None:
    run = runs.read(make_run(tmp_path))
    assert run_figures.path(run, "forget_accuracy") == pytest.approx({0: 0.9, 1: 0.46, 2: 0.02})
    (tmp_path / "metrics.jsonl").unlink()
    assert run_figures.path(run, "forget_accuracy") == {0: 0.9, 2: 0.02}


def test_a_method_without_rounds_goes_from_before_to_after(tmp_path: Path, make_run: Any) -> None:
    cost = {"unlearn": {"rounds": 0}}
    run = runs.read(make_run(tmp_path, cost=cost))
    only_start = {"stage": "unlearn", "round": 0, "name": "forget_accuracy", "value": 0.9}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(only_start) + "\n")
    assert run_figures.path(run, "forget_accuracy") == {0: 0.9, 1: 0.02}
    figure = drawn(run_figures.erasure_utility, run)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["before", "after"]


def test_erasure_shows_original_band_mean_and_course(tmp_path: Path, make_run: Any) -> None:
    figure = drawn(run_figures.erasure_utility, runs.read(make_run(tmp_path)))
    forget, retain = figure.axes
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["forget accuracy", "retain accuracy"]
    (band,) = forget.patches
    assert (band.get_y(), band.get_height()) == (0.04, pytest.approx(0.02))
    levels = sorted(line.get_ydata()[0] for line in forget.lines if len(set(line.get_ydata())) == 1)
    assert levels == pytest.approx([0.05, 0.9])
    (course,) = [line for line in forget.lines if len(line.get_xdata()) == 3]
    assert course.get_ydata().tolist() == pytest.approx([0.9, 0.46, 0.02])
    said = {text.get_text() for axes in (forget, retain) for text in axes.texts}
    assert said == {
        *("original 0.900", "retrained 0.050", "unlearned 0.020"),
        *("original 0.800", "retrained 0.790", "unlearned 0.750"),
    }
    assert "2 retrained models" in figure.get_supxlabel()


def test_one_retrained_model_is_said_to_be_one(tmp_path: Path, make_run: Any) -> None:
    retrained = ({"forget_accuracy": 0.04, "retain_accuracy": 0.78},)
    figure = drawn(run_figures.erasure_utility, runs.read(make_run(tmp_path, retrained=retrained)))
    assert "the one retrained model" in figure.get_supxlabel()


def test_a_failed_gate_is_said_in_the_figure(tmp_path: Path, make_run: Any) -> None:
    figure = drawn(run_figures.erasure_utility, runs.read(make_run(tmp_path, gates={"retrained_at_chance": False})))
    assert "not at chance" in figure.get_supxlabel()


def test_without_forgotten_test_samples_the_training_split_stands_in(tmp_path: Path, make_run: Any) -> None:
    values = {"forget_accuracy": None, "forget_accuracy_train": 0.7, "retain_accuracy": 0.8}
    folder = make_run(tmp_path, original=values, retrained=(values, values), unlearned=values)
    figure = drawn(run_figures.erasure_utility, runs.read(folder))
    assert figure.axes[0].get_title(loc="left") == "forget accuracy (train)"


def test_flow_columns_forgotten_first_then_most_to_least() -> None:
    flows = np.array([[0.1, 0.0, 0.9, 0.0], [0.2, 0.5, 0.0, 0.3]])
    columns = run_figures.flow_columns(flows, [2], list("abcd"))
    assert [(column.name, column.forgotten) for column in columns] == [
        *(("c", True), ("b", False), ("d", False), ("a", False)),
    ]
    assert columns[1].shares.tolist() == [0.0, 0.5]


def test_flow_columns_drop_the_forgotten_where_nothing_goes_there() -> None:
    columns = run_figures.flow_columns(np.array([[0.0, 1.0]]), [0], list("ab"))
    assert [column.name for column in columns] == ["b"]


@given(st.integers(2, 60), st.data())
def test_flow_columns_lose_nothing_and_are_few(classes: int, data: st.DataObject) -> None:
    weights = data.draw(st.lists(st.integers(0, 9), min_size=classes, max_size=classes))
    forgotten = data.draw(st.lists(st.integers(0, classes - 1), min_size=1, max_size=classes - 1, unique=True))
    columns = run_figures.flow_columns(np.array([weights], dtype=float), forgotten, [str(c) for c in range(classes)])
    assert len(columns) <= run_figures.FEW_CLASSES
    assert sum(column.shares[0] for column in columns) == sum(weights)


def test_flow_figure_says_the_shares(tmp_path: Path, make_run: Any) -> None:
    figure = drawn(run_figures.class_flow, runs.read(make_run(tmp_path)))
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["dress", "top", "coat", "trouser"]
    assert [text.get_text() for text in axes.texts] == ["90", "5", "5", "", "", "60", "30", "10", "2", "50", "48", ""]
    assert "0.200" in figure.get_supxlabel()


def test_partition_says_who_holds_what(tmp_path: Path, make_run: Any) -> None:
    figure = drawn(partition_figure.partition, runs.read(make_run(tmp_path)))
    assert [text.get_text() for text in figure.axes[0].texts][:4] == ["5", "", "7", "1"]
    assert [text.get_text().strip() for text in figure.axes[1].texts] == ["7", "", "3"]
    assert figure.get_supxlabel() == "2 of 3 clients hold samples to forget: 10 of 36."
    colours = [label.get_color() for label in figure.axes[0].get_yticklabels()]
    assert colours == [style.UNLEARNED, "black", style.UNLEARNED]


def test_clients_are_sorted_by_what_they_forget_then_by_main_class() -> None:
    counts = np.array([[1, 0, 9], [0, 5, 0], [7, 0, 0], [0, 0, 3]])
    assert partition_figure.sorted_clients(counts, np.array([0, 2, 2, 8])).tolist() == [3, 2, 1, 0]


@given(st.integers(1, 40), st.integers(1, 10))
def test_grouped_keeps_the_total_and_the_order(clients: int, groups: int) -> None:
    counts = np.arange(clients, dtype=float)[:, None]
    means = partition_figure.grouped(counts, groups)
    sizes = [len(part) for part in np.array_split(counts, min(groups, clients))]
    assert len(means) == min(groups, clients)
    assert (means[:, 0] * sizes).sum() == pytest.approx(counts.sum())
    assert (np.diff(means[:, 0]) > 0).all()


@given(st.lists(st.floats(-0.5, 1.5), min_size=1, max_size=8), st.floats(0.01, 0.12))
def test_labels_are_moved_apart_and_kept_inside(places: list[float], gap: float) -> None:
    moved = style.apart(sorted(places), gap)
    assert (np.diff(moved) >= gap - 1e-9).all()
    assert min(moved) >= -1e-9
    assert max(moved) <= 1 + 1e-9


def test_labels_that_do_not_collide_stay() -> None:
    assert style.apart([0.1, 0.5, 0.9], 0.1) == [0.1, 0.5, 0.9]


STEMS = ("class_flow", "partition")


def sweep_rows(make_run: Any, folder: Path) -> pd.DataFrame:
    made = []
    for method, values in {"fucrt": (0.70, 0.74, 0.78), "head_mask": (0.80,)}.items():
        for seed, retain in enumerate(values):
            unlearned = {"forget_accuracy": 0.1, "retain_accuracy": retain, "leak": 0.2}
            made.append(make_run(folder / f"{method}{seed}", method=method, seed=seed, unlearned=unlearned))
    return tables.tidy(made)


def test_sweep_shows_means_with_t_intervals_and_none_for_one_seed(tmp_path: Path, make_run: Any) -> None:
    rows = sweep_rows(make_run, tmp_path)
    figure = drawn(sweep_figure.erasure_utility, rows, DECLARED)
    forget, leak = figure.subfigs[0].axes
    several, single = forget.containers
    assert several.lines[0].get_xydata().tolist() == [pytest.approx([0.74, 0.1])]
    (bar,) = several.lines[2][0].get_segments()
    half = 4.302652729911275 * 0.04 / np.sqrt(3)
    assert bar[:, 0].tolist() == pytest.approx([0.74 - half, 0.74 + half])
    assert not single.has_xerr
    assert not single.has_yerr
    star = next(line for line in forget.lines if line.get_marker() == "*")
    assert star.get_xydata().tolist() == [pytest.approx([0.79, 0.05])]
    spans = [(patch.get_x(), patch.get_width()) for patch in forget.patches]
    assert spans[0] == (0.78, pytest.approx(0.02))
    assert "leak" in leak.get_ylabel()
    assert {text.get_text() for text in figure.legends[0].get_texts()} >= {"fucrt", "head_mask", "original"}


def test_methods_of_a_sweep_never_share_a_colour() -> None:
    looks = [sweep_figure._look(number) for number in range(60)]
    assert len({colour for _, colour in looks}) == 60
    assert all(one[0] != next_[0] for one, next_ in pairwise(looks))
    colours = [np.array(to_rgb(colour)) for _, colour in looks[:24]] + [np.array(to_rgb(style.RETRAINED))]
    assert min(np.abs(a - b).max() for a, b in combinations(colours, 2)) > 0.1, "and none is easily taken for another"


def test_points_that_lie_on_top_of_each_other_are_all_seen(tmp_path: Path, make_run: Any) -> None:
    """Three methods with the same numbers: three sizes, the largest below; a fourth elsewhere has the usual one."""
    values = {"forget_accuracy": 0.1, "retain_accuracy": 0.7, "leak": 0.2}
    made = [make_run(tmp_path / name, method=name, unlearned=values) for name in "abc"]
    made.append(make_run(tmp_path / "d", method="d", unlearned={**values, "retain_accuracy": 0.5}))
    figure = drawn(sweep_figure.erasure_utility, tables.tidy(made), DECLARED)
    points = [line for line in figure.subfigs[0].axes[0].lines if line.get_zorder() == 5]
    assert [line.get_markersize() for line in points] == pytest.approx([9.8, 7.4, 5.0, 5.0])
    assert [line.get_xdata()[0] for line in points] == [0.7, 0.7, 0.7, 0.5]


def test_accuracy_axes_end_at_one(tmp_path: Path, make_run: Any) -> None:
    high = {"forget_accuracy": 0.99, "retain_accuracy": 0.995, "leak": 1.0}
    folder = make_run(tmp_path, original=high, retrained=(high, high), unlearned=high)
    of_sweep = drawn(sweep_figure.erasure_utility, tables.tidy([folder]), DECLARED).subfigs[0].axes
    of_run = drawn(run_figures.erasure_utility, runs.read(folder)).axes
    assert [axes.get_xlim()[1] for axes in of_sweep] == [1.0, 1.0]
    assert [axes.get_ylim()[1] for axes in (of_sweep[0], *of_run)] == [1.0, 1.0, 1.0]
    assert of_sweep[1].get_ylim()[1] > 1, "a leak may be larger"


def test_titles_can_be_left_off(tmp_path: Path, make_run: Any) -> None:
    run = runs.read(make_run(tmp_path / "a"))
    assert drawn(run_figures.class_flow, run)._suptitle.get_text()
    assert drawn(run_figures.class_flow, run, style.UNTITLED)._suptitle is None
    plain = make_run(tmp_path / "b", changes={"report": {"titles": False}})
    assert figures.has_titles(run) and not figures.has_titles(runs.read(plain))
    for folder in (run.folder, plain):
        figures.draw(runs.read(folder), ["class_flow"])
    drawings = [(folder / "figures" / "class_flow.png").read_bytes() for folder in (run.folder, plain)]
    assert drawings[0] != drawings[1]


def test_on_phones_panels_stand_one_below_another(tmp_path: Path, make_run: Any) -> None:
    folder = make_run(tmp_path)
    for figure in (
        drawn(run_figures.erasure_utility, runs.read(folder), style.PHONE),
        drawn(sweep_figure.erasure_utility, tables.tidy([folder]), DECLARED, style.PHONE).subfigs[0],
    ):
        first, second = (axes.get_position() for axes in figure.axes[:2])
        assert first.x0 == pytest.approx(second.x0, abs=0.05) and first.y0 > second.y1
    figures.draw(runs.read(folder))
    narrow = {path.stem for path in (folder / "figures" / "narrow").glob("*.svg")}
    assert narrow == {path.stem for path in (folder / "figures").glob("*.pdf")} == {*STEMS, "erasure_utility"}


@pytest.mark.filterwarnings("error")
def test_names_in_any_script_are_drawn_without_a_warning(tmp_path: Path, make_run: Any) -> None:
    """The test's machine has no font for emoji: a box stands for what cannot be drawn, a number for the whole name."""
    odd = ["猫", "🐈‍⬛", "chien 🐕", "naïve Ж"]
    folder = make_run(tmp_path, class_names=odd, changes={"request.classes": ["🐈‍⬛"]}, method="méthode 🐕")
    assert figures.draw(runs.read(folder))
    assert figures.draw_sweep(tables.tidy([folder]), DECLARED, tmp_path)
    shown = legible(runs.read(folder)).summary
    assert shown.class_names[3] == "naïve Ж" and shown.class_names[2] in ("chien 🐕", "chien □")
    assert shown.class_names[0] in ("猫", "class 0")
    assert shown.config["request"]["classes"] == [shown.class_names[1]], "asked for by name"


def test_sweep_of_twelve_methods_in_two_settings_is_readable(tmp_path: Path, make_run: Any) -> None:
    folders = [
        make_run(tmp_path / f"{name}{i}", method=f"a_long_method_name_{i}", changes={"dataset.name": name})
        for i in range(12)
        for name in ("mnist", "shoes")
    ]
    figure = drawn(sweep_figure.erasure_utility, tables.tidy(folders), DECLARED)
    assert len(figure.axes) == 4


def test_sweep_marks_methods_that_failed_a_gate(tmp_path: Path, make_run: Any) -> None:
    folders = [make_run(tmp_path / "a", method="a", gates={"g": False}), make_run(tmp_path / "b", method="b")]
    figure = drawn(sweep_figure.erasure_utility, tables.tidy(folders), DECLARED)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[-2:] == ["a †", "b"]
    assert "sanity gate" in figure.legends[0].get_title().get_text()


def test_leak_of_retrained_models_is_zero_where_there_is_only_one(tmp_path: Path, make_run: Any) -> None:
    retrained = ({"forget_accuracy": 0.0, "retain_accuracy": 0.8, "leak": None},)
    figure = drawn(sweep_figure.erasure_utility, tables.tidy([make_run(tmp_path, retrained=retrained)]), DECLARED)
    star = next(line for line in figure.subfigs[0].axes[1].lines if line.get_marker() == "*")
    assert star.get_xydata().tolist() == [[0.8, 0.0]]


def test_limits_show_all_means_but_only_so_much_of_a_bar() -> None:
    values = [Estimate(0.0, 1.0, 100.0, 2), Estimate(1.0, 0.1, 0.1, 2), Estimate(np.nan, np.nan, np.nan, 0)]
    assert sweep_figure.limits(values) == pytest.approx((-0.25 - 0.08, 1.25 + 0.08))
    assert sweep_figure.limits(values[1:2]) == pytest.approx((1 - 0.05 - 0.025 - 0.008, 1 + 0.05 + 0.025 + 0.008))


def test_sweep_without_finished_runs_has_no_figure_and_removes_an_old_one(
    tmp_path: Path, make_run: Any, make_failed: Any
) -> None:
    assert len(figures.draw_sweep(tables.tidy([make_run(tmp_path / "a")]), DECLARED, tmp_path)) == 6
    assert figures.draw_sweep(tables.tidy([make_failed(tmp_path / "b")]), DECLARED, tmp_path) == []
    assert not [path for kind in ("png", "svg", "pdf") for path in tmp_path.rglob(f"*.{kind}")]
