"""Tuning: grids of one size that begin with the defaults, cells that nobody reports, and the rule of the choice."""

# ruff: noqa: RUF001 (minus signs are meant)

from __future__ import annotations

from itertools import product

import pandas as pd
import pytest

from experiments import sweeps
from experiments.sweeps import Location
from experiments.true_erasure import __main__ as true_erasure
from experiments.tune import __main__ as tune
from experiments.tune import page
from fedunlearn.cli import command_line
from fedunlearn.cli.main import conf_dir
from fedunlearn.errors import RequestError
from fedunlearn.runs.pipeline import check_method
from fedunlearn.settings import registry

CONTROLS = {"retrain", "head_mask", "fedavg"}
TUNED = [name for name in sweeps.METHODS if name not in CONTROLS]


def read(*words: str):
    return command_line.read(list(words), conf_dir())


@pytest.mark.parametrize("name", TUNED)
def test_every_method_has_as_many_trials_and_the_defaults_come_first(name):
    trials = tune.trials_of(name)
    assert len(set(trials)) == len(trials) == tune.TRIALS
    default, first, last = (read(f"method={name}", *trial) for trial in ((), trials[0], trials[-1]))
    assert (first.method, first.unlearn) == (default.method, default.unlearn) != (last.method, last.unlearn)
    check_method(last)


def test_the_command_of_a_sweep_has_the_same_trials():
    for name in TUNED:
        words = [word.partition("=") for word in tune.choices(name)]
        each = [[f"{key}={value}" for value in values.split(",")] for key, _, values in words]
        assert list(product(*each)) == tune.trials_of(name)


def test_what_has_nothing_to_choose_is_refused():
    with pytest.raises(RequestError, match=r"method head_mask declares no grid to tune it by: choose fedau, .* or"):
        tune.trials_of("head_mask")
    assert {name for name in registry.names("method") if registry.find("method", name).grid} >= set(TUNED)


def test_cells_are_of_no_class_and_seed_that_is_reported():
    reported = [words for sweep in true_erasure.SWEEPS for words in sweeps.jobs(sweep)]
    for key in ("seed", "request.classes"):
        used = {word for words in reported for word in words if word.startswith(f"{key}=")}
        tuned = {word for words in tune.FULL.cells for word in words if word.startswith(f"{key}=")}
        assert tuned and not tuned & used
    for cell in tune.FULL.cells:
        check_method(read(*cell))
    assert tune.FULL.datasets == ["digits", "fashion_mnist"]


def test_a_quick_look_makes_two_trials_and_goes_on_where_it_was_stopped(tmp_path, capsys):
    place = Location(tmp_path / "work", tmp_path / "store")
    frame = tune.run("lra_npp", tune.QUICK, place)
    assert list(frame["asked"]) == [" ".join(trial) for trial in tune.trials_of("lra_npp")[:2]]
    assert (frame["status"] == "done").all() and list(frame["cached.train"]) == [False, True]
    assert "lra_npp 2 of 2: request.classes=[4] seed=3" in capsys.readouterr().out
    written = (tmp_path / "work" / "lra_npp" / "1" / "summary.json").stat().st_mtime_ns
    assert tune.run("lra_npp", tune.QUICK, place).equals(frame)
    assert (tmp_path / "work" / "lra_npp" / "1" / "summary.json").stat().st_mtime_ns == written
    said = page.build("lra_npp", frame)
    assert said.count("| `method.perturbed=0.2 method.edit=") == 2
    assert "2 trials in each of 1 cells, cost as much as 0 retrainings" in said, "its clients train on nothing"


def trial(asked: str, *cells: tuple[str, float, float]) -> list[dict]:
    """A row for each cell: the verdict, the margin of the one finding that counts, and the gap in retain accuracy."""
    same = {"sweep": "m", "asked": asked, "status": "done", "setting": "here", "dataset": "d", "forget": "class 4"}
    costs = {"cost.retrain.samples": 10.0, "cost.unlearn.samples": 2.0}
    blind = {"margin.probe": 50.0, "original_margin.probe": -0.5}  # the original is inside this band
    return [
        {
            **{**same, **costs, **blind, "seed": seed, "verdict": word, "margin.leak": margin},
            **{"original_margin.leak": 3.0, "gap.retain_accuracy": gap, "unlearned.forget_accuracy": 0.0},
        }
        for seed, (word, margin, gap) in enumerate(cells)
    ]


