"""Tidy rows and summaries against numbers worked out by hand."""

# ruff: noqa: RUF001 (Greek letters are meant)

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedunlearn.cli import command_line, main
from fedunlearn.report import tables
from fedunlearn.report.statistics import estimate
from fedunlearn.runs.declarations import declared

DECLARED = declared(command_line.read([], main.conf_dir()))


RETRAINED = ({"forget_accuracy": 0.04, "retain_accuracy": 0.78}, {"forget_accuracy": 0.06, "retain_accuracy": 0.80})


def audits(forget: float, retain: float, **more: float) -> dict[str, float]:
    return {"forget_accuracy": forget, "retain_accuracy": retain, **more}


def method_rows(summary: pd.DataFrame) -> pd.DataFrame:
    return summary[summary["kind"] == "method"].set_index("row")


def test_t_interval_by_hand() -> None:
    found = estimate(pd.Series([1.0, 2.0, 3.0]), pd.Series([0, 1, 2]))
    assert (found.mean, found.sd, found.n) == (2.0, 1.0, 3)
    assert found.half == pytest.approx(4.302652729911275 / np.sqrt(3))  # t(0.975, 2 degrees of freedom), from a table


def test_one_seed_has_no_spread_and_a_copied_run_adds_no_certainty() -> None:
    one = estimate(pd.Series([5.0, 7.0]), pd.Series([0, 0]))
    assert (one.mean, one.n) == (6.0, 1)
    assert np.isnan(one.sd)
    assert np.isnan(one.half)
    assert estimate(pd.Series([np.nan]), pd.Series([0])).n == 0


def test_tidy_has_a_row_per_run_in_order_whatever_its_state(tmp_path: Path, make_run: Any, make_failed: Any) -> None:
    folders = [make_run(tmp_path / "b", seed=3), make_failed(tmp_path / "a"), tmp_path / "none"]
    frame = tables.tidy(folders)
    assert frame["status"].tolist() == ["done", "failed", "missing"]
    assert frame["folder"].tolist() == [str(folder) for folder in folders]
    assert frame["reason"].tolist() == ["", "the loss is not finite in round 3", "not started"]
    assert frame["method"].tolist() == ["fucrt", "fucrt", ""]


def test_tidy_columns_of_a_run(tmp_path: Path, make_run: Any) -> None:
    row = tables.tidy([make_run(tmp_path, seed=3)]).iloc[0]
    assert (row["dataset"], row["model"], row["partition"], row["label"]) == ("clothes", "lenet", "dirichlet", "fucrt")
    assert (row["alpha"], row["clients"], row["seed"], row["forget"]) == (0.5, 3, 3, "class 2 (dress)")
    assert row["setting"] == "clothes, lenet, dirichlet α=0.5, 3 clients, forgetting class 2 (dress)"
    assert (row["original.leak"], row["unlearned.leak"]) == (1.0, 0.3)
    assert row["retrained.forget_accuracy"] == pytest.approx(0.05)
    assert (row["retrained_low.forget_accuracy"], row["retrained_high.forget_accuracy"]) == (0.04, 0.06)
    assert row["gap.forget_accuracy"] == pytest.approx(-0.03)
    assert row["noise.forget_accuracy"] == pytest.approx(0.02)
    assert (row["cost.unlearn.megabytes"], row["cost.retrain.rounds"]) == (2.0, 7.0)
    assert bool(row["gate.retrained_at_chance"])
    assert bool(row["cached.train"])
    assert row["command"] == "fedunlearn method=fucrt seed=3"


def test_one_retrained_model_leaves_the_noise_floor_unknown_even_if_it_is_written_as_zero(
    tmp_path: Path, make_run: Any
) -> None:
    folder = make_run(tmp_path, retrained=RETRAINED[:1], noise_floor={"forget_accuracy": 0.0})
    frame = tables.tidy([folder])
    assert "noise.forget_accuracy" not in frame
    assert method_rows(tables.summary_table(frame, DECLARED))["forget_accuracy.within"].isna().all()


def test_summary_means_gaps_and_costs_by_hand(tmp_path: Path, make_run: Any) -> None:
    values = [audits(0.02, 0.70), audits(0.06, 0.80)]
    frame = tables.tidy([make_run(tmp_path / str(s), seed=s, unlearned=v) for s, v in enumerate(values)])
    summary = tables.summary_table(frame, DECLARED)
    assert summary["row"].tolist() == ["original", "retrained", "noise floor", "fucrt"]
    row = summary.iloc[3]
    assert row["runs"] == 2
    assert row["forget_accuracy"] == pytest.approx(0.04)
    assert row["forget_accuracy.sd"] == pytest.approx(0.04 / np.sqrt(2))
    assert row["forget_accuracy.gap"] == pytest.approx(-0.01)
    assert row["forget_accuracy.within"] is True  # 0.01 is at most the floor of 0.02
    assert row["retain_accuracy.gap"] == pytest.approx(-0.04)
    assert row["retain_accuracy.within"] is False
    assert (row["rounds"], row["seconds"], row["megabytes"]) == (2.0, 12.0, 2.0)
    assert summary["rounds"].tolist()[:2] == [5.0, 7.0]
    assert summary.iloc[2]["forget_accuracy"] == pytest.approx(0.02)


