"""The audit of the audits: what is planted is what it says, and rates and thresholds are those of a slow loop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from experiments.audit_power import __main__ as audit_power
from experiments.audit_power import figure, judging, page, planted, power
from experiments.sweeps import Location
from fedunlearn.cli import command_line
from fedunlearn.cli.main import conf_dir
from fedunlearn.randomness import derive
from fedunlearn.results.findings import Finding
from fedunlearn.results.verdict import Judged
from fedunlearn.runs import federations, steps
from fedunlearn.runs.pipeline import check_method

UP = Finding("up", "up", "", "up", "0 to 1", counted=True)
DOWN = Finding("down", "down", "", "down", counted=True, finest=1.0)


def test_what_is_asked_for_is_a_configuration():
    for cell in {cell.dataset: cell for cell in [*audit_power.full(), *audit_power.fresh(audit_power.full())]}.values():
        check_method(command_line.read(list(cell.all_words), conf_dir()))


def test_cells_are_judged_that_nothing_was_chosen_on():
    cells = audit_power.full()
    assert len({cell.name for cell in cells}) == len(cells)
    chosen, judged = ([c for c in cells if c.part == part] for part in (audit_power.CHOOSING, audit_power.JUDGING))
    assert len(judged) >= 24
    assert {c.dataset for c in judged} == {c.dataset for c in chosen}
    assert not {(c.dataset, c.forget) for c in judged} & {(c.dataset, c.forget) for c in chosen}
    for some in (audit_power.fresh(cells), audit_power.fresh(cells[:8])):
        assert {c.part for c in some} == {audit_power.CHOOSING, audit_power.JUDGING}


# What is planted ---------------------------------------------------------------------------------------------------


def test_samples_left_in_are_some_that_clients_hold_and_a_larger_share_holds_the_smaller(make_federation):
    federation = make_federation(clients=3, forget=(1,), per_class=12)
    parts = [np.setdiff1d(part, np.flatnonzero(federation.request.forget)[:2]) for part in federation.parts]
    federation = federation.replaced(parts=parts)  # nobody holds two of the twelve
    held = federation.request.forget & np.isin(np.arange(len(federation.request.forget)), np.concatenate(parts))
    before = np.zeros_like(held)
    for share, count in ((0.02, 1), (0.1, 1), (0.11, 2), (0.3, 3), (1.0, 10)):
        found = planted.left_in(federation, share).request
        kept = federation.request.forget & ~found.forget
        assert kept.sum() == count and not (kept & ~held).any() and (before <= kept).all()
        assert found.classes == federation.request.classes
        before = kept


def test_a_mixture_is_so_much_of_each():
    one, other = ({"w": torch.full((2,), x), "n": torch.tensor(int(x))} for x in (1.0, 5.0))
    mixed = planted.mixture(one, other, 0.25)
    assert mixed["w"].tolist() == [2.0, 2.0] and mixed["n"] == 1


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    """One tiny cell, and where it was made."""
    place = Location(tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("store"))
    return audit_power.measured(audit_power.quick()[1], place), place


def test_a_quick_cell_has_every_kind_of_model_and_is_found_again(cell):
    rows, place = cell
    counts = rows.groupby("kind")["dose"].apply(list).to_dict()
    assert counts == {
        "original": [1.0],
        "head mask": [1.0],
        "retrained": [0.0] * 4,
        **{k: list(d) for k, d in planted.DOSES.items()},
    }
    by = rows.set_index(["kind", "dose"])["ausuc"]
    assert by["head mask", 1.0] == pytest.approx(by["original", 1.0], abs=1e-6)
    assert rows.groupby("kind")["ausuc"].nunique()["left in"] == 3
    made = {path: path.stat().st_mtime_ns for path in place.store.rglob("*.safetensors")}
    again = audit_power.measured(audit_power.quick()[1], place)
    pd.testing.assert_frame_equal(again, rows)
    assert made == {path: path.stat().st_mtime_ns for path in place.store.rglob("*.safetensors")}


def test_the_twin_begins_as_the_original_and_is_no_other_retrained_model():
    config = command_line.read(list(audit_power.quick()[0].all_words), conf_dir())
    story = steps.of_run(replace(config, audit=()), federations.opened(config))
    (original,), retrained, twin = story.of("original"), story.of("retrained"), planted.twin(story)
    begins = [derive(step.work.spec.seed, step.work.spec.stage) for step in (original, twin, *retrained)]
    assert begins[0] == begins[1] and len(set(begins)) == 1 + len(retrained)
    assert twin.work.spec.method == "retrain" and twin.key not in {step.key for step in (original, *retrained)}


# The statistics ----------------------------------------------------------------------------------------------------


def models(retrained: list[tuple[float, float]], **others: tuple[float, float]) -> pd.DataFrame:
    """Rows of one cell with the findings `up` and `down`; others are planted with dose 0.3."""
    rows = [{"kind": "retrained", "dose": 0.0, "up": up, "down": down} for up, down in retrained]
    rows += [{"kind": kind, "dose": 0.3, "up": up, "down": down} for kind, (up, down) in others.items()]
    return pd.DataFrame(rows).assign(cell="c", part="judging", dataset="d", forget_samples=10, classes=10)


def test_distances_are_the_verdicts_margins_plus_one():
    values, centre, half = np.array([3.0, 3.0]), np.array([1.0, 1.0]), np.array([0.5, 4.0])
    found = power.distance(values, centre, half, np.array([1, -1]))
    assert found.tolist() == [4.0, -0.5]
    judged = [Judged("", "", 3.0, 1.0, h, h, side) for h, side in ((0.5, 1), (4.0, -1))]
    assert [each.margin + 1 for each in judged] == found.tolist()


def test_a_band_without_width_is_left_at_once():
    found = power.distance(np.array([1.0, 2.0, 0.0]), np.ones(3), np.zeros(3), np.ones(3))
    assert found.tolist() == [0.0, np.inf, -np.inf]


def test_of_three_models_two_are_drawn_and_the_third_is_held_against_them():
    rows = models([(0.0, 8.0), (1.0, 8.0), (3.0, 8.0)], original=(9.0, 0.0), planted=(2.0, 4.0))
    found = power.distances(rows, [UP, DOWN], 2, draws=300)
    width = 18.5
    expected = {  # by hand: the third against mean and range of the other two
        (3.0 - 0.5) / (width * 1.0),
        (1.0 - 1.5) / (width * 3.0),
        (0.0 - 2.0) / (width * 2.0),
    }
    assert set(np.round(found.retrained[:, 0], 9)) == {round(x, 9) for x in expected}
    assert (found.retrained[:, 1] == 0).all()
    assert list(found.planted) == [("planted", 0.3)], "the original is nobody's judge here"
    against = {(2.0 - mean) / (width * span) for mean, span in ((0.5, 1.0), (1.5, 3.0), (2.0, 2.0))}
    up, down = found.planted["planted", 0.3].T
    assert set(np.round(up, 9)) == {round(x, 9) for x in against}
    assert (down == 4.0).all(), "(8 - 4) samples against a band of one sample: less is more here"


def test_at_most_one_in_twenty_is_beyond_a_threshold():
    cells = [np.arange(0.0, 10.0)[:, None], np.arange(10.0, 20.0)[:, None]]
    assert power.threshold(cells) == [19.0]
    stream = np.random.default_rng(0)
    values = stream.normal(size=(401, 3))
    assert ((values > power.threshold([values])).mean(axis=0) <= power.FALSE_ALARMS).all()


def test_thresholds_are_of_the_choosing_cells_alone():
    even, odd = [[(x, 0.0) for x in bank] for bank in ((0.0, 0.1, 0.25, 0.5), (0.0, 0.01, 0.02, 9.0))]
    choosing = models(even, planted=(100.0, 0.0)).assign(cell="a", part="choosing")
    judged = models(odd, planted=(0.01, 0.0)).assign(cell="b")
    table = power.table(pd.concat([choosing, judged]), [UP])
    assert set(table["n"]) == {2}, "four cannot be drawn of four"
    limit = power.threshold([power.distances(choosing, [UP], 2).retrained])
    assert set(table["threshold"]) == set(limit)
    rate = table.set_index(["cell", "kind"])["rate"]
    assert rate["a", "planted"] == 1.0 and rate["b", "planted"] == 0.0
    assert rate["a", "retrained"] <= power.FALSE_ALARMS < 0.2 < rate["b", "retrained"], "9 is drawn last by one in four"


def test_intervals_are_over_cells():
    assert power.interval(np.array([0.25, 0.25, 0.25])) == (0.25, 0.25)
    assert np.isnan(power.interval(np.array([0.25]))).all()
    low, high = power.interval(np.array([0.0, 1.0] * 8))
    assert low == pytest.approx(0.25, abs=0.07) and high == pytest.approx(0.75, abs=0.07)


# The verdict's errors ----------------------------------------------------------------------------------------------


def known(forget: float, value: float) -> dict:
    return {"forget_accuracy": forget, "retain_accuracy": 0.9, "ausuc": value}


def judged_cell() -> pd.DataFrame:
    rows = [{"kind": "retrained", "dose": 0.0, **known(0.0, x / 20)} for x in range(10)]
    rows += [
        {"kind": "original", "dose": 1.0, **known(0.9, 9.0)},
        {"kind": "head mask", "dose": 1.0, **known(0.0, 9.0)},
    ]
    return pd.DataFrame(rows).assign(cell="c", part="judging", forget_samples=100, classes=10)


def test_verdicts_of_models_that_are_known():
    declared = {name: page.declarations()[name] for name in known(0, 0)}
    said = judging.words(judged_cell(), judging.counting(declared, ["ausuc"]), draws=20)
    by = said.set_index(["kind", "word"])["share"]
    assert by["head mask", "suppressed"] == 1.0 and by["retrained", "erased"] == 1.0
    blind = judging.words(judged_cell(), judging.counting(declared, []), draws=2)
    assert set(blind["word"]) == {judging.NONE}


def test_rates_take_cells_for_the_sample():
    said = pd.DataFrame(
        {"kind": "retrained", "dose": 0.0, "word": "suppressed", "share": [1.0, 0.5], "cell": ["a", "b"]}
    )
    said.loc[2] = ["retrained", 0.0, "erased", 0.5, "b"]
    said.loc[3] = ["retrained", 0.0, "erased", 1.0, "c"]
    (line,) = judging.rates(said, "suppressed").to_dict("records")
    assert (line["share"], line["cells"], line["ever"]) == (0.5, 3, 2)
    z = 1.959964  # Wilson's interval of 1.5 in 3
    half = z * np.sqrt(0.25 / 3 + z**2 / 36) / (1 + z**2 / 3)
    assert (line["low"], line["high"]) == pytest.approx((0.5 - half, 0.5 + half))


# The page ----------------------------------------------------------------------------------------------------------


def test_findings_have_power_that_see_head_masks_ordered_by_their_power_against_small_doses():
    lines = [("surface", "left in", 0.1, 1.0), ("surface", "head mask", 1.0, 0.1)]
    lines += [(name, "head mask", 1.0, 0.9) for name in ("weak", "strong", "late")]
    lines += [("weak", "left in", 0.1, 0.2), ("strong", "left in", 0.1, 0.6), ("strong", "mixture", 0.3, 0.4)]
    lines += [("late", "mixture", 0.5, 1.0), ("late", "mixture", 0.3, 0.1)]
    found = pd.DataFrame(lines, columns=["finding", "kind", "dose", "mean"]).assign(n=8)
    more = found.assign(n=16, mean=0.0)
    assert page.choice(pd.concat([found, more])) == ["strong", "weak", "late"]


def test_page_and_figure_are_made_of_the_rows(cell):
    judged = cell[0]
    rows = pd.concat([judged, judged.assign(part="choosing", cell="other")])
    fresh = audit_power.measured(audit_power.quick()[1], cell[1], (5, 10))
    assert fresh.groupby("forget_samples")["kind"].count().tolist() == [len(judged)] * 2
    values = [
        fresh[fresh["forget_samples"] == count][["retain_accuracy", "forget_accuracy_train"]] for count in (5, 10)
    ]
    assert values[0].to_numpy().tolist() == values[1].to_numpy().tolist(), "of the same models"
    areas = [some[some["kind"] == "original"]["ausuc"].iloc[0] for _, some in fresh.groupby("forget_samples")]
    assert len({*areas, judged[judged["kind"] == "original"]["ausuc"].iloc[0]}) == 3, "on other samples"
    found = page.results(rows, pd.concat([fresh, fresh.assign(part="choosing", cell="other")]))
    text = page.build(found)
    assert "1 of letters for judging, 1 of letters for choosing" in text and "power, 5 samples" in text
    assert "| finding | power, letters | false alarms, letters |" in text
    assert "| **AUSUC leak** |" in text and "| left in 0.02, now |" in text
    assert set(found.counted) == {"ausuc", "gamma_recovered"} and set(found.power["n"]) == {2}
    drawn = figure.power(found)
    assert len(drawn.axes) == 4 and "ausuc" in figure.shown(found)
