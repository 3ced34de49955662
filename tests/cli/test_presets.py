"""Ready-made settings, `--help` and completion: what people meet before their first run."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from fedunlearn.cli import command_line, main
from fedunlearn.report import figures
from fedunlearn.runs import job
from fedunlearn.settings import registry
from fedunlearn.settings.config import CHOSEN_SECTIONS

PRESETS = {
    "demo": {"dataset": "glyphs", "model": "cnn", "rounds": 10, "seeds": 10, "clients": 10},
    "quick": {"dataset": "digits", "model": "cnn", "rounds": 10, "seeds": 1, "clients": 10},
    "laptop": {"dataset": "fashion_mnist", "model": "cnn", "rounds": 30, "seeds": 3, "clients": 10},
    "fictions": {"dataset": "fictions", "model": "decoder", "rounds": 10, "seeds": 2, "clients": 2},
    "tofu": {"dataset": "tofu", "model": "causal_lm", "rounds": 5, "seeds": 2, "clients": 4},
    "paper": {"dataset": "cifar10", "model": "resnet18", "rounds": 100, "seeds": 3, "clients": 10},
}


def read(*words):
    return command_line.read(list(words), main.conf_dir())


def said(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["fedunlearn", *words])
    try:
        main.main()
    except SystemExit as stop:
        assert not stop.code
    return capsys.readouterr().out


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_what_the_documentation_says(name):
    config = read(f"+experiment={name}")
    found = {"dataset": config.dataset.name, "model": config.model.name, "rounds": config.train.rounds}
    found |= {"seeds": config.retrain.seeds, "clients": config.partition.settings.clients}
    assert found == PRESETS[name]
    assert read(f"+experiment={name}", "train.rounds=50").train.rounds == 50, "the command line wins"
    assert read("train.rounds=50", f"+experiment={name}").train.rounds == 50, "wherever it stands"


def test_quick_runs_and_its_models_are_worth_looking_at(tmp_path, monkeypatch):
    """Ten rounds must be enough for the original model to learn the task and the class."""
    monkeypatch.setattr(figures, "draw", lambda run, **how: [])
    words = ["+experiment=quick", "method=head_mask", f"store.dir={tmp_path / 'store'}"]
    assert job.execute(read(*words).in_folder(tmp_path / "run"), tmp_path / "run", words) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["gates"] and all(summary["gates"].values())


def test_every_preset_is_tested_and_documented():
    files = {path.stem for path in (main.conf_dir() / "experiment").glob("*.yaml")}
    text = (main.conf_dir().parent / "docs" / "sweeps.md").read_text()
    assert files == set(PRESETS) == set(re.findall(r"^\| `\+experiment=(\w+)`", text, re.MULTILINE))


def test_a_preset_of_ones_own(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\ntrain:\n  rounds: 7\n")
    assert command_line.read(["+experiment=mine"], main.conf_dir(), str(tmp_path)).train.rounds == 7


def test_help_lists_every_group_and_choice_and_keys_that_exist(monkeypatch, capsys):
    text = said(monkeypatch, capsys, "--help")
    groups = dict(re.findall(r"^(\w+): (.+)$", text, re.MULTILINE))
    for group, kind in CHOSEN_SECTIONS.items():
        assert set(registry.names(kind)) <= set(groups[group].split(", ")), group
    assert set(groups["experiment"].split(", ")) == set(PRESETS)
    assert "+experiment=quick" in text
    keys = re.findall(r"[ (]([a-z_.]+)=", text[text.index("The keys people need most") : text.index("More:")])
    assert len(set(keys)) >= 10
    with initialize_config_dir(str(main.conf_dir()), version_base="1.3"):
        config = compose("config")
    for key in keys:
        assert OmegaConf.select(config, key, default="absent", throw_on_missing=False) != "absent", key


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("method=he", ["method=head_mask"]),
        ("+experiment=l", ["+experiment=laptop"]),
        ("train.ro", ["train.rounds="]),
        ("retrain.", ["retrain.seeds="]),
    ],
)
def test_completion_knows_choices_and_settings(monkeypatch, capsys, typed, expected):
    """As the shell asks: the line so far in COMP_LINE."""
    monkeypatch.setenv("COMP_LINE", f"fedunlearn {typed}")
    assert said(monkeypatch, capsys, "-sc", "query=bash").split() == expected


def test_help_and_completion_do_not_wait_for_torch():
    code = "import sys; import fedunlearn.cli.main; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_completion_can_be_installed(monkeypatch, capsys, shell):
    assert "fedunlearn" in said(monkeypatch, capsys, "-sc", f"install={shell}")
