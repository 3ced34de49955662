"""The experiment on language models: what is asked for can be run, and the page says what the numbers say."""

from __future__ import annotations

import pandas as pd
import pytest

pytest.importorskip("transformers")

from experiments import sweeps
from experiments.language import __main__ as language
from experiments.language import answers, figure, page
from experiments.language.page import BACK, FORMATS, RATIO
from experiments.survival import forms
from experiments.sweeps import Location
from fedunlearn.cli import command_line
from fedunlearn.cli.main import conf_dir
from fedunlearn.report import style
from fedunlearn.runs.pipeline import check_method

SEEDS = (0, 1, 2)


@pytest.mark.parametrize("sweep", [*language.full(), *language.quick()], ids=lambda sweep: sweep.name)
def test_what_is_asked_for_is_a_configuration(sweep):
    for words in {words[-1]: words for words in sweeps.jobs(sweep)}.values():
        check_method(command_line.read(words, conf_dir()))


def rows(method, back, retain="", way="whole", rate="default", left=0.3):
    """A method's rows in every format by seed; `back`: what comes back in four bits, by seed."""
    asked = f"dataset=fictions method={method}" + (f" method.retain={retain}" if retain else "")
    same = {
        "asked": asked,
        "method": method,
        "way": way,
        "rate": rate,
        "cost.unlearn.bytes_up": 100 if way == "whole" else 5,
    }
    same |= {"original.forget_accuracy": 1.0, "retrained.forget_accuracy": 0.6, "retrained.retain_accuracy": 0.9}
    same |= {"original.retain_accuracy": 0.9, "unlearned.retain_accuracy": 0.8, "unlearned.forget_probability": 0.1}
    same |= {"original.forget_probability": 1.0, "retrained.forget_probability": 0.1}
    for format in FORMATS:
        for seed, value in zip(SEEDS, back, strict=True):
            more = value if format in FORMATS[2:] else 0.0
            sizes = {} if format == "float32" else {BACK: more, RATIO: 0.5, "survival.flipped": 0.2}
            yield {**same, "seed": seed, "format": format, "unlearned.forget_accuracy": left + more, **sizes}


@pytest.fixture
def frame():
    every = [
        *rows("npo", (0.3, 0.31, 0.32), "ce"),
        *rows("npo", (0.0, 0.0, 0.01), "ce", "rank 8", "0.01"),
        *rows("gradient_difference", (0.5, 0.5, 0.5), "none", left=0.95),
        *rows("retrain", (0.0, 0.0, 0.0)),
    ]
    return page.named(pd.DataFrame(every))


def test_methods_have_the_names_of_the_literature(frame):
    assert set(frame["called"]) == {"NPO + retain", "GA", "retrain"}
    assert set(frame["trained"]) == {"whole", "LoRA"}


def test_what_comes_back_is_told_apart_from_what_was_never_gone(frame):
    said = answers.rounding(frame, "whole")
    assert "1 of 2 methods forget" in said and "rises in 2 of 2 cells: NPO + retain at int4 (+0.310" in said
    assert "rises in 0 of 2 cells" in answers.rounding(frame, "LoRA")
    assert answers.rounding(frame, "whole, small steps") == ""


def test_adapters_are_held_against_whole_weights_of_the_same_seed(frame):
    assert "below 0 in 2 (means from −0.307 to −0.307)" in answers.adapters(frame)  # noqa: RUF001
    assert "| NPO + retain | whole | 0.000" in page.adapters(frame) and "| 5 % |" in page.adapters(frame)


def test_every_model_has_a_line(frame):
    text = page.build(frame)
    assert text.count("\n| ") == (1 + 2 + 4) + (1 + 3) + (1 + 1) + 3  # headers, lines, and what is below headers
    with style.styled():
        assert len(figure.formats(frame).axes) == 2


def test_a_small_one_runs(tmp_path):
    sweeps.settle()
    place = Location(tmp_path / "runs", tmp_path / "store")
    plan = language.quick()[1:2]
    found = page.named(pd.concat([forms.table(each.name, sweeps.run_here(each, place)) for each in plan]))
    assert set(found["format"]) == set(FORMATS) and set(found["status"]) == {"done"}
    assert found.loc[found["format"] == "nf4", BACK].notna().all()
