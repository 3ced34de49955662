"""The experiments: what they ask for can be run, and their pages say what the runs say. Numbers are made up."""

# ruff: noqa: RUF001 (minus signs are meant)

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pandas as pd
import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

from experiments import sweeps
from experiments.ablation import __main__ as ablation
from experiments.ablation import page as ablation_page
from experiments.fucrt_table import __main__ as fucrt_table
from experiments.fucrt_table import page as fucrt_page
from experiments.sweeps import Location, Sweep
from experiments.true_erasure import __main__ as true_erasure
from experiments.true_erasure import figure
from experiments.true_erasure import page as erasure_page
from fedunlearn.cli import command_line, main
from fedunlearn.runs.pipeline import check_method
from fedunlearn.settings import registry

SWEEPS = [*true_erasure.SWEEPS, true_erasure.ATTACK, *true_erasure.QUICK]
SWEEPS += [*ablation.digits(), *ablation.fashion(), *ablation.quick()]
SWEEPS += [
    fucrt_table.sweep(size, dataset, partition)
    for size in fucrt_table.SIZES.values()
    for dataset in size.models
    for partition in fucrt_table.PARTITIONS
]


def jobs(sweep: Sweep) -> list[list[str]]:
    """The jobs that Hydra makes of a sweep."""
    parsed = OverridesParser.create().parse_overrides(list(sweep.words))
    return BasicSweeper.split_arguments(parsed, None)[0]


@pytest.mark.parametrize("sweep", SWEEPS, ids=lambda sweep: sweep.name)
def test_what_is_asked_for_is_a_configuration(sweep):
    check_method(command_line.read(jobs(sweep)[-1], main.conf_dir()))


def test_methods_exist_and_forget_classes():
    assert set(sweeps.METHODS) <= set(registry.names("method"))
    assert len(set(sweeps.METHODS)) == len(sweeps.METHODS)
    assert all("class" in registry.find("method", name).levels for name in sweeps.METHODS)
    assert set(fucrt_table.METHODS) <= set(sweeps.METHODS)


def test_twelve_cells_for_every_method():
    asked = [job for sweep in true_erasure.SWEEPS for job in jobs(sweep)]
    for method in sweeps.METHODS:
        own = [job for job in asked if f"method={method}" in job]
        assert len({tuple(job) for job in own}) == len(own) == 12


def made(folder: Path, number: int, words: list[str], status: str = "done") -> dict:
    """A job's folder with a summary, and its entry in the list of jobs."""
    (folder / str(number)).mkdir(parents=True)
    names = {part: {"name": part} for part in ("method", "dataset", "model", "partition")}
    models = {name: {"retain_accuracy": 0.5} for name in ("original", "retrained", "unlearned")}
    summary = {"status": status, "reason": "fire", "config": {**names, "seed": number}, "models": models}
    summary["command"] = f"fedunlearn output.dir={folder}"
    (folder / str(number) / "summary.json").write_text(json.dumps(summary))
    return {"dir": str(number), "overrides": words}


@pytest.fixture
def two_sweeps(tmp_path):
    """One of two jobs beside an older folder, one of one job that failed."""
    planned = [Sweep("a", ("method=x,y", "k=1", "seed=0")), Sweep("b", ("k=1", "l=2,3", "seed=0"))]
    listed = [made(tmp_path / "a", n, [f"method={m}", "k=1", "seed=0", "data.root=/there"]) for n, m in enumerate("xy")]
    made(tmp_path / "a", 7, [])
    (tmp_path / "a" / "sweep.json").write_text(json.dumps({"jobs": listed}))
    failed = made(tmp_path / "b", 0, ["k=1", "l=2", "seed=0"], "failed")
    (tmp_path / "b" / "sweep.json").write_text(json.dumps({"jobs": [failed]}))
    return planned, tmp_path


def test_the_table_has_the_jobs_that_were_listed_and_what_they_vary(two_sweeps):
    frame = sweeps.table(*two_sweeps)
    assert list(frame["sweep"]) == ["a", "a", "b"]
    assert list(frame["asked"]) == ["method=x", "method=y", "l=2"]
    assert sweeps.problems(frame) == ["b: l=2 seed 0 failed: fire"]


def test_what_is_published_names_no_folder_of_the_machine(two_sweeps, tmp_path, capsys):
    frame = sweeps.table(*two_sweeps)
    sweeps.publish(tmp_path / "results", frame, "page\n")
    assert {path.name for path in (tmp_path / "results").iterdir()} == {"table.md", "runs.csv", "environment.json"}
    assert len(pd.read_csv(tmp_path / "results" / "runs.csv")) == 3
    assert all(str(tmp_path) not in path.read_text() for path in (tmp_path / "results").iterdir())


def test_nothing_is_published_while_a_run_is_missing(two_sweeps, monkeypatch, capsys):
    monkeypatch.setattr(sweeps, "publish", lambda *given: pytest.fail("published"))
    with pytest.raises(SystemExit) as stop:
        sweeps.finish("a", sweeps.table(*two_sweeps), "page", argparse.Namespace(quick=False))
    assert stop.value.code == 1
    assert "the same command goes on" in capsys.readouterr().err


