"""Critters: the same bytes everywhere, individuals of their own, as hard to tell apart as asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fedunlearn.data import critters
from fedunlearn.data.critters import CritterSettings
from fedunlearn.data.individuals import Embedding
from fedunlearn.data.sources import load
from fedunlearn.data.types import Dataset
from fedunlearn.errors import RequestError
from fedunlearn.settings.config import Choice, DataConfig
from fedunlearn.settings.schema import parse

FEW = CritterSettings(individuals=3, never_seen=2, train=4, test=3, size=16)
# The same on every machine. Another value is another dataset, and says so here.
KNOWN = "2a23a2bcbcc685b16360d967ae284685c9b4a8e4169217157bef394fd053b4f2"


def draw(settings: CritterSettings = FEW, run: int = 0, **changed: object) -> Dataset:
    return load(Choice("critters", replace(settings, **changed)), DataConfig(), run)


def pixels(dataset: Dataset, which: str = "train") -> np.ndarray:
    return getattr(dataset, which).inputs["images"].numpy().astype(float)


def test_as_many_as_asked_for_and_strangers_apart() -> None:
    made = draw()
    assert (made.task, made.classes, made.sample.shape) == ("identity", 3, (3, 16, 16))
    assert made.train.groups.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert made.test.groups.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert made.unseen is not None and made.unseen.groups.tolist() == [3] * 3 + [4] * 3
    assert made.train.inputs["images"].dtype == torch.uint8
    assert made.options == Embedding()
    assert draw(never_seen=0).unseen is None


def test_the_drawing_has_a_seed_of_its_own() -> None:
    assert draw(run=0).fingerprint == draw(run=5).fingerprint == KNOWN
    assert draw(seed=1).fingerprint != KNOWN


def test_what_is_learnt_and_who_is_kept_back_are_part_of_the_fingerprint() -> None:
    others = [draw(never_seen=0), draw(never_seen=1), draw(embedding=Embedding(loss="triplet"))]
    assert len({KNOWN, *(made.fingerprint for made in others)}) == 4


def test_images_differ_and_so_do_training_and_test() -> None:
    made = draw(train=20, test=20)
    parts = [made.train, made.test, made.unseen]
    everything = torch.cat([part.inputs["images"] for part in parts if part is not None]).flatten(1)
    assert len(torch.unique(everything, dim=0)) == 3 * 40 + 2 * 20


def test_more_individuals_leave_the_others_as_they_are() -> None:
    assert np.array_equal(pixels(draw()), pixels(draw(individuals=5))[:12])
    assert np.array_equal(pixels(draw(individuals=5), "test")[9:], pixels(draw(), "unseen")), "numbers go on"


def test_images_of_one_individual_are_more_alike_than_those_of_two() -> None:
    calm = draw(individuals=6, train=8, variation=0.0, noise=0.0, likeness=0.0)
    coats = pixels(calm)[:, :, 7:10, 5:11].reshape(6, 8, -1)  # the ground is another on every image
    within = coats.std(axis=1).mean()
    assert within < 1 < coats.mean(axis=1).std(axis=0).mean() / 5


def test_coats_are_half_light_and_half_dark() -> None:
    coats = [critters._individual(FEW, number).coat[critters.BACK] for number in range(8)]
    assert [(coat > 0).sum() for coat in coats] == [12] * 8 and [(coat < 0).sum() for coat in coats] == [12] * 8


def test_a_coat_is_light_where_its_field_is_high_and_dark_where_it_is_low() -> None:
    """Its values are 3/7 of the half length of a body apart; the first is at −1.5 to the side and below."""
    field = -np.ones((critters.COAT, critters.COAT), dtype=np.float32)
    field[2, 5] = 1
    columns, rows = (np.array([places]) for places in ([5, 4, 2, 5.5], [2, 2, 5, 2]))
    found = critters._coat(field, columns * 3 / 7 - 1.5, rows * 3 / 7 - 1.5)
    assert found == pytest.approx(np.array([[1, 0, 0, 0.5]]), abs=1e-5)


def test_half_of_the_values_on_the_body_is_meant() -> None:
    places = np.arange(critters.COAT) * 3 / 7 - 1.5
    rows, columns = (np.flatnonzero(abs(places) < half + 0.1) for half in (critters.BODY, 1.0))
    assert [number.tolist() for number in (rows, columns)] == [
        np.arange(critters.COAT)[part].tolist() for part in critters.BACK
    ]


def test_the_more_likeness_the_less_individuals_differ_and_at_1_not_at_all() -> None:
    spread = []
    for likeness in (0.0, 0.5, 1.0):
        animals = [critters._individual(replace(FEW, likeness=likeness), number) for number in range(8)]
        spread.append(float(np.stack([animal.coat for animal in animals]).std(axis=0).mean()))
    assert spread[0] > 1.9 * spread[1] > 0.2 and spread[2] < 1e-6


def test_names_are_all_different_and_forgotten_by_name() -> None:
    names = [critters.name(number) for number in range(250)]
    assert len(set(names)) == 250
    assert names[:3] == ["babo", "deda", "fifu"]


@pytest.mark.parametrize("given", [{"individuals": 1}, {"test": 1}, {"likeness": 1.5}, {"embedding": {"loss": "arc"}}])
def test_what_makes_no_sense_is_refused(given: dict) -> None:
    with pytest.raises(RequestError):
        parse(CritterSettings, given, "dataset")
