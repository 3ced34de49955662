"""`--rerun` leads back to the configuration that was saved, audits that were switched off included."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir

from fedunlearn.cli import command_line
from fedunlearn.settings.config import RunConfig, from_omegaconf

CONF = Path(__file__).parents[2] / "conf"


def composed(*words: str) -> RunConfig:
    with initialize_config_dir(str(CONF), version_base=None):
        return from_omegaconf(compose("config", overrides=[*words, "output.dir=out"]))


@pytest.mark.parametrize(
    "words",
    [[], ["audit=quick"], ["audit.relearning=null", "audit.cmia.splits=2", "method=relabel", "request.samples={0:3}"]],
)
def test_a_saved_configuration_is_had_again(tmp_path: Path, words: list[str]) -> None:
    first = composed(*words)
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(first.as_dict()))
    again = composed(*command_line.expand_rerun(["--rerun", str(path)]))
    assert again.as_dict() == first.as_dict()


def test_another_choice_leaves_the_settings_of_the_saved_one_behind(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(composed("engine=ray", "method=fucrt", "audit=quick", "seed=3").as_dict()))
    later = ["engine=local", "method=pruning", "audit=default", "train.rounds=7"]
    again = composed(*command_line.expand_rerun(["--rerun", str(path), *later]))
    assert again.as_dict() == composed(*later, "seed=3").as_dict()
