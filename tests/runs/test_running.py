"""Keys and code: every edit to what takes part changes the keys that it can matter to, wherever the edited line is."""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from fedunlearn import sources
from fedunlearn.runs import running
from fedunlearn.runs.running import AUDITING, TRAINING, behind
from fedunlearn.settings import registry
from fedunlearn.sources import Sources, package
from tests import forked

ORIGINAL, RETRAINED, UNLEARNED, AUDIT = "original", "retrained", "unlearned", "audit"
EVERY = {ORIGINAL, RETRAINED, UNLEARNED, AUDIT}
FILES = {
    "plug/__init__.py": "",
    "plug/shared.py": "FACTOR = 1\n",
    "plug/methods/__init__.py": "",
    "plug/methods/base.py": "TWICE = 2\n",
    "plug/methods/mine.py": """
from dataclasses import replace
from fedunlearn.methods.finetune import METHODS
from plug.methods.base import TWICE
from plug.shared import FACTOR

def checked(settings, config):
    from plug.lazy import limit
    limit(config)

def strategy(settings, spec, pack, device):
    from plug import server
    return server.Server(settings, spec, pack, device)

MINE = replace(METHODS["finetune"], name="mine", check=checked, strategy=strategy)
""",
    "plug/lazy.py": "def limit(config):\n    return FLOOR\n\nFLOOR = 3\n",
    "plug/server.py": "from fedunlearn.federation.strategy import UnlearningStrategy as Server\nRATE = 1\n",
    "plug_nets.py": """
from dataclasses import replace
from fedunlearn.models.cnn import MODELS
NET = replace(MODELS["cnn"], name="net")
""",
    "plug_split.py": """
from dataclasses import replace
from fedunlearn.data.partition import PARTITIONERS
import plug_split_helper
SPLIT = replace(PARTITIONERS["iid"], name="mysplit")
""",
    "plug_split_helper.py": "EVENLY = 1\n",
    "plug_single.py": """
from dataclasses import replace
from fedunlearn.methods.finetune import METHODS

def checked(settings, config):
    import plug_single_helper
    return plug_single_helper.SIZE

SINGLE = replace(METHODS["finetune"], name="single", check=checked)
""",
    "plug_single_helper.py": "from plug_single_constants import SIZE\n",
    "plug_single_constants.py": "SIZE = 1\n",
    "plug_audit/__init__.py": """
from dataclasses import replace
from fedunlearn.audits.accuracy import AUDITS
from plug_measures.inner import scaled
MEASURED = replace(AUDITS["accuracy"], name="measured")
""",
    "plug_measures/__init__.py": "",
    "plug_measures/inner.py": "from . import scale\ndef scaled(value):\n    return value * scale.SCALE\n",
    "plug_measures/scale.py": "SCALE = 1\n",
    "plug-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: plug\nVersion: 1.0\n",
    "plug-1.0.dist-info/entry_points.txt": """
[fedunlearn.methods]
mine = plug.methods.mine:MINE
single = plug_single:SINGLE
[fedunlearn.models]
net = plug_nets:NET
[fedunlearn.partitioners]
mysplit = plug_split:SPLIT
[fedunlearn.audits]
measured = plug_audit:MEASURED
""",
}
SMALL = ["data.limit=150", "partition.clients=3", "gates=warn", "train.rounds=1", "unlearn.rounds=1", "retrain.seeds=1"]
MINE, SINGLE, NET, SPLIT = ["method=mine"], ["method=single"], ["model=net"], ["partition=mysplit"]
MEASURED = ["audit=quick", "+audit.measured={}"]


def keys_in_child(folder: Path, words: list[str], answer: Path) -> None:
    """In a fresh process: the keys of a run's steps by role, with `folder` first on Python's path."""
    sys.path.insert(0, str(folder))
    from fedunlearn.cli import command_line
    from fedunlearn.cli.main import conf_dir
    from fedunlearn.federation.federation import open_federation
    from fedunlearn.runs import composing, steps

    sources.remember()
    composing.register_plugins()
    config = command_line.read([*SMALL, *words], conf_dir())
    found: dict[str, list[str]] = {}
    for step in steps.of_run(config, open_federation(config)):
        found.setdefault(step.role, []).append(step.key)
    answer.write_text(json.dumps(found))


