"""The steps of a run: what each depends on and builds on, what runs share, and what a finished run is recognised by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fedunlearn.audits import accuracy
from fedunlearn.cli import command_line
from fedunlearn.cli.main import conf_dir
from fedunlearn.federation.federation import Federation, open_federation
from fedunlearn.federation.spec import Variant
from fedunlearn.models.language import CausalLmSettings
from fedunlearn.runs import steps
from fedunlearn.runs.steps import AUDIT, ORIGINAL, RETRAINED, UNLEARNED, RunSteps, Setting, Step, Training
from fedunlearn.settings import registry
from fedunlearn.settings.config import Choice

SMALL = ["data.limit=200", "partition.clients=3", "gates=warn", "train.rounds=2", "unlearn.rounds=1", "retrain.seeds=2"]
SHADOWS = "audit.u_lira.shadows=6"


def planned(*words: str) -> RunSteps:
    config = command_line.read([*SMALL, *words], conf_dir())
    return steps.of_run(config, open_federation(config))


def keys(run: RunSteps, role: str) -> set[str]:
    return {step.key for step in keyed(run, role)}


def keyed(run: RunSteps, role: str) -> list[Step]:
    return [step for step in run if step.role == role]


def variants(run: RunSteps, role: str) -> list[Step]:
    return [step for step in run.variants if step.role == role]


def only(run: RunSteps, role: str) -> Step:
    (step,) = run.of(role)
    return step


# Roles and inputs


def test_the_story_of_a_run() -> None:
    run = planned("method=finetune")
    assert [step.label for step in run.models] == ["original", "retrained_0", "retrained_1", "unlearned"]
    assert [(step.kind, step.name) for step in run.models] == [
        ("train", "train"),
        ("retrain", "retrain_0"),
        ("retrain", "retrain_1"),
        ("unlearn", "unlearn"),
    ]
    assert [step.work.rounds for step in run.models if isinstance(step.work, Training)] == [2, 3, 3, 1]
    assert only(run, UNLEARNED).inputs == {"start": (only(run, ORIGINAL),)}
    assert all(step.inputs == {} for step in (only(run, ORIGINAL), *run.of(RETRAINED)))


def test_every_model_is_rounded_to_every_format_and_audited_next_to_its_like() -> None:
    run = planned("audit=quick", "deploy.formats=[int8,int4]")
    roles = ["original", "retrained_0", "retrained_1", "unlearned"]
    assert [step.label for step in run.models] == [*roles, *(f"{r}.{f}" for f in ("int8", "int4") for r in roles)]
    for step in run.models[4:]:
        (source,) = step.inputs["source"]
        assert (source.role, source.number, source.form) == (step.role, step.number, steps.BARE)
        assert step.kind == "deploy" and step.name == f"{source.name}.{step.form}"
    for step in run.audits:
        form = step.inputs["subject"][0].form
        assert step.inputs[ORIGINAL] == run.of(ORIGINAL, form) and step.inputs[RETRAINED] == run.of(RETRAINED, form)


def test_formats_change_no_other_step_and_are_shared_by_what_they_are_made_of() -> None:
    bare, both = planned("audit=quick"), planned("audit=quick", "deploy.formats=[int8,int4]")
    assert {step.key for step in bare} < {step.key for step in both}
    assert bare.signature() != both.signature()
    alone = planned("audit=quick", "deploy.formats=[int4]")
    assert {step.key for step in alone} < {step.key for step in both}
    grouped = planned("audit=quick", "deploy.formats=[int4]", "deploy.group_size=8")
    other = planned("audit=quick", "deploy.formats=[int4]", "method=head_mask")
    int4 = steps.Form("int4")
    assert not {step.key for step in grouped.models[4:]} & {step.key for step in alone.models[4:]}
    for role in (ORIGINAL, RETRAINED):
        assert [step.key for step in other.of(role, int4)] == [step.key for step in alone.of(role, int4)]
    assert other.of(UNLEARNED, int4)[0].key != alone.of(UNLEARNED, int4)[0].key


def test_shadow_models_are_rounded_too_and_pictures_are_of_float32_alone() -> None:
    run = planned("audit=quick", "+audit.u_lira={shadows: 6}", "+audit.answers={}", "deploy.formats=[int4]")
    shadowed = [step for step in run.audits if "shadow.original" in step.inputs]
    assert {str(step.inputs["subject"][0].form) for step in shadowed} == {"", "int4"}
    for step in shadowed:
        form = step.inputs["subject"][0].form
        assert {other.form for role in (ORIGINAL, UNLEARNED) for other in step.inputs[f"shadow.{role}"]} == {form}
    pictured = [step for step in run.audits if step.name.startswith("answers")]
    assert pictured and {step.inputs["subject"][0].form for step in pictured} == {steps.BARE}


def test_a_method_that_starts_afresh_builds_on_nothing() -> None:
    assert only(planned("method=retrain"), UNLEARNED).inputs == {}


def test_every_audit_is_of_every_model_next_to_the_same_reference() -> None:
    run = planned("audit=quick")
    names = {step.name.partition(" of ")[0] for step in run.audits}
    assert sorted(step.name for step in run.audits) == sorted(f"{n} of {m.label}" for n in names for m in run.models)
    for step in run.audits:
        assert step.inputs["subject"][0] in run.models
        assert step.inputs[ORIGINAL] == run.of(ORIGINAL) and step.inputs[RETRAINED] == run.of(RETRAINED)


def test_every_step_comes_once_and_after_what_it_builds_on() -> None:
    run = planned("method=federaser", SHADOWS)
    before: list[Step] = []
    for step in run:
        assert all(any(one.key == other.key for other in before) for each in step.inputs.values() for one in each)
        before.append(step)
    assert len({step.key for step in before}) == len(before)
    assert [step.role == AUDIT for step in before] == sorted(step.role == AUDIT for step in before), "audits last"


def test_a_further_role_needs_a_function_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes after unlearning is more steps: nothing that was there changes, and it is audited like the rest."""

    def repaired(setting: Setting, before: RunSteps) -> list[Step]:
        (unlearned,) = before.of(UNLEARNED)
        spec = setting.spec("repair", Choice("finetune", None), setting.config.train)
        return [
            Step("repaired", "repair", "repair", Training(spec, 1), unlearned.code, {}, {"start": (unlearned,)}),
        ]

    usual = planned()
    monkeypatch.setattr(steps, "STORY", {**steps.STORY, "repaired": repaired})
    longer = planned()
    (added,) = longer.of("repaired")
    assert [step.key for step in longer.models] == [*(step.key for step in usual.models), added.key]
    of_others = [step.key for step in longer.audits if step.inputs["subject"] != (added,)]
    assert of_others == [step.key for step in usual.audits]
    assert len(longer.audits) == len(usual.audits) // 4 * 5


