"""Summaries on paper and screen."""

# ruff: noqa: RUF001 (minus signs are meant)

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from fedunlearn.cli import command_line, main
from fedunlearn.report import formats, tables
from fedunlearn.results.sampling import wilson
from fedunlearn.runs.declarations import declared

DECLARED = declared(command_line.read([], main.conf_dir()))


@pytest.fixture
def two_methods(tmp_path: Path, make_run: Any) -> pd.DataFrame:
    """Method `near` beats `far` everywhere; its forget accuracy of 0.06 is within the floor of 0.02 around 0.05."""
    near = {"forget_accuracy": 0.06, "retain_accuracy": 0.70, "leak": -0.0001}
    far = {"forget_accuracy": 0.5, "retain_accuracy": 0.60, "leak": 0.5}
    folders = [make_run(tmp_path / name, method=name, unlearned=v) for name, v in (("near", near), ("far", far))]
    return tables.summary_table(tables.tidy(folders), DECLARED)


def cells(markdown: str, name: str) -> list[str]:
    line = next(line for line in markdown.splitlines() if line.startswith(f"| {name} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


def printed(summary: pd.DataFrame, width: int = 80) -> str:
    shown = io.StringIO()
    Console(file=shown, width=width, color_system=None).print(formats.to_rich(summary, DECLARED))
    return shown.getvalue()


def test_markdown_cells(two_methods: pd.DataFrame) -> None:
    text = formats.to_markdown(two_methods, DECLARED)
    assert cells(text, "Model")[:5] == ["Model", "Seeds", "Forget accuracy", "Retain accuracy", "AUSUC leak"]
    assert cells(text, "near") == [
        *("near", "1", "**0.060** ≈ (+0.010)", "**0.700** (−0.090)", "**0.000** ≈ (0.000)"),
        *("2", "12", "2"),
    ]
    assert cells(text, "far")[2:6] == ["0.500 (+0.450)", "0.600 (−0.190)", "0.500 (+0.500)", "2"]
    assert cells(text, "noise floor")[2] == "0.020"
    assert "not the smallest number" in text


def judged(word: str | None) -> dict[str, Any]:
    return {"word": word, "reasons": [], "margins": {}, "retrained": 2}


def test_what_counts_is_said_beside_the_verdict_and_added_up_over_seeds(tmp_path: Path, make_run: Any) -> None:
    """A masked head is as retrained on every accuracy, which is no praise: what counts says that more is left."""
    four = ["leak", "gamma_recovered", "probe_forget_accuracy", "prototype_forget_accuracy"]
    mask = {**judged("suppressed"), "counts": four, "above": four[:2], "below": []}
    both = {**judged("suppressed"), "counts": four[:3], "above": four[:1], "below": four[1:2]}
    same = {**judged("erased"), "counts": four, "above": [], "below": []}
    folders = [
        make_run(tmp_path / "a0", method="head_mask", verdict=mask),
        make_run(tmp_path / "a1", method="head_mask", seed=1, verdict=both),
        make_run(tmp_path / "b", method="b", verdict=same),
        make_run(tmp_path / "c", method="c", verdict={**same, "word": None}),
        make_run(tmp_path / "d", method="d", verdict=same, gates={"original_learnt_task": False}),
    ]
    summary = tables.summary_table(tables.tidy(folders), DECLARED)
    text = formats.to_markdown(summary, DECLARED)
    said = {name: cells(text, name)[3] for name in ("Model", "head_mask", "b", "c", "d†", "retrained†")}
    assert said == {
        "Model": "Checks that count",
        "head_mask": "3 of 7: more left, 1 of 7: less left",
        "b": "4 of 4: as retrained",
        "c": "–",
        "d†": "–",
        "retrained†": "",
    }
    assert "≈ in" not in printed(summary) and "checks: more left" in printed(summary)


@pytest.mark.parametrize(("number", "split", "few"), [(29, "test", True), (30, "test", False), (12, "train", True)])
def test_the_number_of_forget_samples_is_said_and_intervals_where_it_is_small(
    tmp_path: Path, make_run: Any, number: int, split: str, few: bool
) -> None:
    name = "forget_accuracy" if split == "test" else "forget_accuracy_train"
    values = {name: 0.5, "retain_accuracy": 0.7}
    folder = make_run(
        tmp_path, original=values, retrained=[values], unlearned=values, samples={f"forget_{split}": number}
    )
    summary = tables.summary_table(tables.tidy([folder]), DECLARED)
    text, low = formats.to_markdown(summary, DECLARED), wilson(0.5, number)[0]
    assert f", {number} forget {'training' if split == 'train' else split} samples**" in text
    assert (f"[{low:.2f} to {1 - low:.2f}]" in cells(text, "fucrt")[2]) == few
    assert ("Fewer than 30 forget samples" in text) == few
    assert (f"{low:.2f} to {1 - low:.2f}" in printed(summary)) == few
    assert "[" not in cells(text, "fucrt")[3], "the retain samples are many"


def test_seeds_with_different_numbers_of_forget_samples(tmp_path: Path, make_run: Any) -> None:
    folders = [make_run(tmp_path / str(n), seed=n, samples={"forget_test": 1200 + n}) for n in range(3)]
    text = formats.to_markdown(tables.summary_table(tables.tidy(folders), DECLARED), DECLARED)
    assert ", 1,200 to 1,202 forget test samples**" in text


def test_of_clients_it_is_said_what_can_be_said(tmp_path: Path, make_run: Any) -> None:
    counts = ["membership_auc"]
    said = {**judged("more left"), "counts": counts, "above": counts, "below": []}
    folder = make_run(tmp_path, verdict=judged(None), judgement=said, forget_classes=[])
    frame = tables.tidy([folder])
    assert (frame["verdict"][0], frame["judgement"][0], frame["checks.more"][0]) == ("", "more left", 1)
    text = formats.to_markdown(tables.summary_table(frame, DECLARED), DECLARED)
    assert cells(text, "fucrt")[2:4] == ["more left", "1 of 1: more left"]
    assert "Verdicts are for classes" in text and "Over-erased" not in text


def test_verdicts_have_a_column_where_there_is_one(tmp_path: Path, make_run: Any) -> None:
    """One method with two seeds, one of a gate that failed, and what was measured before there were verdicts."""
    folders = [
        make_run(tmp_path / "a0", method="a", verdict=judged("erased")),
        make_run(tmp_path / "a1", method="a", seed=1, verdict=judged("suppressed")),
        make_run(tmp_path / "b", method="b", verdict=judged(None), gates={"original_learnt_task": False}),
        make_run(tmp_path / "c", method="c"),
    ]
    summary = tables.summary_table(tables.tidy(folders), DECLARED)
    text, shown, tex = formats.to_markdown(summary, DECLARED), printed(summary, 100), tables.to_latex(summary, DECLARED)
    assert [cells(text, name)[2] for name in ("Model", "a", "c")] == ["Verdict", "1 erased, 1 suppressed", "no verdict"]
    assert cells(text, "b†")[2] == "no verdict"
    assert cells(text, "retrained†")[2] == ""
    assert "Verdict: from what is left" in text and "Verdict: from what is left" in " ".join(shown.split())
    assert re.search(r"^ *1 erased +", shown, flags=re.M) and re.search(r"^ *1 suppressed +", shown, flags=re.M)
    assert "a & 2 & 1 erased, 1 suppressed &" in tex
    without = formats.to_markdown(tables.summary_table(tables.tidy(folders[2:]), DECLARED), DECLARED)
    assert "Verdict" not in without and "no verdict:" in without  # of the footnote on the gate


def test_markdown_rows_have_as_many_cells_as_the_header_and_line_up(two_methods: pd.DataFrame) -> None:
    table = [line for line in formats.to_markdown(two_methods, DECLARED).splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    assert len({len(line) for line in table}) == 1


def test_standard_deviation_is_shown_for_several_seeds(tmp_path: Path, make_run: Any) -> None:
    values = [{"retain_accuracy": 0.7}, {"retain_accuracy": 0.8}]
    folders = [make_run(tmp_path / str(s), seed=s, unlearned=v) for s, v in enumerate(values)]
    text = formats.to_markdown(tables.summary_table(tables.tidy(folders), DECLARED), DECLARED)
    assert cells(text, "fucrt")[1:3] == ["2", "0.750 ± 0.071 (−0.040)"]


def test_one_retrained_model_means_no_floor_and_says_so(tmp_path: Path, make_run: Any) -> None:
    retrained = ({"retain_accuracy": 0.7},)
    summary = tables.summary_table(tables.tidy([make_run(tmp_path, retrained=retrained)]), DECLARED)
    text = formats.to_markdown(summary, DECLARED)
    assert "noise floor |" not in text
    assert "only one model was retrained" in text


def test_failed_gates_are_marked_and_explained_once(tmp_path: Path, make_run: Any) -> None:
    gates = {"original_learnt_task": False}
    folders = [make_run(tmp_path / m, method=m, gates=gates) for m in ("a", "b")]
    folders.append(make_run(tmp_path / "c", method="c", seed=1))
    summary = tables.summary_table(tables.tidy(folders), DECLARED)
    note = "† A sanity gate failed, hence no verdict: the original model did not learn the task (seed 0)."
    for text in (formats.to_markdown(summary, DECLARED), " ".join(printed(summary).split())):
        assert text.count(note) == 1
        assert all(mark in text for mark in ("a†", "b†", "original†"))
        assert "c†" not in text
    assert r"a$^{\dagger}$ &" in tables.to_latex(summary, DECLARED)


def test_different_gates_have_different_marks(tmp_path: Path, make_run: Any) -> None:
    folders = [make_run(tmp_path / g, method=g, gates={g: False}) for g in ("a", "b")]
    text = formats.to_markdown(tables.summary_table(tables.tidy(folders), DECLARED), DECLARED)
    assert (
        len(set(re.findall(r"^([†‡§]) A sanity gate", text, flags=re.M))) == 3
    )  # a's, b's, and both in the references


def test_every_setting_has_a_table_of_its_own(tmp_path: Path, make_run: Any) -> None:
    folders = [make_run(tmp_path / d, changes={"dataset.name": d}) for d in ("mnist", "shoes")]
    summary = tables.summary_table(tables.tidy(folders), DECLARED)
    assert len(re.findall(r"^\| Model", formats.to_markdown(summary, DECLARED), flags=re.M)) == 2
    assert tables.to_latex(summary, DECLARED).count(r"\multicolumn") == 2
    assert "A: mnist," in printed(summary)
    assert "B: shoes," in printed(summary)


def test_latex_escapes_names_and_marks_the_best(tmp_path: Path, make_run: Any) -> None:
    folders = [make_run(tmp_path / "a", method="head_mask"), make_run(tmp_path / "b", method="100%&", unlearned={})]
    text = tables.to_latex(tables.summary_table(tables.tidy(folders), DECLARED), DECLARED)
    assert r"head\_mask &" in text
    assert r"100\%\& &" in text
    assert r"\textbf{0.020}" not in text  # the only one with a gap is best of nothing
    assert "±" not in text
    assert "−" not in text


def test_latex_rows_have_as_many_cells_as_columns_and_braces_balance(two_methods: pd.DataFrame) -> None:
    text = tables.to_latex(two_methods, DECLARED)
    (columns,) = map(len, re.findall(r"\\begin\{tabular\}\{(l\w+)\}", text))
    rows = [line for line in text.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert {line.count(" & ") for line in rows} == {columns - 1}
    assert text.count("{") == text.count("}")
    assert r"\textbf{0.060} $\approx$" in text
    assert r"{\scriptsize (+0.010)}" in text


def test_console_table_is_whole_in_eighty_columns(tmp_path: Path, make_run: Any) -> None:
    values = {"forget_accuracy": 0.1, "retain_accuracy": 0.2, "flow_tv": 0.3, "leak": -2.5, "probe_forget_accuracy": 1}
    known = dict.fromkeys(values, 0.5)
    folders = [
        make_run(
            tmp_path / f"{m}{s}",
            method=m,
            seed=s,
            unlearned=values,
            original=known,
            retrained=(known, values),
            verdict=judged(said),
        )
        for m in ("random_relabel", "fucrt")
        for s, said in enumerate(("over-erased", None))
    ]
    text = printed(tables.summary_table(tables.tidy(folders), DECLARED))
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert all(part in text for part in ("random_relabel", "−2.500", "(−1.500)", "12 s", "2 MB"))
    assert all(part in text for part in ("1 over-erased", "1 no verdict"))


def test_no_markup_in_names_reaches_the_console(tmp_path: Path, make_run: Any) -> None:
    summary = tables.summary_table(
        tables.tidy([make_run(tmp_path, method="[red]", class_names=["a", "b", "[/x]"])]), DECLARED
    )
    assert "[red]" in printed(summary)
    assert "[/x]" in printed(summary)


def test_nothing_finished_is_said(tmp_path: Path, make_failed: Any) -> None:
    summary = tables.summary_table(tables.tidy([make_failed(tmp_path)]), DECLARED)
    for text in (formats.to_markdown(summary, DECLARED), tables.to_latex(summary, DECLARED), printed(summary)):
        assert "There is no finished run" in " ".join(text.split())


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (30.0, "30"), (0.0085, "0.01"), (1.676, "1.68"), (61.23, "61.2"), (12345.6, "12,346")],
)
def test_quantities(value: float, text: str) -> None:
    assert formats.quantity(value) == text
