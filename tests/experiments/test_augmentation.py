"""The experiment on augmentation: statistics by hand, a planted difference and none, and a small run of all of it."""

# ruff: noqa: RUF001 (minus signs are meant)

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from experiments import sweeps
from experiments.augmentation import __main__ as augmentation
from experiments.augmentation import answers, looks, page, profiles
from experiments.augmentation.looks import KL, Looks
from experiments.augmentation.page import SIX
from fedunlearn.cli import command_line
from fedunlearn.cli.main import conf_dir
from fedunlearn.settings import registry
from fedunlearn.store.catalogue import entries

STATES, NAMES = (0, 1, 2), ("blur", "colour", "mixup", "rotation")


def table(values: np.ndarray) -> pd.DataFrame:
    """`values` [states, augmentations, measures] as a row for each model."""
    rows = [
        {"augment": NAMES[j], "seed": i, **dict(zip("abcdef", values[i, j], strict=False))}
        for i, j in np.ndindex(values.shape[:2])
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=0)


# What is asked for


@pytest.mark.parametrize("sweep", [*augmentation.full(), *augmentation.quick()], ids=lambda sweep: sweep.name)
def test_what_is_asked_for_is_a_configuration(sweep):
    asked = sweeps.jobs(sweep)
    assert len({tuple(words) for words in asked}) == len(asked)
    for words in asked:
        command_line.read(words, conf_dir())


def test_every_augmentation_from_three_states_by_every_method():
    for sweep in augmentation.full():
        asked = sweeps.jobs(sweep)
        assert len(asked) == 24 and {words[1] for words in asked} == {f"augment={name}" for name in augmentation.NAMES}
    assert set(augmentation.NAMES) == set(registry.built_in("augmentation"))


def test_commas_in_brackets_do_not_make_jobs():
    sweep = sweeps.Sweep("x", ("seed=0,1", "deploy.formats=[int8,int4]", "method=a"))
    assert sweeps.jobs(sweep) == [
        ["seed=0", "deploy.formats=[int8,int4]", "method=a"],
        ["seed=1", "deploy.formats=[int8,int4]", "method=a"],
    ]


# Maps


def looked(augment: str, seed: int, maps: list, logits: list) -> Looks:
    return Looks(augment, seed, np.array(maps, dtype=float), np.array(logits, dtype=float), np.array([0, 1]))


def test_models_are_compared_with_those_without_augmentation_of_other_states():
    one, other = [[[1, 0], [0, 0]]] * 2, [[[1, 1], [0, 0]]] * 2
    even, sure = [[0, 0]] * 2, [[np.log(3), 0]] * 2
    found = [looked("none", 0, one, even), looked("none", 1, other, sure), looked("blur", 0, one, even)]
    seen = looks.compared([*found, looked("blur", 1, other, even)]).set_index(["augment", "seed"])
    assert seen["absolute_difference"].tolist() == [0.25] * 4, "and blur of state 0 is not held against none of state 0"
    towards = 0.75 * np.log(0.75 / 0.5) + 0.25 * np.log(0.25 / 0.5)
    away = 0.5 * np.log(0.5 / 0.75) + 0.5 * np.log(0.5 / 0.25)
    assert seen[KL].tolist() == pytest.approx([towards, away, towards, 0])
    assert seen["pearson"].tolist() == pytest.approx([1 / np.sqrt(3)] * 4)


def test_flat_maps_are_counted_and_left_out_and_scores_are_of_all_classes():
    peak, flat = [[1, 0], [0, 0]], [[2, 2], [2, 2]]
    found = [looked("none", seed, [peak, peak], [[1, 0], [1, 0]]) for seed in (0, 1)]
    row = looks.compared([*found, looked("blur", 0, [peak, flat], [[1, 0], [1, 0]])]).iloc[2]
    assert row["flat"] == 0.5 and row["pearson"] == pytest.approx(1)
    assert (row["accuracy"], row["precision"], row["recall"]) == (0.5, 0.25, 0.5)
    assert row["f1"] == pytest.approx(1 / 3)


# Can augmentations be told apart?


def test_between_against_within_by_hand():
    values = np.array([[[1.0], [-1.0]], [[3.0], [-3.0]]])  # two states, two augmentations, one measure
    assert profiles.between(values) == pytest.approx(2 * (2**2 + 2**2) / (1 + 1 + 9 + 9))
    assert profiles.between(np.stack([values[0], -values[0]])) == 0
    assert profiles.recognised(values) == 4 and profiles.recognised(np.stack([values[0], -values[0]])) == 0


def test_what_a_state_does_to_all_alike_units_and_constant_measures_do_not_matter():
    values = np.random.default_rng(0).normal(size=(3, 4, 2))
    plain = profiles.profiles(table(values), "ab")
    assert plain.mean(axis=1) == pytest.approx(0)
    assert profiles.profiles(table(1000 * values), "ab") == pytest.approx(plain)
    state = np.array([5.0, -7.0, 2.0])[:, None, None]
    assert profiles.between(profiles.profiles(table(values[..., :1] + state), "a")) == pytest.approx(
        profiles.between(profiles.profiles(table(values), "a"))
    )
    assert profiles.profiles(table(values).assign(c=1.0), "abc") == pytest.approx(plain)