# Keys


@pytest.mark.parametrize(
    ("words", "same"),
    [
        (["method=head_mask"], {ORIGINAL, RETRAINED}),
        (["unlearn.lr=0.01"], {ORIGINAL, RETRAINED}),
        (["select=energy"], {ORIGINAL, RETRAINED}),
        (["request.classes=[3]"], {ORIGINAL}),
        (["request.classes=[]", "request.clients=[1]"], {ORIGINAL}),
        (["retrain.seeds=1"], {ORIGINAL, UNLEARNED}),
        (["engine.workers=3"], {ORIGINAL, RETRAINED, UNLEARNED, AUDIT}),
        (["train.evaluate_every=2"], {ORIGINAL, RETRAINED, UNLEARNED, AUDIT}),
        (["audit.ausuc=null"], {ORIGINAL, RETRAINED, UNLEARNED}),
        (["train.rounds=3"], set()),
        (["train.lr=0.01"], set()),
        (["seed=1"], set()),
        (["partition.alpha=0.5"], set()),
        (["model.width=4"], set()),
        (["data.limit=190"], set()),
    ],
)
def test_what_each_setting_changes(words: list[str], same: set[str]) -> None:
    first, other = planned("method=finetune"), planned("method=finetune", *words)
    roles = (ORIGINAL, RETRAINED, UNLEARNED, AUDIT)
    assert {role for role in roles if keys(first, role) == keys(other, role)} == same
    if same != set(roles):
        assert first.signature() != other.signature()


