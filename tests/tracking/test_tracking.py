"""Trackers: told everything once, imported only when chosen, and never able to end a run."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace

import pytest

from fedunlearn.cli import command_line, main
from fedunlearn.errors import RequestError
from fedunlearn.federation.method import NoSettings
from fedunlearn.report import figures
from fedunlearn.results.summary import Summary, as_plain
from fedunlearn.runs import folders, job
from fedunlearn.settings import registry
from fedunlearn.settings.config import Choice
from fedunlearn.tracking import base
from fedunlearn.tracking.base import SafeTracker, Tracked, TrackerKind
from tests import forked

TINY = ["data.limit=150", "partition.clients=3", "gates=warn", "train.rounds=2", "unlearn.rounds=1", "retrain.seeds=1"]
TINY += ["audit=quick", "audit.ausuc=null"]
SUMMARY = Summary(
    "done",
    command="fedunlearn",
    models={"original": {"leak": 1.0}, "retrained": {"leak": None}, "unlearned": {"leak": 0.5}},
    gap={"leak": None},
    cost={"unlearn": {"rounds": 3}},
)


@dataclass
class Diary:
    """Remembers what it was told; `failing` names what it cannot bear."""

    failing: str = ""

    def __post_init__(self):
        self.told = []

    def on_client_model(self, what, *details):
        if what == self.failing:
            raise OSError("the network is down")
        self.told.append((what, *details))

    def measured(self, stage, number, values):
        self.on_client_model("measured", stage, number, dict(values))

    def finished(self, summary):
        self.on_client_model("finished", summary.status)

    def close(self, status):
        self.on_client_model("close", status)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a tiny configuration with a diary as its tracker: (exit status, diary, log)."""
    monkeypatch.setattr(figures, "draw", lambda run: [])
    true_find = registry.find

    def one(name, failing=""):
        diary = Diary(failing)
        kind = TrackerKind("diary", NoSettings, "", "", lambda settings, run: diary)
        monkeypatch.setattr(registry, "find", lambda what, name: kind if what == "tracker" else true_find(what, name))
        words = [*TINY, "method=head_mask", f"store.dir={tmp_path / 'store'}"]
        folder = tmp_path / name
        status = job.execute(command_line.read(words, main.conf_dir()).in_folder(folder), folder, words)
        return status, diary, (folder / "log.txt").read_text()

    return one


def test_every_round_is_told_once_whether_computed_or_cached(run):
    status, first, _ = run("first")
    assert status == 0
    rounds = Counter((stage, number) for what, stage, number, *_ in (t for t in first.told if t[0] == "measured"))
    assert rounds == {
        **{("train", number): 1 for number in range(3)},
        **{("retrain_0", number): 1 for number in range(4)},
        ("unlearn", 0): 1,
    }
    assert set(first.told[1][3]) == {"forget_accuracy", "retain_accuracy", "train_loss"}
    assert first.told[-2:] == [("finished", "done"), ("close", "done")]
    _, second, _ = run("second")
    assert second.told == first.told, "from the store, the same"


@pytest.mark.parametrize("failing", ["measured", "finished", "close"])
def test_a_tracker_that_fails_is_dropped_with_one_warning(run, failing):
    status, diary, log = run(failing, failing)
    assert status == 0
    assert log.count("failed and is not used any more (OSError: the network is down); the run goes on") == 1
    assert not any(what == failing for what, *_ in diary.told)


def test_a_tracker_that_cannot_start_is_dropped_too():
    said = []

    def start():
        raise RuntimeError("no\nlogin")

    tracker = SafeTracker(start, "wandb", said.append)
    tracker.measured("train", 1, {})
    tracker.close("done")
    assert said == ["wandb failed and is not used any more (RuntimeError: no login); the run goes on"]


@pytest.mark.parametrize(
    ("error", "status"), [(None, "done"), (ValueError, "failed"), (KeyboardInterrupt, "interrupted")]
)
def test_a_tracker_hears_how_it_ended(monkeypatch, error, status):
    diary = Diary()
    kind = TrackerKind("diary", object, "", "", lambda settings, run: diary)
    monkeypatch.setattr(registry, "find", lambda what, name: kind)
    try:
        with base.opened(Choice("diary", None), None, print):
            if error:
                raise error
    except (ValueError, KeyboardInterrupt):
        pass
    assert diary.told == [("close", status)]


def test_a_missing_package_is_one_sentence_before_anything_runs(monkeypatch):
    monkeypatch.setattr(base.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RequestError) as error:
        base.check(registry.find("tracker", "mlflow"))
    assert str(error.value) == (
        "tracking=mlflow needs the package mlflow, which is not installed: pip install 'fedunlearn[mlflow]'"
    )
    base.check(registry.find("tracker", "none"))