def test_the_words_of_a_sweep_say_where_and_how_many_at_once():
    sweep = Sweep("a", ("seed=0",))
    assert Location(Path("/w"), Path("/s")).words(sweep) == ["seed=0", "output.dir=/w/a", "store.dir=/s"]
    words = Location(Path("/w"), Path("/s"), Path("/d"), jobs=2).words(sweep)
    assert words[1] == "data.root=/d" and words[-2:] == ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]


def test_a_dataset_that_is_not_there_is_refused_at_once(capsys):
    with pytest.raises(SystemExit) as stop:
        sweeps.check_data(["digits", "fashion_mnist"], Location(Path("/w"), Path("/s"), Path("/no/such/folder")))
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_spread_and_shares():
    assert sweeps.spread(pd.Series([0.5, 0.7, None])) == "0.600 ± 0.141"
    assert sweeps.spread(pd.Series([0.5]), 100) == "50.000"
    assert sweeps.spread(pd.Series([None], dtype=float)) == "–"
    costs = pd.DataFrame({"cost.unlearn.seconds": [1.0, 2.0], "cost.retrain.seconds": [10.0, 5.0]})
    assert sweeps.share_of_retraining(costs, "seconds") == "25 %"


def row(method: str, retain: float, **more: object) -> dict[str, object]:
    """A run on CIFAR-10 whose retrained models have a retain accuracy of 0.8."""
    known = {"sweep": "a", "asked": f"method={method}", "status": "done", "setting": "here", "dataset": "cifar10"}
    known |= {"method": method, "partition": "iid", "seed": 0, "clients": 10, "forget": "class 1", "verdict": "erased"}
    known |= {"original.retain_accuracy": 0.9, "retrained.retain_accuracy": 0.8, "unlearned.retain_accuracy": retain}
    known |= {"gap.retain_accuracy": retain - 0.8, "unlearned.forget_accuracy": 0.0, "unlearned.leak": 0.25}
    spent = {"train": 10.0, "retrain": 10.0, "unlearn": 4.0}
    known |= {f"cost.{stage}.{name}": x for stage, x in spent.items() for name in ("rounds", "seconds", "samples")}
    return {**known, **more}


