"""What plugs in: found by name and by class; a plug-in that cannot be used costs one sentence, and never the run."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fedunlearn.errors import RequestError
from fedunlearn.federation.method import Method
from fedunlearn.settings import registry
from tests import forked

GOOD = """
from __future__ import annotations
from dataclasses import dataclass
from fedunlearn.federation.method import Method
from fedunlearn.methods.finetune import METHODS

@dataclass(frozen=True)
class Settings:
    amount: float = 1.0

THEIRS = Method("theirs", Settings, METHODS["finetune"].objective)
"""
NAMED = GOOD.replace("theirs", "broken").replace("THEIRS", "BROKEN")
FINETUNE = "from dataclasses import replace\nfrom fedunlearn.methods.finetune import METHODS\n"
A_SET = NAMED.replace("float = 1.0", "set = field(default_factory=set)").replace(
    "import dataclass", "import field, dataclass"
)
BROKEN = [  # what the plug-in's module holds, and why it cannot be used
    ("raise ValueError('no\\nlicence')", "ValueError: no licence"),
    ("import sys; sys.exit('bye')", "SystemExit: bye"),
    ("raise BaseException", "BaseException"),
    ("def (", "SyntaxError: invalid syntax (planted_broken.py, line 1)"),
    ("import not_installed_anywhere", "ModuleNotFoundError: No module named 'not_installed_anywhere'"),
    ("OTHER = 1", "AttributeError: module 'planted_broken' has no attribute 'BROKEN'"),
    ("BROKEN = 1", "its entry point leads to something of the type int, not Method"),
    (FINETUNE + "BROKEN = METHODS['finetune']", "its entry point leads to one that is called 'finetune'"),
    (
        FINETUNE + "BROKEN = replace(METHODS['finetune'], name='broken', settings=int)",
        "its settings, <class 'int'>, are no dataclass",
    ),
    (NAMED.replace("1.0", "'much'"), "amount must be a number, not 'much'"),
    (NAMED.replace("float", "Amount"), "NameError: name 'Amount' is not defined"),
    (A_SET, "TypeError: Object of type set is not JSON serializable"),
]


def plant(site: Path, package: str, module: str, code: str, *lines: str) -> None:
    """A package as if it were installed into the folder `site`: one module, and entry points."""
    info = site / f"{package.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    (site / f"{module}.py").write_text(code)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed packages that this process finds, and forgets afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()
    known = (registry._others, registry._load)
    for function in known:
        function.cache_clear()
    yield folder
    for function in known:
        function.cache_clear()
    for name in [name for name in sys.modules if name.startswith("planted_")]:
        del sys.modules[name]


@pytest.mark.parametrize("kind", registry.KINDS)
def test_ours_are_what_their_kind_says_under_their_own_names(kind):
    module, _, cls = registry.KINDS[kind].member.partition(":")
    wanted = getattr(importlib.import_module(module), cls)
    ours = registry._ours(registry.KINDS[kind])
    assert ours
    for name, (_, member) in ours.items():
        assert isinstance(member, wanted) and member.name == name
        assert registry.find(kind, name) is registry.find(wanted, name) is member


def test_the_class_of_the_members_names_the_kind():
    assert registry.find(Method, "fucrt") is registry.find("method", "fucrt")


def test_an_unknown_name_is_answered_with_the_nearest_one():
    with pytest.raises(RequestError, match=r"^there is no method called 'fucrd': choose .*; did you mean fucrt\?$"):
        registry.find(Method, "fucrd")


def test_without_plugins_nothing_is_imported():
    code = (
        "import sys; from fedunlearn.settings import registry\n"
        "assert not any(registry.plugins(kind).problems for kind in registry.KINDS)\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_plugin_is_found_like_one_of_ours(site):
    plant(site, "good-pack", "planted_good", GOOD, "[fedunlearn.methods]", "theirs = planted_good:THEIRS")
    assert registry.find(Method, "theirs").settings().amount == 1.0
    assert "theirs" in registry.names("method")
    assert registry.plugins("method").problems == ()


@pytest.mark.parametrize(("code", "why"), BROKEN)
def test_a_broken_plugin_is_one_sentence_and_an_error_where_it_is_asked_for(site, code, why):
    plant(site, "good-pack", "planted_good", GOOD, "[fedunlearn.methods]", "theirs = planted_good:THEIRS")
    plant(site, "broken-pack", "planted_broken", code, "[fedunlearn.methods]", "broken = planted_broken:BROKEN")
    found = registry.plugins("method")
    assert list(found.usable) == ["theirs"]
    [problem] = found.problems
    assert problem == f"the method 'broken' of the package broken-pack cannot be used ({why})"
    assert "broken" not in registry.names("method")
    with pytest.raises(RequestError) as error:
        registry.find(Method, "broken")
    assert str(error.value) == problem


def test_a_plugin_may_have_settings_that_must_be_given(site, tmp_path):
    code = GOOD.replace("= 1.0", "")
    plant(site, "good-pack", "planted_good", code, "[fedunlearn.methods]", "theirs = planted_good:THEIRS")
    assert registry.plugins("method").problems == ()
    asked = forked.command(["method=theirs"], tmp_path, site)
    assert (asked.returncode, asked.stderr) == (2, "fedunlearn: method.amount must be a number, not None\n")


def test_ctrl_c_while_a_plugin_loads_is_no_fault_of_the_plugin(site):
    plant(
        site, "slow-pack", "planted_slow", "raise KeyboardInterrupt", "[fedunlearn.methods]", "slow = planted_slow:SLOW"
    )
    with pytest.raises(KeyboardInterrupt):
        registry.plugins("method")


def test_a_plugin_cannot_take_the_name_of_one_of_ours(site):
    code = GOOD.replace('"theirs"', '"finetune"')
    plant(site, "cuckoo", "planted_cuckoo", code, "[fedunlearn.methods]", "finetune = planted_cuckoo:THEIRS")
    assert registry.find(Method, "finetune").settings.__module__ != "planted_cuckoo"
    assert registry.plugins("method") == registry.Plugins(
        {}, ("the package cuckoo brings a method 'finetune': fedunlearn has one of that name, which is used",)
    )


def test_of_two_plugins_with_one_name_none_is_used(site):
    for package in ("one", "two"):
        plant(site, package, f"planted_{package}", GOOD, "[fedunlearn.methods]", f"theirs = planted_{package}:THEIRS")
    [problem] = registry.plugins("method").problems
    assert problem == "the packages one or two bring a method 'theirs': uninstall all but one, none is used"
    with pytest.raises(RequestError, match="uninstall all but one"):
        registry.find(Method, "theirs")


def test_the_command_goes_on_without_a_broken_plugin(tmp_path):
    site = tmp_path / "site"
    plant(site, "broken-pack", "planted_broken", "raise OSError('no disk')", *(
        line for kind in registry.KINDS.values() for line in (f"[{kind.group}]", "broken = planted_broken:BROKEN")
    ))  # fmt: skip
    sentences = [
        f"fedunlearn: the {kind} 'broken' of the package broken-pack cannot be used (OSError: no disk)"
        for kind in registry.KINDS
    ]
    helped = forked.command(["--help"], tmp_path, site)
    assert helped.returncode == 0
    assert helped.stderr.splitlines() == sentences
    assert "head_mask" in helped.stdout and "broken" not in helped.stdout

    asked = forked.command(["method=broken"], tmp_path, site)
    assert asked.returncode == 2
    assert asked.stderr.splitlines() == [*sentences, sentences[list(registry.KINDS).index("method")]]

    audit = forked.command(["+audit.broken={}"], tmp_path, site)
    assert audit.returncode == 2
    assert audit.stderr.splitlines() == [*sentences, sentences[list(registry.KINDS).index("audit")]]

    words = [
        "audit=quick",
        "data.limit=100",
        "gates=warn",
        "partition.clients=2",
        "retrain.seeds=1",
        "train.rounds=1",
        "unlearn.rounds=1",
    ]
    ran = forked.command([*words, "report.figures=false", "output.dir=out"], tmp_path, site)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.splitlines()[: len(sentences)] == sentences
    assert (tmp_path / "out" / "summary.json").is_file()


def test_a_shell_that_completes_a_word_is_told_nothing_else(tmp_path):
    site = tmp_path / "site"
    plant(site, "broken-pack", "planted_broken", "1 / 0", "[fedunlearn.methods]", "broken = planted_broken:BROKEN")
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "fedunlearn", "-sc", "query=bash"],
        env={**os.environ, "PYTHONPATH": path, "COMP_LINE": "fedunlearn method=he"},
        capture_output=True,
        text=True,
    )
    assert (done.stdout.split(), done.stderr) == (["method=head_mask"], "")


def test_where_a_member_comes_from(site):
    plant(site, "good-pack", "planted_good", GOOD, "[fedunlearn.methods]", "theirs = planted_good:THEIRS")
    assert registry.origin("method", "not") == "fedunlearn.methods.negation"
    assert registry.origin("method", "theirs").module == "planted_good"