def test_a_selector_is_in_the_keys_of_the_stages_in_which_clients_select() -> None:
    words = ["method=finetune", "repair=finetune"]
    every, some, other, less = (
        planned(*words, *more)
        for more in ([], ["select=energy"], ["select=herding"], ["select=energy", "select.share=0.2"])
    )
    assert len({only(run, UNLEARNED).key for run in (every, some, other, less)}) == 4
    for role in (ORIGINAL, RETRAINED):
        first, *others = ([step.key for step in run.of(role)] for run in (every, some, other, less))
        assert all(keys == first for keys in others)
        repaired = [run.of(role, steps.REPAIRED)[0].key for run in (every, some, other, less)]
        assert len(set(repaired)) == 4
    assert set(only(some, UNLEARNED).determinants()["versions"]) >= {"torch", "scikit-learn"}
    asks = [planned("method=finetune", "repair=average_logit_gap", *more) for more in ([], ["select=energy"])]
    assert asks[0].of(ORIGINAL, steps.REPAIRED)[0].key == asks[1].of(ORIGINAL, steps.REPAIRED)[0].key


def test_the_level_of_a_request_is_in_keys() -> None:
    """All samples of a client forgotten as a client, or one by one: the same samples, another level."""
    config = command_line.read([*SMALL, "request.classes=[]", "request.clients=[1]"], conf_dir())
    federation = open_federation(config)
    other = open_federation(config)
    other.request = replace(federation.request, level="sample")
    first, second = (steps.of_run(config, each) for each in (federation, other))
    assert keys(first, ORIGINAL) == keys(second, ORIGINAL)
    assert not keys(first, UNLEARNED) & keys(second, UNLEARNED)
    assert not keys(first, RETRAINED) & keys(second, RETRAINED)


def test_versions_and_code_are_in_keys() -> None:
    run = planned("method=fucrt")
    trained = only(run, UNLEARNED).determinants()
    assert set(trained["versions"]) == {"torch", "torchvision", "flwr", "numpy"}
    assert set(trained["code"]) >= {"fedunlearn", "fedunlearn.methods.fucrt"}
    assert set(only(run, ORIGINAL).determinants()["code"]) >= {"fedunlearn", "fedunlearn.methods.fedavg"}
    assert set(run.audits[0].determinants()["versions"]) >= {"torch", "scikit-learn"}


def test_keys_follow_where_inputs_are_really_kept() -> None:
    """A model that is kept apart, and all that is made of it, is not what the clean keys are for."""
    run = planned("method=finetune")
    original, unlearned = only(run, ORIGINAL), only(run, UNLEARNED)
    apart = {original.key: "0" * 24}
    assert unlearned.determinants(apart)["inputs"] == {"start": ["0" * 24]}
    assert unlearned.determinants({}) == unlearned.determinants() != unlearned.determinants(apart)
    assert run.signature(apart) != run.signature({}) == run.signature()
    for audit in run.audits:
        assert audit.determinants(apart) != audit.determinants()


def test_the_partition_that_came_out_is_in_keys() -> None:
    """Not only its settings: a partitioner of another package, or a library, may split otherwise tomorrow."""
    config = command_line.read(SMALL, conf_dir())
    federation = open_federation(config)
    first = steps.of_run(config, federation)
    moved = federation.parts[0][:1]
    federation.parts = [federation.parts[0][1:], np.concatenate([federation.parts[1], moved]), federation.parts[2]]
    second = steps.of_run(config, federation)
    assert not {step.key for step in first} & {step.key for step in second}


# What a finished run is recognised by


def test_other_images_in_the_same_folder_make_another_run(tmp_path: Path) -> None:
    def draw(seed: int) -> None:
        stream = np.random.default_rng(seed)
        for name in ("train", "test"):
            for label in range(3):
                (tmp_path / name / str(label)).mkdir(parents=True, exist_ok=True)
                for number in range(6):
                    image = stream.integers(0, 256, (8, 8)).astype(np.uint8)
                    Image.fromarray(image).save(tmp_path / name / str(label) / f"{number}.png")

    def signature() -> str:
        folder = ["dataset=image_folder", f"dataset.path={tmp_path}", "dataset.size=8", "dataset.channels=grey"]
        words = [*folder, "partition=iid", "partition.clients=2", "request.classes=[1]"]
        config = command_line.read(words, conf_dir())
        return steps.signature(config, open_federation(config))

    draw(0)
    first = signature()
    assert signature() == first
    draw(1)
    assert signature() != first


# Variants of the federation: shadow models


