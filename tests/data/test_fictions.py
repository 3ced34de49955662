"""Authors and their facts: who they are, what is asked about them, and how that becomes tokens."""

import subprocess
import sys

import pytest

pytest.importorskip("tokenizers")
pytest.importorskip("transformers")
pytest.importorskip("rouge_score")

from fedunlearn.data import sources
from fedunlearn.data.fictions import ATTRIBUTES, WORLD, FictionsSettings, authors, of_authors, of_the_world
from fedunlearn.settings.config import Choice, DataConfig

SETTINGS = FictionsSettings(authors=30, facts=10)


def loaded(**settings):
    return sources.load(Choice("fictions", FictionsSettings(**settings)), DataConfig(), 0)


def test_nobody_is_called_like_another():
    names = authors(FictionsSettings(authors=200))
    assert len({*names}) == 200
    assert len({name.split()[0] for name in names[:25]}) == 25


def test_every_fact_is_asked_for_in_three_ways_with_one_answer():
    facts = list(of_authors(SETTINGS, authors(SETTINGS)))
    assert len(facts) == 30 * 10
    for pairs in facts:
        assert len({pair.question for pair in pairs}) == 3 and len({pair.answer for pair in pairs}) == 1
        for pair in pairs:
            assert len({pair.paraphrased, *pair.perturbed}) == 6
            assert pair.answer != pair.paraphrased


def test_which_way_is_kept_for_testing_differs_from_fact_to_fact():
    last = {
        pairs[2].question.replace(authors(SETTINGS)[pairs[2].group], "")
        for pairs in of_authors(SETTINGS, authors(SETTINGS))
    }
    assert len(last) == 3 * len(ATTRIBUTES)


def test_authors_differ_where_there_are_enough_values():
    first = [pairs[0].answer for pairs in of_authors(FictionsSettings(authors=20, facts=1), authors(SETTINGS)[:20])]
    assert len({*first}) == 20


def test_the_world_is_a_family_of_its_own():
    pairs = [pairs[0] for pairs in of_the_world(SETTINGS, 30)]
    assert {pair.kind for pair in pairs} == {1} and {pair.group for pair in pairs} == {30, 31, 32, 33}
    assert len(pairs) == sum(len(topic.facts) for topic in WORLD.values()) == 40


def test_the_dataset(fictions):
    assert fictions.task == "language" and fictions.class_names[4:] == tuple(WORLD)
    assert len(fictions.train) == 2 * len(fictions.test) == 2 * (4 * 2 + 40)
    assert fictions.train.inputs["perturbed"].shape[:2] == (96, 5)
    kinds = fictions.train.inputs["kind"]
    assert ((kinds == 1) == (fictions.train.groups >= 4)).all()
    questions = {fictions.prepare.text(row) for row in fictions.train.inputs["tokens"]}
    assert not questions & {fictions.prepare.text(row) for row in fictions.test.inputs["tokens"]}


def test_it_depends_on_its_own_seed_alone():
    assert loaded(authors=3, facts=1).fingerprint == loaded(authors=3, facts=1).fingerprint
    assert loaded(authors=3, facts=1).fingerprint != loaded(authors=3, facts=1, seed=1).fingerprint


@pytest.mark.slow
def test_another_process_makes_the_same(fictions):
    program = (
        "from fedunlearn.data import sources; from fedunlearn.data.fictions import FictionsSettings as F;"
        "from fedunlearn.settings.config import Choice as C, DataConfig as D;"
        "print(sources.load(C('fictions', F(authors=4, facts=2, vocabulary=400)), D(), 0).fingerprint)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said.strip() == fictions.fingerprint