def keys_of(folder: Path, words: list[str]) -> dict[str, list[str]]:
    """`keys_in_child` in a process that is forked from one where what is not to be edited has been imported."""
    answer = folder / "answer.json"
    child = forked.started(keys_in_child, folder, words, answer)
    child.join()
    assert child.exitcode == 0
    found: dict[str, list[str]] = json.loads(answer.read_text())
    answer.unlink()
    return found


@pytest.fixture
def plug(tmp_path: Path) -> Path:
    """A folder on PYTHONPATH in which a distribution's packages, modules and metadata lie."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.skipif(os.name != "posix", reason="processes are forked")
@pytest.mark.parametrize(
    ("words", "edited", "old", "new", "changed"),
    [
        pytest.param(MINE, "plug/shared.py", "1", "2", {UNLEARNED, AUDIT}, id="helper outside the method's package"),
        pytest.param(MINE, "plug/methods/base.py", "2", "3", {UNLEARNED, AUDIT}, id="helper called base"),
        pytest.param(MINE, "plug/lazy.py", "3", "4", {UNLEARNED, AUDIT}, id="imported in a function"),
        pytest.param(MINE, "plug/server.py", "RATE = 1", "RATE = 2", {UNLEARNED, AUDIT}, id="server elsewhere"),
        pytest.param(SINGLE, "plug_single.py", "SIZE", "SIZE + 1", {UNLEARNED, AUDIT}, id="single module"),
        pytest.param(SINGLE, "plug_single_helper.py", "\n", "\nA = 1\n", {UNLEARNED, AUDIT}, id="its helper"),
        pytest.param(SINGLE, "plug_single_constants.py", "1", "2", {UNLEARNED, AUDIT}, id="imported constant"),
        pytest.param(NET, "plug_nets.py", "\nNET", "\nA = 1\nNET", EVERY, id="model"),
        pytest.param(SPLIT, "plug_split.py", "\nSPLIT", "\nA = 1\nSPLIT", EVERY, id="partitioner"),
        pytest.param(SPLIT, "plug_split_helper.py", "1", "2", EVERY, id="the partitioner's helper"),
        pytest.param(MEASURED, "plug_measures/scale.py", "1", "2", {AUDIT}, id="an audit's helper in another package"),
        pytest.param([], "plug/shared.py", "1", "2", set(), id="what takes no part"),
    ],
)
def test_an_edit_to_a_plugin_changes_the_keys_it_matters_to(
    plug: Path, words: list[str], edited: str, old: str, new: str, changed: set[str]
) -> None:
    before = keys_of(plug, words)
    text = (plug / edited).read_text()
    assert old in text
    (plug / edited).write_text(text.replace(old, new))
    after = keys_of(plug, words)
    assert {role for role in EVERY if before[role] != after[role]} == changed


# The rooms of this package


def edited(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the process had found another text in the file."""
    files = [
        sources.SourceFile(file.name, file.path, file.content + b"\n# edited\n", file.stamp)
        if file.name == f"fedunlearn/{path}"
        else file
        for file in package("fedunlearn")
    ]
    assert any(file.content.endswith(b"# edited\n") for file in files)
    monkeypatch.setattr(running, "package", lambda name: tuple(files))


METHOD, OTHER_METHOD, MEASURE = (("method", "fucrt"),), (("method", "finetune"),), (("audit", "membership"),)


