"""From findings to a summary: means, spreads and gaps, and what is no finite number."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fedunlearn.cli import command_line, main
from fedunlearn.errors import RequestError
from fedunlearn.results.findings import Finding
from fedunlearn.results.summary import from_json, to_json
from fedunlearn.runs import declarations, pipeline
from fedunlearn.runs.console import Console
from fedunlearn.runs.summarise import exhibits, metric_lines, summarise, write_exhibits, write_metrics
from fedunlearn.settings import registry

WORDS = [
    "method=head_mask",
    "data.limit=160",
    "model.width=4",
    "gates=warn",
    "train.rounds=1",
    "unlearn.rounds=0",
    "audit=quick",
]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> pipeline.Outcome:
    folder = tmp_path_factory.mktemp("outcome")
    words = [*WORDS, "audit.ausuc=null", "retrain.seeds=2", f"store.dir={folder}/store", f"output.dir={folder}/out"]
    return pipeline.run(command_line.read(words, main.conf_dir()), Console(io.StringIO()))


def changed(outcome: pipeline.Outcome, **values: Any) -> pipeline.Outcome:
    """The outcome with `subject=(finding, value)` in its findings."""
    new = {subject: {name: value} for subject, (name, value) in values.items()}
    models = [replace(each, findings=each.findings | new.get(each.step.label, {})) for each in outcome.models]
    return replace(outcome, models=tuple(models))


def test_means_spreads_and_gaps_by_hand(outcome: pipeline.Outcome) -> None:
    name = "retain_accuracy"
    made = changed(outcome, retrained_0=(name, 0.5), retrained_1=(name, 0.75), unlearned=(name, 0.125))
    found = summarise(made, "command")
    assert found.models["retrained"][name] == 0.625 and found.noise_floor[name] == 0.25
    assert found.gap[name] == -0.5
    assert [seed[name] for seed in found.retrained_seeds] == [0.5, 0.75]
    lists = changed(outcome, retrained_0=("class_accuracy", [0.5] * 10), retrained_1=("class_accuracy", [1.0] * 10))
    assert summarise(lists, "").details["retrained"]["class_accuracy"] == (0.75,) * 10
    assert "class_accuracy" not in found.models["original"]


def test_samples_are_counted_in_both_splits(outcome: pipeline.Outcome) -> None:
    found, dataset = summarise(outcome, ""), outcome.federation.dataset
    forgotten = [int((split.groups == 9).sum()) for split in (dataset.train, dataset.test)]
    assert [found.samples["forget_train"], found.samples["forget_test"]] == forgotten
    assert found.samples["retain_test"] == len(dataset.test) - forgotten[1]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_finding_that_is_no_finite_number_is_null_and_named_in_a_warning(
    outcome: pipeline.Outcome, tmp_path: Path, bad: float
) -> None:
    made = changed(
        outcome,
        unlearned=("flow_tv", bad),
        retrained_1=("retain_accuracy", bad),
        original=("class_accuracy", [bad] + [0.5] * 9),
    )
    found = summarise(made, "")
    assert from_json(to_json(found)) == found
    assert found.models["unlearned"]["flow_tv"] is None and found.gap["flow_tv"] is None
    assert found.models["retrained"]["retain_accuracy"] is None and found.noise_floor["retain_accuracy"] is None
    assert found.details["original"]["class_accuracy"][:2] == (None, 0.5)
    said = " ".join(found.warnings)
    assert "the finding flow_tv is not a finite number (of unlearned)" in said
    assert "the finding retain_accuracy is not a finite number (of retrained_1)" in said
    assert "the finding class_accuracy is not a finite number (of original)" in said
    assert found.verdict is not None and found.verdict.word is None
    write_metrics(tmp_path, metric_lines(made))
    write_exhibits(tmp_path, exhibits(changed(outcome, original=("feature_map", {"x": [bad]}))))
    for path in (tmp_path / "metrics.jsonl", tmp_path / "exhibits" / "feature_map.json"):
        for line in path.read_text().splitlines():
            json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_findings_come_in_the_order_of_the_audits(outcome: pipeline.Outcome) -> None:
    names = list(summarise(outcome, "").findings)
    assert names[0] == "forget_accuracy" and names.index("class_accuracy") < names.index("class_flow")


def test_two_audits_that_declare_the_same_are_refused_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    config = command_line.read(WORDS, main.conf_dir())
    real = registry.find
    twin = SimpleNamespace(tasks=real("audit", "accuracy").tasks, declared=lambda _: (Finding("leak", "leak", ""),))
    monkeypatch.setattr(registry, "find", lambda kind, name: twin if name == "class_flow" else real(kind, name))
    with pytest.raises(RequestError, match="two audits of this run declare a finding called leak"):
        declarations.declared(config)


def test_what_is_expected_of_a_task_is_what_our_audits_of_it_count() -> None:
    counted = ["leak", "gamma_recovered", "prototype_forget_accuracy", "relearn_batches"]
    assert sorted(declarations.expected("classification")) == sorted(["forget_accuracy", "retain_accuracy", *counted])
    assert not set(counted[:3]) & set(declarations.expected("another_task"))
