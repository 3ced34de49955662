"""The GPU's day without a GPU: what is planned, how it is worked off and goes on, and what is written meanwhile."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from experiments.benchmarks import run as benchmarks
from experiments.gpu import engines, plan, slices
from experiments.gpu.slices import Entry, Ledger, Slice
from fedunlearn.cli import command_line
from fedunlearn.cli.main import conf_dir

FOREVER = float("inf")


def python(name: str, code: str, *given: object) -> Slice:
    return Slice(name, (sys.executable, "-S", "-c", code, *map(str, given)))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "out" / "slices.json", "a card")


def test_what_is_done_is_not_done_again_and_what_failed_only_if_asked(tmp_path: Path, ledger: Ledger) -> None:
    told = tmp_path / "told"
    note = "import sys; open(sys.argv[1], 'a').write(sys.argv[2]); sys.exit(f'{sys.argv[3]}' or 0)"
    planned = [
        python("one", note, told, "1", ""),
        python("two", note, told, "2", "no luck"),
        python("3", note, told, "3", ""),
    ]
    assert slices.run(planned, ledger, 100, FOREVER) == "failed"
    assert told.read_text() == "123", "a failure stops no other"
    kept = json.loads((tmp_path / "out" / "slices.json").read_text())
    assert kept["card"] == "a card" and [each["status"] for each in kept["slices"].values()] == [
        "done",
        "failed",
        "done",
    ]
    assert "no luck" in kept["slices"]["two"]["said"]
    again = Ledger(tmp_path / "out" / "slices.json", "a card")
    assert slices.run(planned, again, 100, FOREVER) == "failed" and told.read_text() == "123"
    assert slices.run(planned, again, 100, FOREVER, again=True) == "failed" and told.read_text() == "1232"
    assert again.of("one").tries == 1 and "done     one" in again.summary()


LONG = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
path = pathlib.Path(sys.argv[1])
for number in range(len(path.read_text()) if path.exists() else 0, 4):
    path.open('a').write(str(number))
    time.sleep(0.3)
"""


def test_what_takes_longer_than_a_slice_goes_on_where_it_was(tmp_path: Path, ledger: Ledger) -> None:
    looked: list[str] = []
    each = python("long", LONG, tmp_path / "steps")
    watched = Slice(each.name, each.words, lambda: looked.append(ledger.of("long").status))
    assert slices.run([watched], ledger, 0.7, FOREVER) == "done"
    assert (tmp_path / "steps").read_text() == "0123", "no step twice"
    assert looked[-1] == "done" and set(looked[:-1]) == {"cut off"} and ledger.of("long").tries == len(looked) > 1


def test_no_slice_begins_when_time_is_up_and_none_goes_on_for_ever(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = python("slow", "import time; time.sleep(60)")
    assert slices.run([slow], ledger, 100, time.monotonic() + 0.3) == "cut off"
    assert ledger.of("slow").tries == 1
    assert slices.run([slow, python("next", "")], ledger, 100, 0.0) == "cut off" and ledger.of("next") == Entry()
    monkeypatch.setattr(slices, "MOST", 3)
    assert slices.run([slow], ledger, 0.1, FOREVER) == "failed"
    assert ledger.of("slow").tries == 3 and "not finished after 3 times" in ledger.of("slow").said


def test_the_plan_goes_from_the_most_to_the_least_valuable(tmp_path: Path) -> None:
    place = plan.Place(tmp_path / "out", tmp_path / "work", Path("/data"))
    names = [each.name for each in plan.planned(place)]
    assert names[:4] == ["engines", *plan.BENCHMARKS] and len(names) == 4 + 2 * 7 * 3
    assert names[4] == "method=fucrt seed=0 partition=iid" and names[11] == "method=fucrt seed=0 partition=dirichlet"
    assert [name for name in names[4:] if "seed=0" in name] == names[4:18], "a whole seed before the next"
    without = plan.Place(tmp_path, tmp_path, None)
    assert len(list(plan.planned(without))) == 4, "there is nothing to train on"


def test_what_is_planned_can_be_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    *_, cell = plan.planned(plan.Place(tmp_path / "out", tmp_path / "work", Path("/data")))
    config = command_line.read(list(cell.words[3:]), conf_dir())
    assert (config.dataset.name, config.model.name, config.method.name) == ("cifar10", "resnet18", "fucrt_plus")
    for quick in (True, False):
        for each in list(plan.planned(plan.Place(tmp_path, tmp_path, None, quick)))[1:4]:
            monkeypatch.setattr(sys, "argv", list(each.words[1:]))
            monkeypatch.setattr(benchmarks, "possible", lambda workload: True)
            assert {name for name, _, _ in benchmarks.planned(benchmarks.arguments())} == {
                each.words[each.words.index("--only") + 1]
            }


def test_an_engine_is_held_against_the_cpu_and_rows_that_are_there_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "SIZE", (*engines.SIZE, "data.limit=60", "partition.clients=2"))
    table, work = tmp_path / "engines.csv", tmp_path / "work"
    frame = engines.compared(table, work, "cpu", ("local", "stacked"), ["finetune"])
    assert frame["engine"].tolist() == ["local", "stacked"] and frame["within"].all() and (frame["failures"] == 0).all()
    assert frame["deviation"].iloc[0] == 0 < frame["deviation"].iloc[1] < engines.TOLERANCE
    read = pd.read_csv(table)
    monkeypatch.setattr(engines, "comparison", lambda *given: {"deviation": 1.0, "within": False, "failures": 0})
    more = engines.compared(table, work, "cpu", ("local", "stacked"), ["finetune", "relabel"])
    assert more["method"].tolist() == ["finetune", "finetune", "relabel", "relabel"]
    assert pd.read_csv(table).iloc[:2][list(read)].equals(read)


def test_deviations_are_in_units_of_the_largest_weight() -> None:
    one, other = (
        {"a": torch.tensor([4.0, 1.0]), "b": torch.tensor([0.1])},
        {"a": torch.tensor([4.0, 3.0]), "b": torch.tensor([0.3])},
    )
    assert engines.deviation(one, other) == pytest.approx(0.5)
    assert engines.deviation({"b": one["b"]}, other) == pytest.approx(0.2)


def test_the_methods_are_those_that_forget_classes() -> None:
    assert {"fucrt", "retrain", "federaser", "head_mask"} <= {
        *engines.every_method()
    } and "checkpoint" not in engines.every_method()