@pytest.mark.parametrize(
    ("path", "matters"),
    [
        ("models/base.py", {"fucrt", "finetune", "membership"}),  # how start weights are seeded
        ("randomness.py", {"fucrt", "finetune", "membership"}),
        ("runs/runner.py", {"fucrt", "finetune", "membership"}),
        ("federation/sgd.py", {"fucrt", "finetune", "membership"}),
        ("engines/local.py", {"fucrt", "finetune", "membership"}),
        ("data/partition.py", {"fucrt", "finetune", "membership"}),
        ("tasks/classification.py", {"fucrt", "finetune", "membership"}),
        ("methods/fucrt.py", {"fucrt"}),
        ("methods/transformation.py", {"fucrt"}),
        ("audits/membership.py", {"membership"}),
        ("audits/linear_probe.py", {"membership"}),
        ("audits/base.py", {"membership"}),
        ("report/page.py", set()),
        ("cli/main.py", set()),
        ("runs/console.py", set()),
        ("tracking/mlflow.py", set()),
        ("results/verdict.py", set()),
    ],
)
def test_what_each_room_matters_to(path: str, matters: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def found() -> dict[str, object]:
        behind.cache_clear()
        asked = {"fucrt": METHOD, "finetune": OTHER_METHOD, "membership": MEASURE}
        return {name: behind(members, TRAINING).determinants for name, members in asked.items()}

    before = found()
    edited(path, monkeypatch)
    after = found()
    behind.cache_clear()
    assert {name for name in before if before[name] != after[name]} == matters


@pytest.mark.parametrize(
    ("path", "matters"),
    [("select/energy.py", {"energy"}), ("select/distance.py", {"energy"}), ("select/base.py", {"energy", "random"})],
)
def test_a_selector_matters_where_it_selects(path: str, matters: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"none": METHOD, **{name: (*METHOD, ("selector", name)) for name in ("energy", "random")}}

    def found() -> dict[str, object]:
        behind.cache_clear()
        return {name: behind(members, TRAINING).determinants for name, members in asked.items()}

    before = found()
    edited(path, monkeypatch)
    after = found()
    behind.cache_clear()
    assert {name for name in before if before[name] != after[name]} == matters


@pytest.mark.parametrize("path", ["results/verdict.py", "results/gates.py", "runs/summarise.py"])
def test_what_sums_a_run_up_is_in_its_signature_alone(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = running.summing_up().determinants
    edited(path, monkeypatch)
    assert running.summing_up().determinants != before


def test_no_member_of_ours_imports_by_a_name_that_it_makes_up() -> None:
    """Imports are read from the text; one that is put together when it runs would be overlooked."""
    for file in package("fedunlearn"):
        if file.name.split("/")[1] in running.MEMBERS:
            assert not {"importlib", "runpy"} & file.imports, file.name


def test_every_room_is_placed_on_purpose() -> None:
    """A new file counts as one that can change numbers unless it is listed among those that only show."""
    files = {file.name.split("/", 1)[1] for file in package("fedunlearn")}
    for name in (*running.SHOWING_RUNS, *running.SUMMING_UP):
        assert f"runs/{name}.py" in files
    for room in (*running.SHOWING, *running.MEMBERS):
        assert any(name == room or name.startswith(f"{room}/") for name in files)


def test_versions_are_those_installed() -> None:
    import sklearn
    import torch

    found = behind(MEASURE, AUDITING).determinants["versions"]
    assert found["scikit-learn"] == sklearn.__version__
    assert found["torch"] == torch.__version__ or found["torch"] == torch.__version__.partition("+")[0]


def test_changes_are_those_of_what_takes_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "helper_of_nobody.py").write_text("A = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint("nobody", "helper_of_nobody:A", "fedunlearn.methods")
    monkeypatch.setattr(registry, "origin", lambda kind, name: point)
    behind.cache_clear()
    code = behind((("method", "nobody"),), ())
    assert isinstance(code.parts["helper_of_nobody"], Sources) and code.changes() == []
    (tmp_path / "helper_of_nobody.py").write_text("A = 2\n")
    assert code.changes() == [tmp_path / "helper_of_nobody.py"]
    behind.cache_clear()
