"""KLOM by hand and by brute force; what is planted is found, a masked head is as far as the original."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from fedunlearn.audits import ensembles
from fedunlearn.audits.base import Evidence, Reference, Replica
from fedunlearn.audits.klom import AUDITS, FINDINGS, KlomSettings, divergences, energies, measure
from fedunlearn.errors import RequestError
from fedunlearn.settings.schema import parse

CLASSES = 4
SETTINGS = KlomSettings(replicas=7)
LABELS = np.tile(np.arange(CLASSES), 30)
MASK = np.arange(CLASSES) == 1


def test_by_hand() -> None:
    """Two of twenty bins: shares 1/2 and 1/2 against 1/4 and 3/4. The largest value is in the last bin."""
    mine, theirs = np.array([[0.0], [0.0], [1.0], [1.0]]), np.array([[0.0], [1.0], [1.0], [1.0]])
    assert divergences(mine, theirs) == pytest.approx([math.log(2) / 2 + math.log(2 / 3) / 2])
    assert divergences(mine, mine + 5) == pytest.approx([math.log(1e5) - math.log(2)])
    assert divergences(np.ones((3, 1)), np.ones((3, 1))).tolist() == [0]


def test_by_brute_force() -> None:
    stream = np.random.default_rng(0)
    mine, theirs = stream.normal(size=(8, 60)), stream.normal(0.5, 2, size=(11, 60))
    mine[:, 0] = theirs[:8, 0]
    mine[:, 1] = 3.0  # the same in all models
    for number, found in enumerate(divergences(mine, theirs)):
        a, b = mine[:, number], theirs[:, number]
        both = np.concatenate([a, b])
        counts = [np.histogram(each, bins=20, range=(both.min(), both.max()))[0] for each in (a, b)]
        p, q = (count / count.sum() for count in counts)
        assert sum(map(sum, counts)) == 19
        kept = [share * math.log(share / max(other, 1e-5)) for share, other in zip(p, q, strict=True) if share > 0]
        assert found == pytest.approx(sum(kept))


def test_energy_distance_by_hand_and_by_brute_force() -> None:
    two, other = np.array([[0.0], [1.0]]), np.array([[2.0], [4.0]])
    assert energies(two, other) == pytest.approx([(2 * 2.5 - 1 - 2) / (2 * 2.5)])
    assert energies(np.zeros((3, 1)), np.ones((2, 1))).tolist() == [1]
    assert energies(np.ones((3, 1)), np.ones((2, 1))).tolist() == [0]
    stream = np.random.default_rng(4)
    mine, theirs = stream.normal(size=(8, 3000)), stream.normal(size=(5, 3000))
    assert energies(mine, theirs).mean() == pytest.approx(0, abs=0.02), "no bias, however few there are"


def planted(evidence: Any, forget: tuple[int, ...] = (1,)) -> tuple[Reference, Evidence]:
    """A reference, and an unlearned model like the retrained ones.

    In original models, samples of class 1 have a logit of it that is higher by 12, and one of class 3 that is by 9.
    """
    stream = np.random.default_rng(1)

    def logits(original: bool) -> np.ndarray:
        known = (np.arange(CLASSES) == LABELS[:, None]) & (LABELS != 1)[:, None]
        made = stream.normal(size=known.shape) + 3 * known
        made[LABELS == 1] += [0, 12, 2, 9] if original else [0, 0, 2, 0]
        return np.asarray(made, dtype=np.float32)

    both = [(logits(True), logits(False)) for _ in range(7)]
    replicas = tuple(Replica({"train": a, "test": a}, {"train": b, "test": b}) for a, b in both)
    original, unlearned, *retrained = (evidence(logits(number == 0), LABELS, [1]) for number in range(18))
    return Reference(original, tuple(retrained), forget, CLASSES, 0, replicas=replicas), unlearned


def masked(reference: Reference) -> Reference:
    """The same reference, to a method that masks the head of original models."""
    both = [
        (each.original, {name: np.where(MASK, -1000, z) for name, z in each.original.items()})
        for each in reference.replicas
    ]
    return replace(reference, replicas=tuple(Replica(*each) for each in both))


def test_what_is_planted_is_found_and_models_like_retrained_ones_are_in_their_range(evidence: Any) -> None:
    reference, unlearned = planted(evidence)
    before, after = (cast(Any, measure(each, reference, SETTINGS)) for each in (reference.original, unlearned))
    floor: list[Any] = [measure(subject, reference, SETTINGS) for subject in reference.retrained]
    for name in FINDINGS:
        values = [each[name] for each in floor]
        assert min(values) < after[name] < max(values), name
        told = "forget" in name or "neighbour" in name
        assert (before[name] > max(values)) is told, name
    assert before["klom_curves"]["forget samples"][19] == before["klom_forget_95"]


def test_a_masked_head_saturates_by_its_label_and_is_the_original_by_neighbour(evidence: Any) -> None:
    reference, _ = planted(evidence)
    hidden = evidence(np.where(MASK, -1000, reference.original.train.logits), LABELS, [1])
    found, before = measure(hidden, masked(reference), SETTINGS), measure(reference.original, reference, SETTINGS)
    assert found["klom_forget"] == pytest.approx(math.log(1e5))
    assert found["klom_neighbour"] == before["klom_neighbour"]
    assert found["klom_neighbour_95"] == before["klom_neighbour_95"]


def test_findings_are_means_over_all_draws_of_models(evidence: Any) -> None:
    reference, _ = planted(evidence)
    found = cast(Any, measure(reference.original, reference, KlomSettings(replicas=7, samples=9)))
    asked = ensembles.asked(reference, 9)
    assert found["klom_curves"]["share of samples"] == list(ensembles.QUANTILES)
    for name, label in (("forget", "forget samples"), ("neighbour", "by neighbour"), ("test", "test samples")):
        drawn = list(ensembles.pairs(reference.original, reference, asked[name]))
        each = [divergences(*pair) for pair in drawn]
        assert found[f"klom_{name}"] == pytest.approx(np.mean(each))
        assert found["klom_curves"][label] == pytest.approx(ensembles.quantiles(np.stack(each)))
        assert found[f"energy_{name}"] == pytest.approx(np.mean([energies(*pair) for pair in drawn]))


def test_what_there_is_none_of_is_none(evidence: Any) -> None:
    reference, unlearned = planted(evidence, forget=())
    found = measure(unlearned, reference, SETTINGS)
    assert found["klom_neighbour"] is None and found["klom_neighbour_95"] is None
    assert found["klom_forget"] is not None
    everything = evidence(reference.original.train.logits, LABELS, range(CLASSES))
    found = measure(everything, replace(reference, original=everything), SETTINGS)
    assert found["klom_retain"] is found["energy_test"] is None and found["klom_forget"] is not None
    assert measure(unlearned, reference, KlomSettings()) == {}


def test_too_few_models_are_refused() -> None:
    audit = AUDITS["klom"]
    assert [audit.variants(KlomSettings(number)) for number in (0, 7)] == [
        {"shadow": 0, "replica": 0},
        {"shadow": 0, "replica": 7},
    ]
    assert [audit.retrained(KlomSettings(number)) for number in (0, 7)] == [0, 16]
    with pytest.raises(RequestError, match=r"audit.klom: replicas must be 0 \(off\) or at least 7, not 6"):
        parse(KlomSettings, {"replicas": 6}, "audit.klom")
