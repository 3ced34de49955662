"""Overrides made of Python's values and of paths as people write them, read back by Hydra itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from fedunlearn.errors import RequestError
from fedunlearn.runs import overrides


def read(word):
    return OverridesParser.create().parse_override(word)


@pytest.mark.parametrize(
    ("given_as", "path"),
    [
        ("output.dir=~/my runs (1)/é", "{home}/my runs (1)/é"),
        ("output.dir=my runs (1)/é", "my runs (1)/é"),
        ("+dataset.path=~/图像", "{home}/图像"),
        ("++store.dir=a=b", "a=b"),
        ("data.root=it's", "it's"),
        ('data.root=a "b" c)', 'a "b" c)'),
        ("output.dir=choice(", "choice("),
        ("output.dir=x(1)", "x(1)"),
        ("output.dir=2024", "2024"),
        ("output.dir=007", "007"),
        ("output.dir=out (x)/${seed}", "out (x)/${seed}"),
        ("output.dir=c:\\new (2)\\", "c:\\new (2)\\"),
        ("store.dir='~/with quotes'", "{home}/with quotes"),
        ("output.dir=~", "{home}"),
    ],
)
def test_a_path_is_what_it_looks_like(given_as, path):
    (word,) = overrides.with_paths([given_as])
    assert read(word).value() == path.replace("{home}", str(Path.home()))
    assert word.partition("=")[0] == given_as.partition("=")[0]


@pytest.mark.parametrize(
    "word",
    [
        *("output.dir=runs/a", "output.dir=a,b", "output.dir=choice(a,b)", "data.root=null", "output.dir='a (1)'"),
        *("output.dir=${store.dir}/x", "output.dir=", "output.dir=[a]", "seed=~", "seed=1", "~train.lr", "seed"),
        *("output.dir=~x", "request.classes=[é]", "hydra.sweep.subdir=x(1)"),
    ],
)
def test_what_hydra_can_read_and_what_is_no_path_is_left_alone(word):
    assert overrides.with_paths([word]) in ([word], [f'{word.partition("=")[0]}="~x"'])


NAMES = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=12)


@given(NAMES)
def test_every_name_that_hydra_cannot_read_is_quoted_to_itself(name):
    try:
        valid = read(f"output.dir={name}").value()
    except Exception:
        valid = None
    (word,) = overrides.with_paths([f"output.dir={name}"])
    if valid is None and not name.startswith("~"):
        assert word == f"output.dir={name}" or read(word).value() == name
    elif isinstance(valid, str) and not name.startswith("~") and not valid.startswith("~"):
        assert word == f"output.dir={name}"


def test_pythons_values_are_read_back():
    values = {
        "seed": np.int64(3),
        "train": {"lr": 0.1, "rounds": 5, "momentum": np.float32(0.5)},
        "method": "fucrt",
        "request": {"classes": ("Ankle boot", 3), "samples": {3: 20}},
        "output": {"dir": Path("a (b)"), "overwrite": True},
        "data": {"limit": None},
        "audit": {"linear_probe": None, "u_lira": {}},
        "experiment": "quick",
    }
    words = list(overrides.of_keywords(values))
    assert {word.partition("=")[0]: read(word).value() for word in words} == {
        **{"seed": 3, "train.lr": 0.1, "train.rounds": 5, "train.momentum": 0.5, "method": "fucrt"},
        **{"request.classes": ["Ankle boot", 3], "request.samples": {3: 20}, "output.dir": "a (b)"},
        **{"output.overwrite": True, "data.limit": None, "++audit.linear_probe": None, "++audit.u_lira": {}},
        "+experiment": "quick",
    }


def test_lists_are_alternatives_in_a_sweep():
    words = list(
        overrides.of_alternatives({"seed": range(2), "method": ["a", "b"], "request": {"classes": [[1], [2]]}})
    )
    assert words == ["seed=0,1", "method=a,b", "request.classes=[1],[2]"]


def jobs(*words, multirun=True):
    return list(overrides.distinct_jobs(overrides.parse(words), multirun))


def test_every_value_of_a_sweep_is_in_one_job_that_is_checked():
    assert jobs("a=1,2", "b=3", "c=range(0,3)") == [
        *(["a=1", "b=3", "c=0"], ["a=2", "b=3", "c=0"]),
        *(["a=1", "b=3", "c=1"], ["a=1", "b=3", "c=2"]),
    ]


def test_of_an_interval_both_ends_are_checked():
    words = ("hydra/sweeper=optuna", "train.lr=interval(0.01,0.1)", "method=choice(a,b)")
    assert [job[1:] for job in jobs(*words)] == [
        *(["train.lr=0.01", "method=a"], ["train.lr=0.1", "method=a"], ["train.lr=0.01", "method=b"])
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train.lr=interval(0.01,0.1)"], "a sweeper that searches"),
        (["method=glob(zzz*)"], "gives no value at all"),
        (["seed"], "not a setting of the form key=value"),
    ],
)
def test_what_cannot_be_swept_is_said(words, said):
    with pytest.raises(RequestError, match=said):
        jobs(*words)