def test_the_distance_is_to_the_band_on_either_side_of_findings_that_count():
    frame = pd.DataFrame(trial("a", ("suppressed", 1.5, 0), ("erased", -0.1, 0), ("over-erased", -2.25, 0)))
    assert list(page.distance(frame)) == [1.5, 0.0, 0.25]
    frame.loc[1, "original_margin.leak"] = -1.0
    assert list(page.distance(frame)) == [1.5, 0.0, 0.25], "nothing counts: no distance"
    two = frame.assign(**{"margin.other": [0.5, -2.5, -1.0], "original_margin.other": 9.0})
    assert list(page.distance(two)) == [1.5, 0.5, 0.25], "the farthest of those that count"


ERASED, BETTER, FAR = ("erased", -1.0, -0.05), ("erased", -1.0, -0.01), ("suppressed", 4.0, 0.0)
NEAR, KEPT, HALFWAY = ("suppressed", 0.5, -0.05), ("not erased", 0.4, 0.0), ("suppressed", 3.0, 0.0)


@pytest.mark.parametrize(
    ("worse", "better"),
    [
        ((ERASED, FAR), (ERASED, ERASED)),  # most cells first, at whatever price
        ((KEPT, NEAR), (FAR, FAR)),  # then where the accuracy is gone
        ((ERASED, FAR), (ERASED, NEAR)),  # then the distance
        ((HALFWAY, HALFWAY), (FAR, NEAR)),  # of all cells, not of the worst
        ((ERASED, ERASED), (ERASED, BETTER)),  # then what stays
    ],
)
def test_chosen_is_by_the_verdict_and_then_by_what_stays(worse, better):
    for order in ([("w", worse), ("b", better)], [("b", better), ("w", worse)]):
        assert page.chosen(pd.DataFrame([row for name, cells in order for row in trial(name, *cells)])) == "b"
    same = pd.DataFrame([*trial("tried first", *better), *trial("another", *better)])
    assert page.chosen(same) == "tried first"


def test_a_trial_that_failed_somewhere_is_named_and_not_chosen():
    frame = pd.DataFrame([*trial("k=1", FAR, FAR), *trial("k=2", ERASED, ERASED)])
    frame.loc[3, ["status", "reason"]] = ["failed", "it diverged"]
    said = page.build("m", frame)
    assert "**Chosen:** the defaults." in said and "- `k=2` on d, class 4, seed 1: it diverged" in said
    frame["status"] = ["failed", "failed", "done", "done"]
    assert "**Chosen:** `k=2` (the defaults were `k=1`)." in page.build("m", frame)


def test_the_page_says_what_was_tried_chosen_and_spent():
    said = page.build("m", pd.DataFrame([*trial("k=1", FAR, ERASED), *trial("k=2", ERASED, BETTER)]))
    assert "**Chosen:** `k=2` (the defaults were `k=1`)." in said
    assert "| `k=1` | 1 |  | 1 |  |  | 2.00 ± 2.83 | 0.000 ± 0.000 | −0.025 ± 0.035 | 20 % |" in said
    assert "2 trials in each of 2 cells, cost as much as 0.80 retrainings;" in said
    assert said.endswith(
        "Cells: here (seed 0), here (seed 1). Versions and machine are in environment.json, every run in runs.csv."
    )
    elsewhere = pd.DataFrame([*trial("z", FAR), *trial("a", ("", 4.0, 0.0))])
    said = page.build("m", pd.concat([elsewhere, elsewhere.assign(dataset="e")]))
    assert "2 trials in each of 2 cells" in said
    assert said.index("| `z` |  |  | 2 |  |  |") < said.index("| `a` |  |  |  |  | 2 |"), "in the order of the grid"
    assert "No run is done." in page.build("m", pd.DataFrame(trial("k=1", FAR)).assign(status="failed"))