def test_a_planted_difference_is_seen():
    noise = np.random.default_rng(1).normal(size=(3, 4, 6))
    planted = 4 * np.random.default_rng(2).normal(size=(1, 4, 6))
    found = profiles.separation(table(noise + planted), "abcdef", draws=999)
    assert found.p < 0.005 and found.share > 0.8 and found.found == found.models == 12
    assert found.chance == pytest.approx(1 / 3, abs=0.05), "of three states, where there is nothing but chance"


def test_where_there_is_none_it_is_seen_as_often_as_it_says():
    stream = np.random.default_rng(3)
    found = [profiles.separation(table(stream.normal(size=(3, 4, 2))), "ab", draws=99).p for _ in range(100)]
    assert 0 <= sum(p <= 0.05 for p in found) <= 12, "5 are expected; more than 12 once in a thousand times"
    assert np.mean(found) == pytest.approx(0.5, abs=0.1)


def test_too_few_cannot_be_told_apart_and_incomplete_states_are_left_out():
    values = np.random.default_rng(0).normal(size=(3, 4, 1))
    whole = table(values)
    assert profiles.separation(whole[whole["seed"] == 0], "a") is None
    assert profiles.separation(whole[whole["augment"] == "blur"], "a") is None
    assert profiles.separation(whole.assign(a=1.0), "a") is None
    lacking = whole[~((whole["seed"] == 2) & (whole["augment"] == "blur"))]
    assert profiles.profiles(lacking, "a").shape == (2, 4, 1)


# What the pages say


def runs(**leak: tuple[float, ...]) -> pd.DataFrame:
    """Runs of one method; `leak`: by augmentation, for each seed."""
    return pd.DataFrame(
        {"status": "done", "method": "m", "augment": name, "seed": seed, "unlearned.leak": value}
        for name, values in leak.items()
        for seed, value in zip(STATES, values, strict=True)
    )


def test_a_change_is_paired_by_state_and_sure_where_its_interval_leaves_out_zero():
    rows = runs(none=(0.1, 0.5, 0.9), blur=(0.2, 0.6, 1.1), colour=(0.9, 0.1, 0.5)).sample(frac=1, random_state=1)
    found = page.change(rows, "blur", "unlearned.leak")
    assert found.mean == pytest.approx(0.4 / 3)
    assert found.half == pytest.approx(4.3027 * np.std([0.1, 0.1, 0.2], ddof=1) / np.sqrt(3), rel=1e-4)
    assert not page.is_sure(found) and not page.is_sure(page.change(rows, "colour", "unlearned.leak"))
    assert page.is_sure(page.change(runs(none=(0, 0, 0), blur=(0.1, 0.1, 0.11)), "blur", "unlearned.leak"))


def test_answers_count_what_rises_and_what_falls():
    said = answers.left(runs(none=(0, 0, 0), blur=(0.1, 0.1, 0.11), colour=(-0.1, -0.1, -0.11)), "unlearned.leak")
    assert "rises in 1 of 2 cells (method, augmentation): m with blur (+0.103" in said
    assert "falls in 1: m with colour (−0.103" in said
    assert "Mean changes go from −0.103 (m with colour) to +0.103 (m with blur)" in said


def seen(planted: float) -> pd.DataFrame:
    stream = np.random.default_rng(0)
    values = {name: planted * number for number, name in enumerate(("none", *NAMES))}
    return pd.DataFrame(
        {"augment": name, "seed": seed, "flat": 0.0, **dict.fromkeys(page.SCORES, 0.5)}
        | {measure: value + stream.normal() for measure in SIX}
        for name, value in values.items()
        for seed in STATES
    )


def test_profiles_are_told_apart_where_they_differ_and_not_where_they_do_not():
    assert answers.apart(seen(10)).count("yes, ") == 2
    assert answers.apart(seen(0)).count("not seen, ") == 2
    assert "24 of 24 numbers differ" in answers.impact(seen(10))


# All of it


TINY = (
    *("seed=0,1", "augment=none,mixup", "dataset=digits", "data.limit=200", "partition=iid", "partition.clients=2"),
    *("train.rounds=1", "unlearn.rounds=1", "retrain.seeds=1", *augmentation.BASE),
)


def test_models_are_shared_by_methods_and_every_page_and_figure_is_there(tmp_path):
    plan = [sweeps.Sweep(name, (*TINY, *augmentation.METHODS[name])) for name in ("relabel", "finetune")]
    seen = augmentation.explored(plan, sweeps.Location(tmp_path / "runs", tmp_path / "store"))
    assert len(seen.runs) == 8 and (seen.runs["status"] == "done").all()
    made = [entry.manifest.stage for entry in entries(tmp_path / "store") if entry.manifest]
    assert [made.count(stage) for stage in ("train", "retrain", "unlearn")] == [4, 4, 8], "no model was made twice"
    assert seen.maps["augment"].tolist() == ["none", "mixup"] * 2 and seen.maps[KL].notna().all()
    augmentation.keep(tmp_path / "kept", seen)
    kept = {path.name for path in (tmp_path / "kept").iterdir()}
    assert {"README.md", "maps.csv", "profiles.png", "forgetting.png", "maps.png"} <= kept
    pages = (tmp_path / "kept" / "README.md").read_text() + page.build(seen.runs, seen.maps)
    assert all(
        said in pages for said in ("How good are the original models?", "Impact profiles", "How hard is the class")
    )