def cells(page: str, start: str) -> list[str]:
    """The cells of the first line of a table whose first cell is `start`."""
    line = next(line for line in page.splitlines() if line.startswith(f"| {start} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_our_numbers_stand_beside_the_published_ones():
    rows = [row("fucrt", 0.82, seed=seed, partition=part) for seed in (0, 1) for part in ("iid", "dirichlet")]
    rows += [row("pruning", 0.79, partition="dirichlet"), row("finetune", 0.83), row("pruning", 0.81)]
    rows += [row("head_mask", 0.99), row("gradient_ascent", 0.95, **{"unlearned.forget_accuracy": 0.02})]
    page = fucrt_page.build(pd.DataFrame(rows), {"cifar10": "cnn"})
    ours = ["0.00 ± 0.00", "0.00 ± 0.00", "82.00 ± 0.00", "82.00 ± 0.00", "0.25 ± 0.00", "0.25 ± 0.00"]
    assert cells(page, "**fucrt**") == ["**fucrt**", *ours, "40 %", "FUCRT", "0.00", "90.06", "89.82"]
    assert cells(page, "retrained")[3:5] == ["80.00 ± 0.00", "80.00 ± 0.00"]
    assert cells(page, "retrained")[-3:] == ["0.00", "87.99", "85.44"]
    assert cells(page, "**head_mask**")[-4:] == ["", "", "", ""], "it is in no paper"
    assert cells(page, "**finetune**")[-4:] == ["Fine-tune", "", "", ""], "what is not known is not made up"
    best = cells(page, "retain accuracy over the best baseline with forget accuracy ≤ 1%, mean over datasets")
    assert best[1:] == ["+2.96", "+3.78", "−1.00", "+3.00"], "of those that forget and are no controls"
    over = cells(page, "retain accuracy over retraining, cifar10")
    assert over[1:] == ["+2.07", "+4.38", "+2.00 ± 0.00", "+2.00 ± 0.00"]
    assert cells(page, "time saved, ours against retraining")[-1] == "60 to 60 %"


@pytest.fixture
def judged() -> pd.DataFrame:
    """Two cells of three methods."""
    margins = {"margin.leak": -0.5, "margin.prototype_forget_accuracy": -1.5, "margin.relearn_batches": 3.0}
    rows = [row("head_mask", 0.9, seed=s, verdict="suppressed", **margins) for s in (0, 1)]
    rows += [row("retrain", 0.8, verdict="erased"), row("retrain", 0.8, seed=1, verdict="over-erased")]
    rows += [row("fucrt", 0.8, verdict="erased"), row("fucrt", 0.8, seed=1, verdict=None)]
    return pd.DataFrame(rows)


def test_verdicts_are_counted_and_methods_ranked(judged):
    table = erasure_page.counts(judged)
    assert list(table.index) == ["retrain", "fucrt", "head_mask"]
    assert list(table.loc["fucrt"]) == [1, 0, 0, 0, 1]
    page = erasure_page.build(judged)
    assert "Of 2 cells, one more retraining is called erased in 1." in page
    assert "Methods that are called so at least once: `fucrt` (1)." in page
    found = cells(page, "head_mask (control)")
    assert found[1:6] == ["", "", "2", "", ""]
    assert found[6:10] == ["−0.5 (−0.5 to −0.5)", "–", "−1.5 (−1.5 to −1.5)", "3.0 (3.0 to 3.0)"]
    assert found[11:] == ["+0.100 ± 0.000", "40 %", "40 %"]


def test_the_original_models_margins_are_the_last_line_each_cell_once(judged):
    judged["original_margin.leak"] = [0.5, -1.5, 0.5, -1.5, 0.5, -1.5]
    judged["original.forget_accuracy"] = 0.9
    found = cells(erasure_page.build(judged), "original model")
    assert found[6] == "−0.5 (−1.5 to 0.5)" and found[10:12] == ["0.900 ± 0.000", "+0.100 ± 0.000"]


def test_what_is_left_is_a_share_of_the_way_to_the_original(judged):
    models = {"original": (0.9, 0.0), "retrained": (0.1, 9.0), "unlearned": (0.3, 9.0)}
    for model, (accuracy, batches) in models.items():
        judged[f"{model}.gamma_recovered"] = accuracy
        judged[f"{model}.relearn_batches"] = batches
    judged.loc[judged["seed"] == 1, "unlearned.relearn_batches"] = 0.0
    page = erasure_page.build(judged)
    found = cells(page[page.index("## How much is left") :], "**fucrt**")
    assert found[1:] == ["0.25 ± 0.00", "–", "0.50 ± 0.71"]
    judged.loc[judged["seed"] == 1, "unlearned.relearn_batches"] = 10**0.5 - 1  # half-way, by logarithms of 1 + batches
    page = erasure_page.build(judged)
    assert cells(page[page.index("## How much is left") :], "**fucrt**")[3] == "0.25 ± 0.35"


def test_the_attack_with_shadows_stands_by_itself(judged):
    attack = {"original": 0.55, "retrained_low": 0.48, "retrained_high": 0.51, "unlearned": 0.54}
    values = {f"{model}.{name}": x for model, x in attack.items() for name in erasure_page.FOUND}
    more = pd.DataFrame([row("fucrt", 0.8, sweep="u_lira", verdict=None, **values)])
    page = erasure_page.build(pd.concat([judged, more]))
    assert list(erasure_page.counts(erasure_page.cells(pd.concat([judged, more]))).loc["fucrt"]) == [1, 0, 0, 0, 1]
    section = page[page.index("## U-LiRA") :]
    assert cells(section, "original model")[1:] == ["0.550", "0.550"]
    assert cells(section, "retrained models")[1:] == ["0.480 to 0.510"] * 2
    assert cells(section, "**fucrt**")[1:] == ["0.540", "0.540"]


def test_the_figure_has_a_bar_as_long_as_there_are_cells(judged):
    drawn = figure.erasure_and_cost(judged)
    verdicts, utility, cost = drawn.axes
    lengths = [sum(bars[place].get_width() for bars in verdicts.containers) for place in range(3)]
    assert lengths == [2, 2, 2]
    assert [label.get_text() for label in verdicts.get_yticklabels()] == ["retrain", "fucrt", "head_mask"]
    assert sorted(utility.lines[4].get_xdata()) == pytest.approx([10, 10]), "head_mask, in points"
    assert cost.get_xscale() == "log"


def test_a_line_for_every_variant_and_a_floor_for_every_situation():
    rows = [row("fucrt", 0.82, sweep="weights", asked="method.local_weight=0", seed=s) for s in (0, 1)]
    rows += [row("fucrt", 0.84, sweep="alpha", asked="method=fucrt partition.alpha=10", **{"gate.g": False})]
    for number in (0, 9):
        asked = f"method=fucrt_plus request.classes=[{number}]"
        rows.append(row("fucrt_plus", 0.8 + number / 100, sweep="plus", asked=asked, setting=f"class {number}"))
    frame = pd.DataFrame(rows)
    frame["noise.retain_accuracy"] = 0.015
    page = ablation_page.build(frame, ["weights"], ["plus"], ["alpha"])
    assert cells(page, "weights: local_weight=0")[1:] == ["+0.020 ± 0.000"]
    assert cells(page, "noise floor")[1] == "0.015 ± 0.000"
    for number in (0, 9):
        section = page[page.index(f"## fucrt_plus: class {number}") :]
        assert cells(section, "plus: method=fucrt_plus")[1:] == ["+0.090" if number else "0.000"]
        assert cells(section, "noise floor")[1] == "0.015"
    assert cells(page, "alpha: method=fucrt partition.alpha=10 †")[1] == "+0.040 (0.015)"
    assert "† alpha: method=fucrt partition.alpha=10: a sanity gate failed, gate 'g' was not passed (seed 0)." in page
