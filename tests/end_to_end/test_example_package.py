"""The example packages: built, installed and run, without touching this environment or a file of ours."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from tests import forked

ROOT = Path(__file__).resolve().parents[2]


PACKAGES = {"fedunlearn-example": 3, "fedunlearn-audit": 3, "fedunlearn-regression": 5}  # and how many tests they bring


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Copies of the packages, in which building them may leave files."""
    folder = tmp_path_factory.mktemp("sources")
    for name in PACKAGES:
        shutil.copytree(ROOT / "examples" / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def site(sources, tmp_path_factory):
    """The folder that they are installed into."""
    folder = tmp_path_factory.mktemp("site")
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--quiet"]
    packages = [sources / name for name in PACKAGES]
    subprocess.run([sys.executable, "-m", "pip", "install", *offline, "--target", folder, *packages], check=True)
    return folder


def run_tests(folder, site, tests):
    """In a child: pytest, with what it says in a file."""
    sys.path.insert(0, str(site))
    os.chdir(folder)
    with (folder / "said").open("w") as said, redirect_stdout(said):
        status = pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests])
    sys.exit(status)


def test_their_own_tests_pass(sources, site, tmp_path):
    child = forked.started(run_tests, tmp_path, site, [str(sources / name / "tests") for name in PACKAGES])
    child.join()
    said = (tmp_path / "said").read_text()
    assert child.exitcode == 0, said
    assert f"{sum(PACKAGES.values())} passed" in said


@pytest.fixture(scope="module")
def swept(site, tmp_path_factory):
    """A sweep over the method of one package and one of ours, with the audit of another."""
    folder = tmp_path_factory.mktemp("swept")
    words = ["-m", "+experiment=quick", "method=uniform,head_mask", "+audit.confidence={temperature: 2}", "audit=quick"]
    words += ["data.limit=200", "gates=warn", "train.rounds=2", "train.local_epochs=1", "report.figures=false"]
    words += ["partition.clients=3", "unlearn.rounds=1"]
    done = forked.command([*words, "output.dir=out"], folder, site)
    assert done.returncode == 0, done.stderr
    return folder / "out"


def test_their_method_runs_beside_ours(swept):
    summary = json.loads((swept / "0_uniform_s0" / "summary.json").read_text())
    assert summary["config"]["method"] == {"name": "uniform", "amount": 1.0}
    assert summary["models"]["unlearned"] != summary["models"]["original"]
    assert "uniform" in (swept / "table.md").read_text()


def test_their_audit_is_a_column_of_the_tables(swept):
    assert "forget confidence" in (swept / "report.html").read_text().lower()
    summary = json.loads((swept / "1_head_mask_s0" / "summary.json").read_text())
    assert all(0.1 < model["forget_confidence"] <= 1 for model in summary["models"].values())
    assert summary["findings"]["forget_confidence"]["meaning"].startswith("mean probability of the most likely class")


def test_mistakes_in_their_settings_are_one_sentence(site, tmp_path):
    done = forked.command(["method=uniform", "method.amount=2"], tmp_path, site)
    assert done.returncode == 2
    assert done.stderr == "fedunlearn: method.amount must be a number above 0 and at most 1, not 2\n"


DIABETES = ["dataset=diabetes", "model=perceptron", "request.classes=[0]", "+audit.prediction_error={}"]
SHORT = ["train.rounds=3", "unlearn.rounds=2", "partition.clients=3", "retrain.seeds=2", "gates=warn"]
SHORT += ["report.figures=false"]


def summaries(folder):
    found = (json.loads(path.read_text()) for path in sorted(folder.glob("*/summary.json")))
    return {summary["config"]["method"]["name"]: summary for summary in found}


def test_a_task_of_another_package_is_trained_forgotten_audited_and_reported(site, tmp_path):
    methods = "gradient_ascent,fedosd,federaser"
    words = ["-m", *DIABETES, *SHORT, f"method={methods}", "output.dir=out"]
    done = forked.command(words, tmp_path, site)
    assert done.returncode == 0, done.stderr
    found = summaries(tmp_path / "out")
    assert set(found) == set(methods.split(","))
    for summary in found.values():
        said = summary["models"]["unlearned"]
        assert said["forget_error_train"] > 0
        assert "leak" not in summary["findings"], "audits of classes have nothing to say here"
        assert summary["verdict"]["word"] is None or "forget_error_train" in summary["verdict"]["margins"]
    trained = [summary["models"]["unlearned"]["retain_accuracy_train"] for summary in found.values()]
    assert len(set(trained)) > 1
    table = (tmp_path / "out" / "table.md").read_text()
    assert "Forget error (train)" in table and "gradient_ascent" in table
    assert "under 40" in (tmp_path / "out" / "report.html").read_text()


def test_many_clients_of_another_task_train_as_one(site, tmp_path):
    words = [*DIABETES, *SHORT, "method=finetune", "store.enabled=false", "retrain.seeds=1", "audit=quick"]
    for engine in ("local", "stacked"):
        done = forked.command([*words, f"engine={engine}", f"output.dir={engine}"], tmp_path, site)
        assert done.returncode == 0, done.stderr
        assert "one by one" not in done.stdout
    models = [json.loads((tmp_path / name / "summary.json").read_text())["models"] for name in ("local", "stacked")]
    for role in ("original", "unlearned"):
        for name in ("retain_error", "forget_error_train"):
            assert models[1][role][name] == pytest.approx(models[0][role][name], abs=1e-3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["method=fucrt"], "method fucrt is for classification or identity, but dataset=diabetes is for regression"),
        (["method=head_mask"], "method head_mask is for classification, but dataset=diabetes is for regression"),
        (["method=finetune", "model=cnn"], "model cnn is for images, and a sample of this dataset has the shape [10]"),
    ],
)
def test_what_a_task_does_not_define_is_one_sentence(site, tmp_path, words, said):
    done = forked.command([*DIABETES, *words], tmp_path, site)
    assert (done.returncode, done.stderr) == (2, f"fedunlearn: {said}\n")