def test_references_count_a_seed_once_however_many_methods_share_it(tmp_path: Path, make_run: Any) -> None:
    folders = [make_run(tmp_path / f"{m}{s}", method=m, seed=s) for m in ("a", "b", "c") for s in (0, 1)]
    summary = tables.summary_table(tables.tidy(folders), DECLARED)
    assert summary["runs"].tolist()[:2] == [2, 2]


def test_best_is_nearest_to_retrained_not_smallest(tmp_path: Path, make_run: Any) -> None:
    near, small = audits(0.06, 0.79), audits(0.0, 0.90)
    folders = [make_run(tmp_path / name, method=name, unlearned=v) for name, v in (("near", near), ("small", small))]
    rows = method_rows(tables.summary_table(tables.tidy(folders), DECLARED))
    assert rows["forget_accuracy.best"].to_dict() == {"near": True, "small": False}
    assert rows["retain_accuracy.best"].to_dict() == {"near": True, "small": False}


def test_best_is_shared_by_equals_and_means_nothing_for_one_alone(tmp_path: Path, make_run: Any) -> None:
    folders = [make_run(tmp_path / name, method=name) for name in ("a", "b")]
    both = method_rows(tables.summary_table(tables.tidy(folders), DECLARED))
    assert both["leak.best"].tolist() == [True, True]
    assert method_rows(tables.summary_table(tables.tidy(folders[:1]), DECLARED))["leak.best"].tolist() == [False]


def test_a_method_with_a_run_that_failed_a_gate_gets_no_verdict(tmp_path: Path, make_run: Any) -> None:
    broken = {"original_learnt_task": True, "retrained_at_chance": False}
    folders = [
        make_run(tmp_path / "a0", method="a", seed=0),
        make_run(tmp_path / "a1", method="a", seed=1, gates=broken),
        make_run(tmp_path / "b0", method="b", seed=0, unlearned=audits(0.5, 0.5)),
        make_run(tmp_path / "c0", method="c", seed=0, unlearned=audits(0.6, 0.5)),
    ]
    rows = method_rows(tables.summary_table(tables.tidy(folders), DECLARED))
    expected = "the retrained model is not at chance on what it never saw (seed 1)"
    assert rows["failed_gates"].to_dict() == {"a": expected, "b": "", "c": ""}
    assert rows["forget_accuracy.within"].to_dict() == {"a": None, "b": False, "c": False}
    assert rows["forget_accuracy.best"].to_dict() == {"a": False, "b": True, "c": False}


def test_distances_and_similarities_are_judged_in_one_direction(tmp_path: Path, make_run: Any) -> None:
    """Means: flow TV 0.2, CKA 0.5, leak 0; floors 0.1, 0.2 and 0.2."""
    retrained = [
        {"flow_tv": 0.15, "cka_forget": 0.4, "leak": -0.1},
        {"flow_tv": 0.25, "cka_forget": 0.6, "leak": 0.1},
    ]
    found = {
        "closer": {"flow_tv": 0.0, "cka_forget": 0.9, "leak": -0.9},
        "edge": {"flow_tv": 0.29, "cka_forget": 0.31, "leak": 0.19},
        "farther": {"flow_tv": 0.31, "cka_forget": 0.29, "leak": 0.21},
    }
    folders = [
        make_run(tmp_path / name, method=name, original=retrained[0], retrained=retrained, unlearned=values)
        for name, values in found.items()
    ]
    frame = tables.tidy(folders)
    rows = method_rows(tables.summary_table(frame, DECLARED))
    assert rows["flow_tv.within"].to_dict() == {"closer": True, "edge": True, "farther": False}
    assert rows["flow_tv.best"].to_dict() == {"closer": True, "edge": False, "farther": False}
    assert rows["leak.within"].to_dict() == {"closer": False, "edge": True, "farther": False}
    assert rows["leak.best"].to_dict() == {"closer": False, "edge": True, "farther": False}


def test_two_retrained_models_of_equal_distance_leave_only_what_is_larger_outside(
    tmp_path: Path, make_run: Any
) -> None:
    """With two, each is as far from the other as the other from it: the floor is 0."""
    folders = [make_run(tmp_path / str(x), method=str(x), unlearned={"flow_tv": x}) for x in (0.05, 0.1, 0.11)]
    rows = method_rows(tables.summary_table(tables.tidy(folders), DECLARED))
    assert rows["flow_tv.within"].to_dict() == {"0.05": True, "0.1": True, "0.11": False}
    assert rows["flow_tv.best"].to_dict() == {"0.05": True, "0.1": True, "0.11": False}


def verdict(word: str | None, leak: float = 0.0) -> dict[str, Any]:
    margins = {"leak": leak, "relearn_batches": None} if word else {}
    return {"word": word, "reasons": ["r"], "margins": margins, "retrained": 2}