def test_by_default_there_are_none() -> None:
    run = planned()
    assert run.variants == ()
    assert len(list(run)) == 1 + 2 + 1 + 4 * len({step.name.partition(" of ")[0] for step in run.audits})


def test_what_a_run_had_before_stays_as_it_was() -> None:
    without, with_them = planned(), planned(SHADOWS)
    assert [model.key for model in without.models] == [model.key for model in with_them.models]
    audits: list[dict[str, Any]] = [
        {step.name: step.key for step in run.audits if not step.name.startswith("u_lira ")}
        for run in (without, with_them)
    ]
    assert audits[0] == audits[1]
    assert set(without.audits[0].inputs) == {"subject", ORIGINAL, RETRAINED}


def test_every_shadow_is_a_training_and_an_unlearning_of_its_own() -> None:
    run = planned("method=finetune", SHADOWS)
    assert [len(keys(run, role)) for role in (ORIGINAL, UNLEARNED, RETRAINED)] == [7, 7, 2]
    pairs = zip(variants(run, ORIGINAL), variants(run, UNLEARNED), strict=True)
    for number, (original, unlearned) in enumerate(pairs):
        assert original.variant == unlearned.variant == Variant("shadow", number)
        assert unlearned.inputs["start"] == (original,)
        assert isinstance(original.work, Training) and isinstance(unlearned.work, Training)
        whole = only(run, ORIGINAL).work
        assert isinstance(whole, Training)
        assert original.work.spec.seed == unlearned.work.spec.seed != whole.spec.seed
        assert (original.work.rounds, unlearned.work.rounds) == (2, 1)
        assert original.name == f"shadow_{number}_train"
    halves = {step.own["data"]["clients"]["samples"] for step in variants(run, ORIGINAL)}
    assert len(halves) == 6


def test_more_shadows_are_the_same_ones_and_more() -> None:
    eight, six = (planned(f"audit.u_lira.shadows={number}") for number in (8, 6))
    assert [step.key for step in variants(eight, ORIGINAL)][:6] == [step.key for step in variants(six, ORIGINAL)]


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
    first, other = planned(SHADOWS), planned(SHADOWS, *words)
    found = [[[step.key for step in variants(run, role)] for run in (first, other)] for role in (ORIGINAL, UNLEARNED)]
    assert (found[0][0] == found[0][1]) is shared
    assert not set(found[1][0]) & set(found[1][1])


def test_a_method_with_a_history_gets_that_of_the_shadow() -> None:
    run = planned(SHADOWS, "method=federaser")
    histories = [step.inputs["history"][0] for step in variants(run, UNLEARNED)]
    assert len({history.key for history in histories}) == 6 == len(keys(run, "history")) - 1
    for original, history in zip(variants(run, ORIGINAL), histories, strict=True):
        assert isinstance(history.work, Training) and isinstance(original.work, Training)
        assert history.work.spec == original.work.spec and history.work.server is not None
        assert history.own["data"] == original.own["data"]


def test_a_history_knows_which_clients_go_and_is_shared_by_requests_for_classes() -> None:
    three, four = (planned("method=federaser", f"request.classes=[{number}]") for number in (3, 4))
    clients = planned("method=federaser", "request.classes=[]", "request.clients=[1]")
    assert keys(three, "history") == keys(four, "history") != keys(clients, "history")


def test_the_audit_depends_on_its_shadows() -> None:
    runs = [planned(f"audit.u_lira.shadows={number}") for number in (0, 6, 8)]
    found = [[step for step in run.audits if step.name.startswith("u_lira ")] for run in runs]
    assert len({step.key for each in found for step in each}) == 3 * 4
    for role in (ORIGINAL, UNLEARNED):
        assert list(found[1][0].inputs[f"shadow.{role}"]) == variants(runs[1], role)


