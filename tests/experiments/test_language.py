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
from experiments.sweeps import Location, Sweep
from fedunlearn.cli import command_line
from fedunlearn.cli.main import conf_dir
from fedunlearn.report import style
from fedunlearn.runs.pipeline import check_method

SEEDS = (0, 1, 2)
# The two methods are asked the same, and so are the two requests.
KINDS = [sweep for sweep in language.full() if not sweep.name.startswith("forget01") and "npo" in sweep.name]
KINDS += [Sweep("gradient", language.full()[1].words), *language.fictions()[-4:], language.quick()[0]]


@pytest.mark.parametrize("sweep", KINDS, ids=lambda sweep: sweep.name)
def test_what_is_asked_for_is_a_configuration(sweep):
    for words in {words[-1]: words for words in sweeps.jobs(sweep)}.values():
        check_method(command_line.read(words, conf_dir()))


def rows(method, back, retain="", way="whole", rate="default", left=0.3, said="dataset=fictions"):
    """A method's rows in every format by seed; `back`: what comes back in four bits, by seed; `said`: other words."""
    asked = f"{said} method={method}" + (f" method.retain={retain}" if retain else "")
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
    same |= {"unlearned.forget_extraction": 0.2}
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
        *rows("npo", (0.0, 0.0, 0.0), "ce", "rank 8", "0.01", 0.4, "dataset=fictions adapter.aggregation=naive"),
        *rows("gradient_difference", (0.5, 0.5, 0.5), "none", left=0.95),
        *rows("retrain", (0.0, 0.0, 0.0)),
        *rows("npo", (0.0, 0.0, 0.0), "ce", said="dataset=tofu 'request.classes=[author 199,author 200]'"),
    ]
    return page.named(pd.DataFrame(every))


def test_methods_have_the_names_of_the_literature(frame):
    assert set(frame["called"]) == {"NPO + GDR", "GA", "retrain"}
    assert set(frame["trained"]) == {"whole", "LoRA", "LoRA, factors averaged"}
    assert set(frame["data"]) == {"fictions", "TOFU, 2 authors (forget01)"}


@pytest.mark.parametrize("sweep", language.full(), ids=lambda sweep: sweep.name)
def test_every_cell_of_the_plan_has_a_name(sweep):
    words = " ".join(sweeps.jobs(sweep)[0])
    way, rate = "whole", "default"
    for word in words.split():
        way = f"rank {word[13:]}" if word.startswith("adapter.rank=") else way
        rate = word[11:] if word.startswith("unlearn.lr=") else rate
    method = next(word[7:] for word in words.split() if word.startswith("method="))
    found = page.named(pd.DataFrame([{"asked": words, "method": method, "way": way, "rate": rate}]))
    assert found["called"].item() in figure.COLOURS or method == "retrain"
    assert ("TOFU" in found["data"].item()) == sweep.name.startswith("forget0")


def test_what_comes_back_is_told_apart_from_what_was_never_gone(frame):
    own = page.of_fictions(frame)
    said = answers.rounding(own, "whole")
    assert "1 of 2 methods forget" in said and "rises in 2 of 2 cells: NPO + GDR at int4 (+0.310" in said
    assert "rises in 0 of 2 cells" in answers.rounding(own, "LoRA")
    assert answers.rounding(own, "whole, small steps") == ""


def test_adapters_are_held_against_whole_weights_of_the_same_seed(frame):
    own = page.of_fictions(frame)
    assert "below 0 in 2 (means from −0.307 to −0.307)" in answers.adapters(own)  # noqa: RUF001
    assert "| NPO + GDR | whole | 0.000" in page.adapters(own) and "| 5 % |" in page.adapters(own)


def test_averaging_factors_is_held_against_averaging_products(frame):
    said = answers.kinds(page.of_fictions(frame), page.NAIVE, page.LORA)
    assert "over 1 methods: forget accuracy +0.100 ± 0.000" in said and said.endswith("seeds: forget accuracy.")
    assert "| NPO + GDR | LoRA, factors averaged | LoRA | +0.100 ± 0.000 |" in page.kinds(page.of_fictions(frame))
    assert answers.kinds(page.of_fictions(frame), page.NAIVE, page.FEDEX) == ""


def test_every_model_has_a_line(frame):
    text = page.build(frame)
    fictions = (1 + 2 + 5) + (1 + 4) + (1 + 1) + (1 + 1)
    tofu = (1 + 2 + 1) + (1 + 1)
    assert text.count("\n| ") == fictions + 4 + tofu + 2  # headers and lines, and what is below headers
    assert "**TOFU, 2 authors (forget01).** Forget accuracy is 1.000" in answers.build(frame)
    with style.styled():
        assert len(figure.formats(frame).axes) == 2


def test_a_small_one_runs(tmp_path):
    sweeps.settle()
    place = Location(tmp_path / "runs", tmp_path / "store")
    plan = language.quick()[1:2]
    found = page.named(pd.concat([forms.table(each.name, sweeps.run_here(each, place)) for each in plan]))
    assert set(found["format"]) == set(FORMATS) and set(found["status"]) == {"done"}
    assert found.loc[found["format"] == "nf4", BACK].notna().all()