def test_verdicts_and_margins_of_runs(tmp_path: Path, make_run: Any) -> None:
    folders = [
        make_run(tmp_path / "a", verdict=verdict("suppressed", 1.5)),
        make_run(tmp_path / "b", seed=1, verdict=verdict(None)),
        make_run(tmp_path / "c", seed=2),
    ]
    frame = tables.tidy(folders)
    assert frame["verdict"].tolist() == ["suppressed", "", ""]
    assert frame["margin.leak"].tolist()[0] == 1.5
    assert frame["margin.leak"].isna().tolist() == [False, True, True]
    assert "margin.relearn_batches" not in frame  # null in the only run that has a verdict


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["erased"], "erased"),
        ([None], ""),
        ([None, None], ""),
        (["erased", "erased", "erased"], "3 erased"),
        (["suppressed", "erased", "erased"], "2 erased, 1 suppressed"),
        ([None, "not erased", "over-erased"], "1 over-erased, 1 not erased, 1 no verdict"),
    ],
)
def test_verdicts_are_counted_over_seeds(tmp_path: Path, make_run: Any, words: list[str | None], text: str) -> None:
    folders = [make_run(tmp_path / str(s), seed=s, verdict=verdict(word)) for s, word in enumerate(words)]
    folders.append(make_run(tmp_path / "copy", seed=0, verdict=verdict(words[0])))
    assert method_rows(tables.summary_table(tables.tidy(folders), DECLARED))["verdict"].to_dict() == {"fucrt": text}


@pytest.mark.parametrize("key", ["dataset.name", "partition.alpha", "train.lr", "request.classes", "unlearn.rounds"])
def test_runs_of_different_settings_are_never_averaged(tmp_path: Path, make_run: Any, key: str) -> None:
    value = {"dataset.name": "shoes", "request.classes": [1]}.get(key, 9)
    folders = [make_run(tmp_path / "a"), make_run(tmp_path / "b", seed=1, changes={key: value})]
    frame = tables.tidy(folders)
    assert frame["setting"].nunique() == 2
    assert tables.summary_table(frame, DECLARED)["setting"].nunique() == 2


def test_where_the_data_lie_makes_no_difference(tmp_path: Path, make_run: Any) -> None:
    folders = [make_run(tmp_path / "a"), make_run(tmp_path / "b", seed=1, changes={"data.root": "/elsewhere"})]
    assert tables.tidy(folders)["setting"].nunique() == 1


def test_variants_of_a_method_have_rows_of_their_own(tmp_path: Path, make_run: Any) -> None:
    folders = [make_run(tmp_path / str(x), changes={"method.strength": x}) for x in (1.0, 2.0)]
    rows = method_rows(tables.summary_table(tables.tidy(folders), DECLARED))
    assert rows.index.tolist() == ["fucrt (strength=1.0)", "fucrt (strength=2.0)"]


def test_requests_without_a_forgotten_class_show_training_accuracy_instead(tmp_path: Path, make_run: Any) -> None:
    nothing = {"forget_accuracy": None, "forget_accuracy_train": 0.7, "retain_accuracy": 0.8, "leak": None}
    folder = make_run(tmp_path, original=nothing, retrained=(nothing, nothing), unlearned=nothing)
    assert tables.headline(tables.tidy([folder]), DECLARED) == ["forget_accuracy_train", "retain_accuracy"]


def test_failed_runs_are_in_no_average(tmp_path: Path, make_run: Any, make_failed: Any) -> None:
    frame = tables.tidy([make_run(tmp_path / "a"), make_failed(tmp_path / "b")])
    assert method_rows(tables.summary_table(frame, DECLARED))["runs"].tolist() == [1]


def test_no_finished_run_gives_an_empty_summary(tmp_path: Path, make_failed: Any) -> None:
    assert tables.summary_table(tables.tidy([make_failed(tmp_path)]), DECLARED).empty


def test_the_csv_read_back_gives_the_same_summary(tmp_path: Path, make_run: Any, make_failed: Any) -> None:
    said = {0: verdict("erased"), 1: verdict(None)}
    folders = [make_run(tmp_path / f"{m}{s}", method=m, seed=s, verdict=said[s]) for m in "ab" for s in (0, 1)]
    folders.append(make_run(tmp_path / "c", method="c", gates={"retrained_at_chance": False}))
    frame = tables.tidy([*folders, make_failed(tmp_path / "x")])
    again = pd.read_csv(io.StringIO(frame.to_csv(index=False)))
    pd.testing.assert_frame_equal(
        tables.summary_table(again, DECLARED), tables.summary_table(frame, DECLARED), check_dtype=False
    )


@settings(max_examples=30)
@given(st.lists(st.floats(-1, 1), min_size=2, max_size=6))
def test_the_best_gap_is_never_larger_than_any_other(gaps: list[float]) -> None:
    rows = [{"status": "done", "setting": "s", "label": str(i), "seed": 0} for i in range(len(gaps))]
    frame = pd.DataFrame(rows).assign(**{"gap.leak": gaps, "unlearned.leak": gaps})
    methods = method_rows(tables.summary_table(frame, DECLARED))
    best = methods.loc[methods["leak.best"], "leak.gap"].abs()
    assert len(best) >= 1
    assert best.max() == methods["leak.gap"].abs().min()