def look_at_what_is_imported():
    """In a child that has imported all that a run needs: exit status 0 if no tracker is among it."""
    assert set(registry.names("tracker")) >= {"none", "tensorboard", "mlflow", "wandb"}
    sys.exit(bool({"tensorboard", "mlflow", "wandb", "torch.utils.tensorboard"} & set(sys.modules)))


def test_none_is_imported_unless_chosen():
    child = forked.started(look_at_what_is_imported)
    child.join()
    assert child.exitcode == 0


def test_tensorboard_gets_curves_audits_and_nothing_twice(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    kind = registry.find("tracker", "tensorboard")
    for _ in range(2):  # the second attempt of an interrupted run
        tracker = kind.start(kind.settings(), Tracked(tmp_path, tmp_path, "run", {"train": {"lr": 0.1}, "seed": 0}))
        tracker.measured("train", 0, {"retain_accuracy": 0.25})
        tracker.measured("train", 1, {"retain_accuracy": 0.5})
        tracker.finished(SUMMARY)
        tracker.close("done")
    read = EventAccumulator(str(tmp_path / "tensorboard"))
    read.Reload()
    assert [(point.step, point.value) for point in read.Scalars("train/retain_accuracy")] == [(0, 0.25), (1, 0.5)]
    assert [point.value for point in read.Scalars("audit_unlearned/leak")] == [0.5]
    assert "audit_retrained/leak" not in read.Tags()["scalars"], "not defined, hence not told"
    assert b"train.lr | 0.1" in read.Tensors("config/text_summary")[0].tensor_proto.string_val[0]


def test_a_finished_runs_event_files_stay_until_the_next_run_takes_its_place(tmp_path):
    pytest.importorskip("tensorboard")
    kind = registry.find("tracker", "tensorboard")
    (tmp_path / "tensorboard").mkdir()
    old = tmp_path / "tensorboard" / "events.out.tfevents.1.old"
    old.write_bytes(b"old")
    (tmp_path / "summary.json").write_text('{"status": "done"}')
    work = folders.workplace(tmp_path)
    tracker = kind.start(kind.settings(), Tracked(tmp_path, work, "run", {"seed": 0}))
    tracker.close("done")
    assert list((tmp_path / "tensorboard").iterdir()) == [old]
    (new,) = (work / "tensorboard").iterdir()
    (work / "summary.json").write_text('{"status": "done"}')
    folders.publish(tmp_path)
    assert [path.name for path in (tmp_path / "tensorboard").iterdir()] == [new.name]


class FakeMlflow:
    """What we use of MlflowClient."""

    def __init__(self, tracking_uri):
        self.said = [("uri", tracking_uri)]
        FakeMlflow.last = self

    def get_experiment_by_name(self, name):
        return None

    def create_experiment(self, name):
        return "7"

    def create_run(self, number, run_name, tags):
        self.said.append(("run", number, run_name))
        return SimpleNamespace(info=SimpleNamespace(run_id="id"))

    def log_param(self, run, key, value):
        self.said.append((key, value))

    def log_metric(self, run, key, value, step=None):
        self.said.append((key, value, step))

    def log_dict(self, run, content, name):
        self.said.append((name, json.dumps(content)))

    def set_terminated(self, run, status):
        self.said.append(("end", status))


def test_mlflow_gets_parameters_metrics_and_the_summary(tmp_path, monkeypatch):
    tracking = ModuleType("mlflow.tracking")
    tracking.MlflowClient = FakeMlflow
    monkeypatch.setitem(sys.modules, "mlflow", ModuleType("mlflow"))
    monkeypatch.setitem(sys.modules, "mlflow.tracking", tracking)
    kind = registry.find("tracker", "mlflow")
    tracker = kind.start(kind.settings(uri="file:///x"), Tracked(tmp_path, tmp_path, "run", {"train": {"lr": 0.1}}))
    tracker.measured("train", 2, {"train_loss": 0.5})
    tracker.finished(SUMMARY)
    tracker.close("interrupted")
    assert FakeMlflow.last.said == [
        ("uri", "file:///x"),
        ("run", "7", "run"),
        ("train.lr", 0.1),
        ("train/train_loss", 0.5, 2),
        ("audit/original/leak", 1.0, None),
        ("audit/unlearned/leak", 0.5, None),
        ("audit/cost/rounds", 3, None),
        ("summary.json", json.dumps(as_plain(SUMMARY))),
        ("end", "KILLED"),
    ]
