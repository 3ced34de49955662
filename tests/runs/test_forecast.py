"""What a command would do, foretold from the steps and from what stored steps took."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

from fedunlearn.cli import command_line
from fedunlearn.cli.main import conf_dir
from fedunlearn.federation.federation import open_federation
from fedunlearn.runs import pipeline, steps
from fedunlearn.runs.console import Console
from fedunlearn.runs.forecast import Clock, Lookup, duration
from fedunlearn.settings.config import RunConfig
from fedunlearn.store import Store
from fedunlearn.store.catalogue import entries

TINY = ["data.limit=150", "partition.clients=3", "gates=warn", "train.rounds=2", "unlearn.rounds=1", "retrain.seeds=2"]
TINY += ["audit=quick", "audit.ausuc=null"]


def config_of(root: Path, *words: str) -> RunConfig:
    return command_line.read([*TINY, f"store.dir={root / 'store'}", f"output.dir={root}", *words], conf_dir())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its store holds a run of finetune."""
    folder = tmp_path_factory.mktemp("forecast")
    pipeline.run(config_of(folder, "method=finetune"), Console(io.StringIO()))
    return folder


def test_what_is_stored_is_not_computed_again(root: Path) -> None:
    lookup = Lookup(Store(root / "store"))
    row = lookup.row(config_of(root, "method=finetune"))
    assert [row.share(kind) for kind in ("train", "retrain", "unlearn")] == ["1/1", "2/2", "1/1"]
    assert row.own == []
    other = lookup.row(config_of(root, "method=head_mask"))
    assert [other.share(kind) for kind in ("train", "retrain", "unlearn")] == ["1/1", "2/2", "0/1"]
    assert {step.role for step in other.own} == {"unlearned", "audit"}


def test_what_jobs_share_counts_for_the_first(root: Path) -> None:
    lookup = Lookup(None)
    first, second = (lookup.row(config_of(root, f"method={name}")) for name in ("finetune", "head_mask"))
    assert {step.role for step in first.own} == {"original", "retrained", "unlearned", "audit"}
    assert {step.role for step in second.own} == {"unlearned", "audit"}
    assert lookup.row(config_of(root, "method=head_mask")).own == []


def test_the_time_of_a_step_grows_with_its_rounds(root: Path) -> None:
    past = [entry.manifest for entry in entries(root / "store") if entry.manifest]
    clock = Clock([replace(manifest, seconds=4.0) for manifest in past if manifest.stage == "train"])
    config = config_of(root, "method=finetune", "train.rounds=6")
    original, *others = steps.of_run(config, open_federation(config)).models
    assert clock.seconds(original) == 4.0 / 2 * 6
    assert clock.seconds(others[0]) is None
    assert clock.text([original]) == "12 s" and clock.text([original, others[0]]) == "≥ 12 s"
    assert clock.text(others) == "?" and clock.text([]) == ""


def test_the_same_method_is_the_better_guide(root: Path) -> None:
    past = [entry.manifest for entry in entries(root / "store") if entry.manifest and entry.manifest.stage == "unlearn"]
    slow = [replace(manifest, seconds=9.0) for manifest in past]
    quick = [
        replace(manifest, seconds=1.0, determinants={**manifest.determinants, "spec": {"method": "head_mask"}})
        for manifest in past
    ]
    clock = Clock([*slow, *quick])
    for method, seconds in (("finetune", 9.0), ("head_mask", 1.0), ("relabel", 5.0)):
        config = config_of(root, f"method={method}")
        (unlearned,) = steps.of_run(config, open_federation(config)).of("unlearned")
        assert clock.seconds(unlearned) == seconds, method


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (89, "89 s"), (90, "2 min"), (5399, "90 min"), (5400, "1.5 h"), (36000, "10.0 h")],
)
def test_durations_are_said_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text
