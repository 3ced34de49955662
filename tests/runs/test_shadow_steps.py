"""Shadow models among the stages of a run: what they depend on, who shares them, and that others do not notice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fedunlearn.cli import command_line
from fedunlearn.cli.main import conf_dir
from fedunlearn.federation.federation import Federation, open_federation
from fedunlearn.runs import steps
from fedunlearn.runs.steps import RunStages

SMALL = ["data.limit=200", "partition.clients=3", "train.rounds=2", "unlearn.rounds=1", "retrain.seeds=2"]


def planned(*words: str) -> RunStages:
    config = command_line.read([*SMALL, *words], conf_dir())
    return steps.of_run(config, open_federation(config))


def keys(run: RunStages, kind: str) -> set[str]:
    return {stage.key for stage in run if stage.kind == kind}


def originals(run: RunStages) -> list[str]:
    return [shadow.original.stage.key for shadow in run.shadows]


def test_by_default_there_are_none() -> None:
    run = planned()
    assert run.shadows == ()
    assert len(list(run)) == 1 + 2 + 1 + 4 * len({audit.audit.name for audit in run.audits})


def test_what_a_run_had_before_stays_as_it_was() -> None:
    without, with_them = planned(), planned("audit.u_lira.shadows=6")
    assert {name: model.stage for name, model in without.models.items()} == {
        name: model.stage for name, model in with_them.models.items()
    }
    audits: list[dict[str, Any]] = [
        {audit.stage.name: audit.stage.key for audit in run.audits if audit.audit.name != "u_lira"}
        for run in (without, with_them)
    ]
    assert audits[0] == audits[1]
    assert "held_out" not in without.models["original"].stage.determinants["data"]
    assert "shadows" not in without.audits[0].stage.determinants


def test_every_shadow_is_a_training_and_an_unlearning_of_its_own() -> None:
    run = planned("audit.u_lira.shadows=6")
    assert (len(keys(run, "train")), len(keys(run, "unlearn")), len(keys(run, "retrain"))) == (7, 7, 2)
    for shadow in run.shadows:
        assert shadow.unlearned.start is shadow.original
        assert shadow.original.spec.seed == shadow.unlearned.spec.seed != run.models["original"].spec.seed
        assert (shadow.original.rounds, shadow.unlearned.rounds) == (2, 1)
        assert shadow.original.stage.name == f"shadow_{shadow.number}_train"
    halves = {shadow.original.stage.determinants["data"]["held_out"] for shadow in run.shadows}
    assert len(halves) == 6


def test_more_shadows_are_the_same_ones_and_more() -> None:
    assert originals(planned("audit.u_lira.shadows=8"))[:6] == originals(planned("audit.u_lira.shadows=6"))


@pytest.mark.parametrize(
    ("words", "shared"),
    [
        (["method=finetune"], True),
        (["unlearn.rounds=2"], True),
        (["request.classes=[3]"], False),
        (["seed=1"], False),
        (["train.lr=0.01"], False),
    ],
)
def test_methods_share_the_trainings_and_other_requests_do_not(words: list[str], shared: bool) -> None:
    first, other = planned("audit.u_lira.shadows=6"), planned("audit.u_lira.shadows=6", *words)
    assert (originals(first) == originals(other)) is shared
    unlearned = [{shadow.unlearned.stage.key for shadow in run.shadows} for run in (first, other)]
    assert not unlearned[0] & unlearned[1]


def test_a_method_with_a_history_gets_that_of_the_shadow() -> None:
    run = planned("audit.u_lira.shadows=6", "method=federaser")
    histories = [shadow.unlearned.history for shadow in run.shadows]
    assert len({history.stage.key for history in histories if history}) == 6 == len(keys(run, "history")) - 1
    for shadow, history in zip(run.shadows, histories, strict=True):
        assert history is not None
        assert history.spec == shadow.original.spec
        assert history.stage.determinants["data"] == shadow.original.stage.determinants["data"]


def test_the_audit_depends_on_its_shadows() -> None:
    runs = [planned(f"audit.u_lira.shadows={number}") for number in (0, 6, 8)]
    found = [[audit.stage.key for audit in run.audits if audit.audit.name == "u_lira"] for run in runs]
    assert len({key for each in found for key in each}) == 3 * 4
    (one, *_) = [audit for audit in runs[1].audits if audit.audit.name == "u_lira"]
    assert one.stage.determinants["shadows"] == [
        [shadow.original.stage.key, shadow.unlearned.stage.key] for shadow in runs[1].shadows
    ]


def test_clients_of_a_shadow_lack_the_samples_that_it_never_sees(make_federation: Any) -> None:
    federation: Federation = make_federation(clients=3, classes=4, forget=(1,))
    shadow = federation.of_shadow(2)
    assert federation.of_shadow(None) is federation and federation.of_shadow(2) is shadow
    lost = np.setdiff1d(np.concatenate(federation.parts), np.concatenate(shadow.parts))
    assert len(lost) == 6 and (federation.train.labels[lost] == 1).all()
    assert all(np.isin(mine, all_of_it).all() for mine, all_of_it in zip(shadow.parts, federation.parts, strict=True))
    clients = [shadow.client(number) for number in range(3)]
    assert sum(int(client.forget.sum()) for client in clients) == 6
    assert sum(len(client) for client in clients) == 48 - 6
    assert clients[0].seed != federation.client(0).seed
    assert shadow.train is federation.train, "one copy of the images"
    other = federation.of_shadow(3)
    assert any(len(a) != len(b) or (a != b).any() for a, b in zip(other.parts, shadow.parts, strict=True))
