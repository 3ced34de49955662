"""`--rerun` leads back to the configuration that was saved, and a file that it is given is data, never code."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from fedunlearn.cli import rerun
from fedunlearn.errors import RequestError
from fedunlearn.settings.config import RunConfig, from_omegaconf

CONF = Path(__file__).parents[2] / "conf"


def composed(*words: str) -> RunConfig:
    with initialize_config_dir(str(CONF), version_base=None):
        return from_omegaconf(compose("config", overrides=[*words, "output.dir=out"]))


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["audit=quick"],
        ["audit.relearning=null", "audit.cmia.splits=2", "method=relabel", "request.samples={0:3}"],
        [
            "dataset=image_folder",
            "dataset.path='it\\'s, [a] {\"long\"} path\\\\'",
            'data.root="a=b,c"',
            "train.lr=1e-05",
        ],
    ],
)
def test_a_saved_configuration_is_had_again(tmp_path: Path, words: list[str]) -> None:
    first = composed(*words)
    path = tmp_path / "config.yaml"
    path.write_text(OmegaConf.to_yaml(OmegaConf.create(first.as_dict())))
    again = composed(*rerun.expand(["--rerun", str(path)]))
    assert again.as_dict() == first.as_dict()


def test_another_choice_leaves_the_settings_of_the_saved_one_behind(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(composed("engine=ray", "method=fucrt", "audit=quick", "seed=3").as_dict()))
    later = ["engine=local", "method=pruning", "audit=default", "train.rounds=7"]
    again = composed(*rerun.expand(["--rerun", str(path), *later]))
    assert again.as_dict() == composed(*later, "seed=3").as_dict()


def test_a_file_that_holds_some_sections_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("seed: 3\nmethod: {name: pruning}\n")
    assert composed(*rerun.expand(["--rerun", str(path)])).as_dict() == composed("seed=3", "method=pruning").as_dict()


TEXTS = st.text(st.characters(exclude_characters="\0"), max_size=40).filter(lambda text: "${" not in text)
TRICKY = st.text(st.sampled_from("\\'\",[]{}()=:$ \t\n#~+*?|@%/é中null1e5.-"), max_size=20).filter(
    lambda t: "${" not in t
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS | TRICKY
KEYS = st.from_regex(r"\A[a-z][a-z0-9_]{0,8}\Z") | st.integers(0, 10**6).map(str)
NAMES = KEYS.filter(lambda key: key not in ("true", "false", "null", "nan", "inf"))
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4))


@settings(max_examples=150)
@given(VALUES)
def test_hydra_reads_exactly_the_value_that_was_saved(value: object) -> None:
    word = rerun.override("dataset.path", value)
    parsed = OverridesParser.create().parse_override(word)
    assert parsed.is_force_add() and not parsed.is_sweep_override()
    assert same(parsed.value(), value)
    (job,), *_ = BasicSweeper.split_arguments([parsed], None)  # in a sweep, Hydra writes the word anew
    assert same(OverridesParser.create().parse_override(job[0]).value(), value)


def same(read: object, value: object) -> bool:
    """Equal, in kind too (1, 1.0 and true are three things), but for keys, which Hydra reads as numbers."""
    if isinstance(value, dict) and isinstance(read, dict):
        return [str(key) for key in read] == list(value) and all(map(same, read.values(), value.values()))
    if isinstance(value, list) and isinstance(read, list):
        return len(read) == len(value) and all(map(same, read, value))
    return type(read) is type(value) and read == value


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)
REFUSED = {
    "an empty file": (b"", "not the configuration of a run"),
    "no mapping": (b"- seed\n- 1\n", "not the configuration of a run"),
    "a binary file": (bytes(range(256)) * 8, "not a text file"),
    "control characters": (b"seed: \x01\n", "not plain YAML"),
    "half a mapping": (b"train: {rounds: 3\n", "not plain YAML"),
    "two documents": (b"seed: 1\n---\nseed: 2\n", "not plain YAML"),
    "a key given twice": (b"seed: 1\nseed: 2\n", "'seed' is given twice"),
    "a list as a key": (b"? [a]\n: 1\n", "not plain YAML"),
    "a truth value as a key": (b"train: {true: 1}\n", "holds the key True"),
    "an object": (b"seed: !!python/object/apply:os.getcwd []\n", "not plain YAML"),
    "a date": (b"device: 2026-01-01\n", "device is neither text nor a number, but date"),
    "bytes": (b"device: !!binary aGk=\n", "device is neither text nor a number, but bytes"),
    "a number without end": (b"seed: " + b"9" * 6000, "not plain YAML"),
    "an alias bomb": (BOMB.encode(), "anchor or alias"),
    "a single anchor": (b"seed: &one 1\n", "anchor or alias"),
    "endless nesting": (b"seed: " + b"[" * 100_000, "not plain YAML"),
    "deep nesting": (b"seed: " + b"[" * 30 + b"]" * 30, "nested too deeply"),
    "too many entries": (b"request: {classes: [" + b"1," * 50_000 + b"1]}", "holds too much"),
    "too many bytes": (b"seed: 1\n" + b"#" * 1_000_000, "more than 1000000 bytes"),
    "a long text": (b"device: " + b"\\" * 5000, "device is a text of 5000 characters"),
    "a section of Hydra's": (b"hydra: {callbacks: {x: {_target_: sympy.sympify, a: '1'}}}\n", "called 'hydra'"),
    "a section that is misspelt": (b"trian: {rounds: 1}\n", "did you mean train?"),
    "no part of a run": (b"sweep: {dry_run: true}\n", "called 'sweep'"),
    "a setting that is misspelt": (b"train: {round: 1}\n", "did you mean rounds?"),
    "a target": (b"method: {name: fucrt, _target_: os.getcwd}\n", "'_target_', which is no setting"),
    "a target below": (b"method: {name: fucrt, selection: {_target_: os.getcwd}}\n", "'_target_', which is no setting"),
    "a package": (b"train: {'lr@hydra.job.name': x}\n", "called 'lr@hydra.job.name'"),
    "an override in a key": (b"train: {'lr=1,rounds': 3}\n", "called 'lr=1,rounds'"),
    "a key that Hydra reads otherwise": (b"request: {samples: {'1e5': 3}}\n", "request.samples cannot be given"),
    "an interpolation": (b"device: ${oc.env:HOME}\n", "device holds an interpolation"),
    "an interpolation inside": (b"data: {root: 'a/${seed}'}\n", "data.root holds an interpolation"),
    "an interpolation in a list": (b"request: {classes: ['${seed}']}\n", "request.classes[0] holds an interpolation"),
    "an interpolation in a key": (b"request: {samples: {'${seed}': 1}}\n", "request.samples holds an interpolation"),
    "an escaped interpolation": (b"device: '\\${seed}'\n", "device holds an interpolation"),
    "a missing value": (b"device: '???'\n", "device has no value"),
    "a null character": (b'device: "a\\0b"\n', "device has no value"),
    "no method": (b"method: {}\n", "method.name must be the name of a method"),
    "a name for a method": (b"method: fucrt\n", "method takes a group of settings, not 'fucrt'"),
    "a method that is misspelt": (b"method: {name: fucrtt}\n", "did you mean fucrt?"),
    "a list for a section": (b"train: [1]\n", "train takes a group of settings"),
    "another type": (b"train: {rounds: many}\n", "train.rounds must be a whole number"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_configuration_is_refused_in_one_sentence_and_at_once(tmp_path: Path, name: str) -> None:
    content, reason = REFUSED[name]
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    started = time.perf_counter()
    with pytest.raises(RequestError) as refusal:
        rerun.expand(["--rerun", str(path)])
    assert time.perf_counter() - started < 10
    assert reason in str(refusal.value) and len(str(refusal.value).splitlines()) == 1
    assert str(refusal.value).startswith(f"--rerun {path}: ") and len(str(refusal.value)) < 600


def fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.parent,
        lambda path: Path("/dev/zero"),
        fifo,
        lambda path: path,
        lambda path: path / ("a" * 300),
    ],
    ids=["a folder", "a device", "a pipe", "nothing", "a long name"],
)
def test_only_a_file_is_read(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    path = make(tmp_path / "config.yaml")
    with pytest.raises(RequestError, match=r"this is not a file|cannot be read"):
        rerun.expand(["--rerun", str(path)])
