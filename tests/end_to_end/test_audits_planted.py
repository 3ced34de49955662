"""All audits on runs whose truth is known: a mask that erases nothing, one more retraining, a planted backdoor."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from fedunlearn.cli import command_line
from fedunlearn.cli.main import conf_dir
from fedunlearn.federation.federation import open_federation
from fedunlearn.results.summary import to_json
from fedunlearn.runs import pipeline, steps
from fedunlearn.runs.console import Console
from fedunlearn.runs.summarise import summarise

SMALL = [
    "data.limit=700",
    "partition.clients=4",
    "gates=warn",
    "train.rounds=6",
    "train.local_epochs=2",
    "unlearn.rounds=1",
]
RELEARNING = ["audit.relearning.cap=25", "audit.relearning.seeds=2"]
BRIEFLY = [*RELEARNING, "audit.cmia.splits=1", "audit.feature_map.iterations=250"]
# Half of the classes: of one class there are so few test samples that retrained models differ widely among themselves.
CLASS_LEVEL = [*SMALL, *BRIEFLY, "partition.alpha=1.0", "request.classes=[5, 6, 7, 8, 9]", "retrain.seeds=5"]
CLIENT_LEVEL = [*SMALL, "partition=iid", "request.classes=[]", "request.clients=[0]", "retrain.seeds=2"]
BACKDOOR = "request.backdoor={target: 0, size: 3, share: 0.8}"
NOT_HERE = ("backdoor", "u_lira")  # they need something planted, and models made for them
DEFAULT = tuple(str(name) for name in OmegaConf.load(conf_dir() / "audit" / "default.yaml"))
Summary = dict[str, Any]
Run = Callable[..., Summary]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The summary of a run by its words; all of them share a store."""
    place = tmp_path_factory.mktemp("planted")

    def summary_of(*words: str) -> Summary:
        config = command_line.read([*words, f"store.dir={place / 'store'}", f"output.dir={place / 'run'}"], conf_dir())
        made: Summary = json.loads(to_json(summarise(pipeline.run(config, Console(io.StringIO())), "")))
        return made

    return summary_of


@pytest.fixture(scope="module")
def masked(run: Run) -> Summary:
    return run(*CLASS_LEVEL, "method=head_mask")


@pytest.fixture(scope="module")
def once_more(run: Run) -> Summary:
    return run(*CLASS_LEVEL, "method=retrain")


def test_a_mask_erases_nothing_and_the_audits_say_so(masked: Summary) -> None:
    """Its logits but one, and its features, are those of the original model."""
    original, unlearned = masked["models"]["original"], masked["models"]["unlearned"]
    assert all(masked["gates"].values())
    assert unlearned["forget_accuracy"] == 0
    assert unlearned["leak"] == pytest.approx(1, abs=0.01)
    assert unlearned["ausuc"] == pytest.approx(original["ausuc"], abs=1e-4)
    for name in ("probe_forget_accuracy", "probe_accuracy", "cmia_auc", "membership_auc", "cka_forget"):
        assert unlearned[name] == pytest.approx(original[name], abs=1e-6), name
    assert unlearned["ou_gaussian"] == pytest.approx(0, abs=1e-6)
    assert masked["verdict"]["word"] == "suppressed"
    assert masked["verdict"]["margins"]["leak"] > 2, "out of the reach of any retrained model"
    assert masked["verdict"]["margins"]["relearn_batches"] > 2


def test_one_more_retraining_looks_like_a_retrained_model(once_more: Summary) -> None:
    """It is one: on each finding it is above the band of five others in 1.5 % of cases, and below it in as many.

    So this asks that the margins be small, not that the word be `erased` (see docs/audits.md for the figures).
    """
    verdict = once_more["verdict"]
    assert all(once_more["gates"].values())
    assert verdict["retrained"] == 5
    assert verdict["word"] != "not erased"
    assert max(verdict["margins"].values()) < 1, verdict["reasons"]
    assert min(verdict["margins"].values()) > -3, verdict["reasons"]


