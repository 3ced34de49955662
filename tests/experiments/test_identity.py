"""The experiment on individuals: its jobs can be run, films hardly flicker, its page says what the runs say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

from experiments.identity import __main__ as identity
from experiments.identity import figure, films, page
from fedunlearn.cli import command_line, main
from fedunlearn.data.identity_folder import IdentityFolderSettings, hashes, near_duplicates, read
from fedunlearn.data.splits import Splits
from fedunlearn.runs.pipeline import check_method

PLANNED = [*identity.planned(Path("FACES"), Path("FILMS")), *identity.quick(Path("FILMS"))]
SWEEPS = [sweep for group in PLANNED for sweep in group]


def jobs(words: tuple[str, ...]) -> list[list[str]]:
    parsed = OverridesParser.create().parse_overrides(list(words))
    return BasicSweeper.split_arguments(parsed, None)[0]


@pytest.mark.parametrize("sweep", SWEEPS, ids=lambda sweep: sweep.name)
def test_what_is_asked_for_is_a_configuration(sweep):
    check_method(command_line.read(jobs(sweep.words)[-1], main.conf_dir()))


def test_no_face_is_kept_in_a_run():
    faces = [sweep for sweep in SWEEPS if "dataset.path=FACES" in sweep.words]
    assert faces and all({"audit.retrieval.strips=0", "audit.feature_map=null"} <= {*sweep.words} for sweep in faces)
    assert all("report.figures=false" in sweep.words for sweep in faces)


def test_every_method_forgets_three_individuals_with_three_seeds():
    asked = jobs(identity.FORGOTTEN.words)
    assert len(asked) == len({tuple(job) for job in asked}) == 9 * len(identity.METHODS.split(","))


def test_backbones_are_compared_at_one_pace():
    found = identity.backbones("critters", identity.LARGER, ["cnn", "vgg16"])
    apart = [{word for word in sweep.words if not word.startswith(("model", "dataset.embedding"))} for sweep in found]
    assert apart[0] == apart[1] and [sweep.name for sweep in found] == [
        "backbones_critters_cnn",
        "backbones_critters_vgg16",
    ]
    assert "model.arch=vgg16" in found[1].words and "model=cnn" in found[0].words


def test_places_of_a_machine_are_not_told():
    told = identity.commands(PLANNED, identity.MODELS, Path("FACES"))
    assert "dataset.path=FACES" in told and "dataset.path=FILMS" in told and "--faces DIR\n" in told
    assert "--faces DIR --models cnn vgg16\n" in identity.commands(PLANNED, ["cnn", "vgg16"], Path("FACES"))


def test_frames_of_a_scene_are_near_duplicates_and_scenes_are_not(tmp_path):
    found = Splits(*read(IdentityFolderSettings(str(films.made(tmp_path, 3)), size=24), tmp_path, False, 0))
    assert found.names == ("babo", "deda") and found.unseen is not None
    assert len(found.unseen) >= films.SCENES - 2, "one frame of each scene, unless two scenes are alike"
    own = hashes(found.train.inputs["images"][torch.from_numpy(found.train.groups.numpy() == 0)])
    sizes = np.bincount(near_duplicates(own, 6))
    assert (sizes % films.FRAMES == 0).all()


def made(**more: object) -> dict[str, object]:
    found = {"anchor_accuracy": 0.5, "anchor_f1": 0.4, "retain_tar_1": 0.8, "unseen_tar_1": 0.2, "unseen_tar_most": 0.6}
    found |= {"unseen_tar_least": 0.1}
    found |= {"retain_eer": 0.1, "unseen_eer": 0.2, "unseen_map": 0.3, "forget_map": 0.5, "forget_enrolled_3": 0.7}
    found |= {"false_match_any": 0.1}
    rates = {"original": 0.9, "retrained": 0.3, "unlearned": 0.5}
    models = {f"{model}.{name}": value for model in rates for name, value in found.items()}
    models |= {f"{model}.forget_tar_1": rate for model, rate in rates.items()}
    plain = {"status": "done", "sweep": page.METHODS, "forget": "8", "seed": 0, "verdict": "erased", "method": "fucrt"}
    return {**plain, "dataset": "critters", "model": "cnn", "asked": "loss=triplet", **models, **more}


def test_the_page_says_what_the_runs_say():
    rows = [made(seed=0), made(seed=1, verdict="suppressed", **{"unlearned.forget_tar_1": 0.7})]
    rows += [made(sweep=f"{page.LOSSES}_critters"), made(sweep=page.LEAKS, asked="split=image")]
    rows += [
        made(sweep=f"{page.BACKBONES}_critters_efficientnet_b0", model="torchvision"),
        made(sweep=f"{page.BACKBONES}_critters_efficientnet_b0", model="torchvision", asked="loss=contrastive"),
    ]
    text = page.build(pd.DataFrame(rows))
    assert "in 2 of 2 cells; original models verify it better in 2 of 2" in text
    (line,) = [line for line in text.splitlines() if line.startswith("| fucrt")]
    assert "| 1 of 2 |" in line and "0.600 ± 0.141" in line
    assert "| critters cnn triplet | 0.500 | 0.400 | 0.800 | 0.200 |" in text
    assert "| critters efficientnet_b0 triplet |" in text and "| critters efficientnet_b0 contrastive |" in text
    assert "| image |" in text
    methods = pd.DataFrame(rows[:2])
    left, right = figure.drawn(methods).axes
    assert [line.get_xdata().tolist() for line in left.lines[::2]] == [[0.9, 0.9], [0.3, 0.3], [0.5, 0.7]]
    assert [label.get_text() for label in left.get_yticklabels()] == ["(original)", "(retrained)", "fucrt"]
    assert right.lines[0].get_xdata().tolist() == [0.1, 0.1]
