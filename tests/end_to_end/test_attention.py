"""The audit attention in a whole run: on a masked head, also rounded, with its pictures and its page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import fedunlearn

WORDS = [
    *("method=head_mask", "data.limit=400", "partition.clients=3", "partition=iid", "request.classes=[3]"),
    *("gates=warn", "train.rounds=3", "unlearn.rounds=1", "retrain.seeds=3", "deploy.formats=[int8]", "audit=quick"),
    "+audit.attention={samples: 10, pictures: 2}",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("attention")
    fedunlearn.run(*WORDS, f"store.dir={place / 'store'}", f"output.dir={place / 'run'}", quiet=True)
    return place / "run"


def test_a_mask_has_the_maps_of_the_original_rounded_or_not_and_that_is_flagged(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    for part in (summary, summary["deployed"]["int8"]):
        original, unlearned = part["models"]["original"], part["models"]["unlearned"]
        assert unlearned["attention_layer_change"] == 0 < part["models"]["retrained"]["attention_layer_change"]
        assert unlearned["attention_forget_forgotten_pearson"] == original["attention_forget_forgotten_pearson"]
        assert part["noise_floor"]["attention_forget_forgotten_pearson"] is not None
    finding = summary["findings"]["attention_forget_predicted_overlap_15"]
    assert finding["direction"] == "similarity" and not finding["counted"]


def test_pictures_are_of_float32_models_and_stand_on_the_page(folder: Path) -> None:
    shown = json.loads((folder / "exhibits" / "attention.json").read_text())
    assert set(shown) == {"original", "retrained_0", "unlearned"}
    assert shown["original"]["forgotten"] == shown["unlearned"]["forgotten"]
    assert {path.name for path in (folder / "figures").glob("attention.*")} == {
        f"attention.{kind}" for kind in ("png", "svg", "pdf")
    }
    assert (folder / "figures" / "narrow" / "attention.svg").is_file()
    assert "Where the models look" in (folder / "report.html").read_text()