def test_clients_of_a_shadow_lack_the_samples_that_it_never_sees(make_federation: Callable[..., Federation]) -> None:
    federation = make_federation(clients=3, classes=4, forget=(1,))
    shadow = federation.of_variant(Variant("shadow", 2))
    assert federation.of_variant(None) is federation and federation.of_variant(Variant("shadow", 2)) is shadow
    lost = np.setdiff1d(np.concatenate(federation.parts), np.concatenate(shadow.parts))
    assert len(lost) == 6 and (federation.train.groups[lost] == 1).all()
    assert all(np.isin(mine, all_of_it).all() for mine, all_of_it in zip(shadow.parts, federation.parts, strict=True))
    clients = [shadow.client(number) for number in range(3)]
    assert sum(int(client.forget.sum()) for client in clients) == 6
    assert sum(len(client) for client in clients) == 48 - 6
    assert clients[0].seed != federation.client(0).seed
    assert shadow.train is federation.train, "one copy of the images"
    other = federation.of_variant(Variant("shadow", 3))
    assert any(len(a) != len(b) or (a != b).any() for a, b in zip(other.parts, shadow.parts, strict=True))


# Variants of the federation: replicas


@pytest.fixture
def replicas(monkeypatch: pytest.MonkeyPatch) -> Callable[..., RunSteps]:
    """`replicas(2, *words)`: the steps of a run whose audit of accuracy asks for two of them."""

    def planned_with(count: int, *words: str) -> RunSteps:
        asking = replace(accuracy.AUDITS["accuracy"], replicas=lambda settings: count)
        monkeypatch.setitem(registry._ours(registry.KINDS["audit"]), "accuracy", ("fedunlearn.audits.accuracy", asking))
        return planned("audit=quick", *words)

    return planned_with


def test_every_replica_is_a_training_and_an_unlearning_with_other_draws(replicas: Callable[..., RunSteps]) -> None:
    run = replicas(2, "method=finetune")
    assert [step.name for step in run.variants] == [
        *("replica_0_train", "replica_0_unlearn", "replica_1_train", "replica_1_unlearn")
    ]
    assert len({step.work.spec.seed for step in run if isinstance(step.work, Training)}) == 3
    assert len({step.own["data"]["clients"]["samples"] for step in keyed(run, ORIGINAL)}) == 1
    for original, unlearned in zip(variants(run, ORIGINAL), variants(run, UNLEARNED), strict=True):
        assert unlearned.inputs["start"] == (original,)
    asking = [step for step in run.audits if "replica.original" in step.inputs]
    assert {step.name.split(" ")[0] for step in asking} == {"accuracy"}
    for role in (ORIGINAL, UNLEARNED):
        assert list(asking[0].inputs[f"replica.{role}"]) == variants(run, role)


@pytest.mark.parametrize(
    ("words", "shared"),
    [(["method=head_mask"], True), (["request.classes=[3]"], True), (["unlearn.lr=0.01"], True), (["seed=1"], False)],
)
def test_trainings_of_replicas_depend_on_neither_method_nor_request(
    replicas: Callable[..., RunSteps], words: list[str], shared: bool
) -> None:
    first, other = replicas(2, "method=finetune"), replicas(3, "method=finetune", *words)
    found = [[[step.key for step in variants(run, role)] for run in (first, other)] for role in (ORIGINAL, UNLEARNED)]
    assert (found[0][0] == found[0][1][:2]) is shared
    assert not set(found[1][0]) & set(found[1][1])


def test_clients_of_a_replica_hold_the_same_and_draw_otherwise(make_federation: Callable[..., Federation]) -> None:
    federation = make_federation(clients=3, classes=4, forget=(1,))
    replica, shadow = (federation.of_variant(Variant(kind, 2)) for kind in ("replica", "shadow"))  # type: ignore[arg-type]
    assert all((mine == its).all() for mine, its in zip(federation.parts, replica.parts, strict=True))
    assert len({each.client(0).seed for each in (federation, replica, shadow)}) == 3
    assert replica.request is federation.request and replica.train is federation.train


def test_what_a_models_first_weights_are_read_from_is_part_of_the_keys(tmp_path: Path) -> None:
    settings = CausalLmSettings(str(tmp_path))
    assert "files" not in steps._model(Choice("causal_lm", settings)), "there is no model there"
    for name in ("config.json", "a.safetensors", "b.safetensors"):
        (tmp_path / name).write_text(name)
    before = steps._model(Choice("causal_lm", settings))
    assert len(set(before["files"])) == 3 and steps._model(Choice("causal_lm", settings)) == before
    (tmp_path / "b.safetensors").write_text("changed")
    assert steps._model(Choice("causal_lm", settings))["files"][:2] == before["files"][:2]
    assert steps._model(Choice("causal_lm", settings)) != before
