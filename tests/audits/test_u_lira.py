"""U-LiRA on scores made by hand: the ratio by brute force, planted members found as theory says, and no one else."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from fedunlearn.audits import u_lira
from fedunlearn.audits.base import Reference, Shadow
from fedunlearn.audits.u_lira import AUDITS, ULiraSettings, measure, ratios, summed_up
from fedunlearn.errors import RequestError
from fedunlearn.settings.schema import parse

CLASSES = 4
SETTINGS = ULiraSettings(shadows=20)


def halves(shadows: int, samples: int, seed: int = 0) -> np.ndarray:
    """Every shadow holds a random half."""
    stream = np.random.default_rng(seed)
    return np.stack([stream.permutation(samples) < samples // 2 for _ in range(shadows)])


def test_ratios_by_brute_force() -> None:
    stream = np.random.default_rng(0)
    scores, held = stream.normal(size=(7, 5)), stream.random((7, 5)) < 0.5
    held[:, 0] = [True, False, True, False, True, False, True]
    held[:, 4] = [True, False, False, False, False, False, False]  # judged without shadow 0, nobody held it
    found = ratios(scores, scores, held)
    for attacked in range(7):
        others = [number for number in range(7) if number != attacked]
        known = [s for s in range(5) if 0 < sum(held[number, s] for number in others) < 6]
        groups = {
            side: {s: [scores[number, s] for number in others if held[number, s] == side] for s in known}
            for side in (True, False)
        }
        for sample in range(5):
            if sample not in known:
                assert found[attacked, sample] == 0
                continue
            logs = {}
            for side, group in groups.items():
                squares = sum((x - np.mean(values)) ** 2 for values in group.values() for x in values)
                freedom = sum(len(values) - 1 for values in group.values())
                wide = math.sqrt(squares / freedom * (1 + 1 / len(group[sample])))
                logs[side] = norm(np.mean(group[sample]), wide).logpdf(scores[attacked, sample])
            assert found[attacked, sample] == pytest.approx(logs[True] - logs[False])
    assert found[0, 4] == 0


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.0])
def test_the_attack_finds_what_theory_says(shift: float) -> None:
    """Scores N(0, 1), of held samples N(shift, 1): with many shadows the AUC tends to Φ(shift/√2)."""
    held = halves(100, 300)
    level = np.random.default_rng(1).normal(size=300) * 5  # some samples are easier than others: no help to an attacker
    scores = level + np.random.default_rng(2).normal(size=held.shape) + shift * held
    auc, tpr = summed_up(ratios(scores, scores, held), held)
    assert auc == pytest.approx(norm.cdf(shift / math.sqrt(2)), abs=0.015)  # its deviation is below 0.004
    expected = norm.sf(norm.isf(0.01) - shift)
    assert tpr == pytest.approx(expected, abs=0.06)


def test_true_positives_at_one_per_cent_by_hand() -> None:
    """200 negatives at 1 … 200, so that two false alarms are 1 %: whatever is above 198 is found."""
    ratio = np.array([[*range(1, 201), 198.5, 199.5, 0.5, 300.0]])
    held = np.array([[False] * 200 + [True] * 4])
    assert summed_up(ratio, held)[1] == pytest.approx(3 / 4)


def planted(evidence: Any, shadows: int = 20, samples: int = 120, forget: tuple[int, ...] = ()) -> Reference:
    """Samples of class 1 whose true logit is higher by 4 in shadows that held them, before unlearning only.

    At class level it is logit 2, by which the retrained models would call them.
    """
    stream, held = np.random.default_rng(3), halves(shadows, samples, 4)
    labels, planted_in = np.ones(samples, dtype=int), 2 if forget else 1

    def noise() -> np.ndarray:
        return stream.normal(size=(samples, CLASSES)).astype(np.float32)

    def model() -> Any:
        made = evidence(noise() + np.array([0, 0, 3, 0]), labels)
        made.train.forget[:] = True
        return made

    made = []
    for row in held:
        before = noise()
        before[row, planted_in] += 4
        made.append(Shadow(row, before, noise()))
    retrained = (model(), model(), model())
    return Reference(model(), retrained, forget, CLASSES, 0, shadows=tuple(made))


@pytest.mark.parametrize("forget", [(), (1,)])
def test_members_are_found_before_unlearning_and_not_after(evidence: Any, forget: tuple[int, ...]) -> None:
    reference = planted(evidence, forget=forget)
    before = measure(reference.original, reference, SETTINGS)
    after = measure(evidence(np.zeros((120, CLASSES)), np.ones(120)), reference, SETTINGS)
    nothing = [measure(model, reference, SETTINGS)["u_lira_auc"] for model in reference.retrained]
    assert before["u_lira_auc"] > 0.9
    assert before["u_lira_tpr"] > 0.3
    assert after["u_lira_auc"] == pytest.approx(0.5, abs=0.05)  # deviation about 0.012
    assert nothing == pytest.approx([0.5] * 3, abs=0.06)
    assert after["u_lira_tpr"] < 0.05


def test_a_forgotten_logit_is_not_looked_at(evidence: Any) -> None:
    reference = planted(evidence, forget=(1,))
    masked = [Shadow(s.held, s.original - [0, 1000, 0, 0], s.unlearned) for s in reference.shadows]
    other = Reference(reference.original, reference.retrained, (1,), CLASSES, 0, shadows=tuple(masked))
    assert measure(reference.original, reference, SETTINGS) == measure(other.original, other, SETTINGS)


def test_samples_that_nobody_holds_are_no_non_members(evidence: Any) -> None:
    """They would be easy to tell: here they have another score than all others."""
    reference = planted(evidence)
    for shadow in reference.shadows:
        shadow.held[60:] = False
        shadow.original[60:] += [0, 50, 0, 0]
        shadow.unlearned[60:] += [0, 50, 0, 0]
    found = measure(evidence(np.zeros((120, CLASSES)), np.ones(120)), reference, SETTINGS)
    assert found["u_lira_auc"] == pytest.approx(0.5, abs=0.06)


def test_nothing_without_shadows_and_none_where_it_is_not_defined(evidence: Any) -> None:
    reference = planted(evidence)
    assert measure(reference.original, reference, ULiraSettings()) == {}
    none = dict.fromkeys(u_lira.FINDINGS)
    alone = Reference(reference.original, (), (), CLASSES, 0, shadows=reference.shadows)
    assert measure(reference.original, alone, SETTINGS) == none
    single = Reference(reference.original, reference.retrained, (0, 1, 3), CLASSES, 0, shadows=reference.shadows)
    assert measure(reference.original, single, SETTINGS) == none
    whole = tuple(Shadow(np.ones(120, dtype=bool), s.original, s.unlearned) for s in reference.shadows)
    everything = Reference(reference.original, reference.retrained, (), CLASSES, 0, shadows=whole)
    assert measure(reference.original, everything, SETTINGS) == none


def test_too_few_shadows_are_refused() -> None:
    assert [AUDITS["u_lira"].shadows(ULiraSettings(number)) for number in (0, 6)] == [0, 6]
    with pytest.raises(RequestError, match=r"audit.u_lira: shadows must be 0 \(no attack\) or at least 6, not 5"):
        parse(ULiraSettings, {"shadows": 5}, "audit.u_lira")
    with pytest.raises(RequestError, match="at least 0"):
        parse(ULiraSettings, {"shadows": -1}, "audit.u_lira")