def test_mask_and_retraining_are_told_apart_on_what_is_left(masked: Summary, once_more: Summary) -> None:
    gaps = {name: (abs(masked["gap"][name]), abs(once_more["gap"][name])) for name in ("leak", "relearn_batches")}
    assert all(mask > 2 * noise for mask, noise in gaps.values()), gaps


def test_every_default_audit_yields_finite_numbers_of_a_class(masked: Summary, once_more: Summary) -> None:
    for summary in (masked, once_more):
        missing = {name for model in summary["models"].values() for name, value in model.items() if value is None}
        assert missing == set()
    assert set(masked["config"]["audit"]) == set(DEFAULT)


@pytest.mark.parametrize("name", DEFAULT)
def test_every_audit_can_be_switched_off(name: str) -> None:
    left = [audit.name for audit in command_line.read([f"audit.{name}=null"], conf_dir()).audit]
    assert sorted([*left, name]) == sorted(DEFAULT)


@pytest.mark.parametrize(
    "name", ["accuracy", "ausuc", "linear_probe", "prototype_relearning", "relearning", "class_flow"]
)
def test_what_is_switched_off_is_not_there_and_the_rest_is_as_it_was(run: Run, masked: Summary, name: str) -> None:
    without = run(*CLASS_LEVEL, "method=head_mask", f"audit.{name}=null")
    found, everything = without["models"]["unlearned"], masked["models"]["unlearned"]
    assert set(found) < set(everything)
    assert all(everything[key] == value for key, value in found.items())
    asked = name not in ("linear_probe", "class_flow")
    assert (without["verdict"]["word"] is None) is asked, "no verdict without all it is made of"


@pytest.fixture(scope="module")
def backdoored(run: Run) -> Summary:
    return run(*CLIENT_LEVEL, BACKDOOR, "method=finetune", "unlearn.rounds=0")


def test_a_backdoor_is_there_gone_after_retraining_and_still_there_if_nothing_is_done(backdoored: Summary) -> None:
    original, retrained, unlearned = (backdoored["models"][name] for name in ("original", "retrained", "unlearned"))
    assert original["backdoor_success"] > 0.8
    assert unlearned["backdoor_success"] == original["backdoor_success"], "no round, no change"
    for seed in backdoored["retrained_seeds"]:
        assert seed["backdoor_success"] - seed["backdoor_chance"] < 0.1
    assert backdoored["gap"]["backdoor_success"] > 0.6
    assert retrained["retain_accuracy"] > 0.8


def test_findings_about_classes_are_null_where_clients_are_forgotten(backdoored: Summary) -> None:
    unlearned = backdoored["models"]["unlearned"]
    assert unlearned["forget_accuracy"] is None and unlearned["leak"] is None
    assert unlearned["forget_accuracy_train"] is not None and unlearned["membership_auc"] is not None
    assert backdoored["verdict"]["word"] is None


def test_every_finding_is_explained(masked: Summary, backdoored: Summary) -> None:
    text = (Path(__file__).parents[2] / "docs" / "audits.md").read_text(encoding="utf-8")
    found = {name for run in (masked, backdoored) for part in ("models", "details") for name in run[part]["unlearned"]}
    written = {re.sub(r"_\d+_", "_K_", name) for name in found}
    assert len(written) > 30
    assert {name for name in written if f"`{name}`" not in text} == set()


def test_the_default_set_trains_no_model_of_its_own(run: Run, tmp_path: Any) -> None:
    words = [*CLASS_LEVEL, f"store.dir={tmp_path}", f"output.dir={tmp_path}"]
    config = command_line.read(words, conf_dir())
    kinds = [stage.kind for stage in steps.of_run(config, open_federation(config))]
    assert {kind: kinds.count(kind) for kind in set(kinds) - {"audit"}} == {"train": 1, "retrain": 5, "unlearn": 1}
