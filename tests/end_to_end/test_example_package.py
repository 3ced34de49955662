"""The example packages: built, installed and run, without touching this environment or a file of ours."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The example with a method, installed into a folder of its own."""
    return install("fedunlearn-example", tmp_path_factory)


@pytest.fixture(scope="module")
def regression(tmp_path_factory):
    """The example with a task."""
    return install("fedunlearn-regression", tmp_path_factory)


@pytest.fixture(scope="module")
def audit(tmp_path_factory):
    """The example with an audit."""
    return install("fedunlearn-audit", tmp_path_factory)


def install(name, tmp_path_factory):
    """The folder that the package was installed from, and the environment in which Python finds it."""
    source = tmp_path_factory.mktemp("source") / name
    shutil.copytree(ROOT / "examples" / name, source, ignore=shutil.ignore_patterns("__pycache__"))
    site = tmp_path_factory.mktemp("site")
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--quiet"]
    subprocess.run([sys.executable, "-m", "pip", "install", *offline, "--target", site, source], check=True)
    path = os.pathsep.join([str(site), str(ROOT)])
    return source, {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def call(arguments, environment, folder):
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize(("package", "passed"), [("installed", 3), ("audit", 3), ("regression", 5)])
def test_its_own_tests_pass(package, passed, request, tmp_path):
    source, environment = request.getfixturevalue(package)
    done = call(["pytest", "-q", "-p", "no:cacheprovider", str(source / "tests")], environment, tmp_path)
    assert done.returncode == 0, done.stdout
    assert f"{passed} passed" in done.stdout


def test_its_method_runs_beside_ours(installed, tmp_path):
    _, environment = installed
    words = ["-m", "+experiment=quick", "method=uniform,head_mask", "data.limit=400", "audit=quick"]
    done = call(
        ["fedunlearn", *words, "gates=warn", "train.rounds=3", "train.local_epochs=1", "output.dir=out"],
        environment,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "out" / "0_uniform_s0" / "summary.json").read_text())
    assert summary["config"]["method"] == {"name": "uniform", "amount": 1.0}
    assert summary["models"]["unlearned"] != summary["models"]["original"]
    assert "uniform" in (tmp_path / "out" / "table.md").read_text()


def test_its_audit_is_a_column_of_the_tables(audit, tmp_path):
    _, environment = audit
    words = ["+experiment=quick", "method=head_mask", "audit=quick", "data.limit=400", "gates=warn"]
    done = call(["fedunlearn", *words, "+audit.confidence={temperature: 2}", "output.dir=out"], environment, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "forget confidence" in (tmp_path / "out" / "report.html").read_text().lower()
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert all(0.1 < model["forget_confidence"] <= 1 for model in summary["models"].values())
    assert summary["findings"]["forget_confidence"]["meaning"].startswith("mean probability of the most likely class")


def test_mistakes_in_its_settings_are_one_sentence(installed, tmp_path):
    _, environment = installed
    done = call(["fedunlearn", "method=uniform", "method.amount=2"], environment, tmp_path)
    assert done.returncode == 2
    assert done.stderr == "fedunlearn: method.amount must be a number above 0 and at most 1, not 2\n"


DIABETES = ["dataset=diabetes", "model=perceptron", "request.classes=[0]", "+audit.prediction_error={}"]
SHORT = ["train.rounds=6", "unlearn.rounds=2", "partition.clients=4", "retrain.seeds=2", "gates=warn"]


def summaries(folder):
    found = (json.loads(path.read_text()) for path in sorted(folder.glob("*/summary.json")))
    return {summary["config"]["method"]["name"]: summary for summary in found}


def test_a_task_of_another_package_is_trained_forgotten_audited_and_reported(regression, tmp_path):
    _, environment = regression
    methods = "gradient_ascent,fedosd,federaser"
    words = ["-m", *DIABETES, *SHORT, f"method={methods}", "output.dir=out"]
    done = call(["fedunlearn", *words], environment, tmp_path)
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


def test_many_clients_of_another_task_train_as_one(regression, tmp_path):
    _, environment = regression
    words = [*DIABETES, *SHORT, "method=finetune", "store.enabled=false"]
    for engine in ("local", "stacked"):
        done = call(["fedunlearn", *words, f"engine={engine}", f"output.dir={engine}"], environment, tmp_path)
        assert done.returncode == 0, done.stderr
        assert "one by one" not in done.stdout
    models = [json.loads((tmp_path / name / "summary.json").read_text())["models"] for name in ("local", "stacked")]
    for role in ("original", "unlearned"):
        for name in ("retain_error", "forget_error_train"):
            assert models[1][role][name] == pytest.approx(models[0][role][name], abs=1e-3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["method=fucrt"], "method fucrt is for classification, but dataset=diabetes is for regression"),
        (["method=head_mask"], "method head_mask is for classification, but dataset=diabetes is for regression"),
        (["method=finetune", "model=cnn"], "model cnn is for images, and a sample of this dataset has the shape [10]"),
    ],
)
def test_what_a_task_does_not_define_is_one_sentence(regression, tmp_path, words, said):
    _, environment = regression
    done = call(["fedunlearn", *DIABETES, *words], environment, tmp_path)
    assert (done.returncode, done.stderr) == (2, f"fedunlearn: {said}\n")
