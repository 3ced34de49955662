"""Source files as a process found them: what is read, what a digest sees, and what counts as a change."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from fedunlearn import sources
from fedunlearn.sources import Sources, package, plugin, reached


@pytest.fixture(autouse=True)
def _anew() -> None:
    for read_once in (sources.package, sources._behind, sources._site_folders, sources._distributions):
        read_once.cache_clear()


def write(root: Path, **texts: str) -> None:
    for name, text in texts.items():
        path = root / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())


def digest_of(root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    sources.package.cache_clear()
    with monkeypatch.context() as here:
        here.syspath_prepend(root)
        files = package("some_pack")
    assert files
    return Sources(files).digest


def test_a_digest_ignores_line_endings_and_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "x", some_pack__one="a = 1\nb = 2\n", some_pack__sub__two="c = 3\n")
    write(tmp_path / "y", some_pack__one="a = 1\r\nb = 2\r\n", some_pack__sub__two="c = 3\n")
    assert digest_of(tmp_path / "x", monkeypatch) == digest_of(tmp_path / "y", monkeypatch)


def test_a_digest_sees_every_source_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes: list[Callable[[Path], object]] = [
        lambda pack: None,
        lambda pack: (pack / "one.py").write_text("a = 1\nb = 3\n"),
        lambda pack: (pack / "sub" / "two.py").write_text("c = 4\n"),
        lambda pack: (pack / "sub" / "two.py").rename(pack / "sub" / "three.py"),
        lambda pack: (pack / "new.py").touch(),
    ]
    seen = set()
    for number, change in enumerate(changes):
        write(tmp_path / str(number), some_pack__one="a = 1\nb = 2\n", some_pack__sub__two="c = 3\n")
        change(tmp_path / str(number) / "some_pack")
        seen.add(digest_of(tmp_path / str(number), monkeypatch))
    assert len(seen) == 5


def test_links_are_followed_but_not_in_circles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, some_pack__one="a = 1\n", elsewhere__two="b = 1\n")
    (tmp_path / "some_pack" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "some_pack" / "itself").symlink_to(tmp_path / "some_pack")
    monkeypatch.syspath_prepend(tmp_path)
    assert {file.name for file in package("some_pack")} == {"some_pack/one.py", "some_pack/linked/two.py"}


def test_imports_are_found_wherever_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
import a.b as c
from . import near
from .deep import value
def later():
    from d import e
    import importlib
    return importlib.import_module("f.g")
"""
    write(tmp_path, some_pack__sub__one=text)
    monkeypatch.syspath_prepend(tmp_path)
    (file,) = package("some_pack")
    wanted = {"a.b", "some_pack.sub.near", "some_pack.sub.deep.value", "d.e", "f.g"}
    assert wanted <= file.imports


def test_reached_is_what_a_module_is_made_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, some_pack____init__="", some_pack__one="from some_pack import two", some_pack__three="")
    write(tmp_path, some_pack__two="import some_pack.one")
    (tmp_path / "some_pack" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    found = {file.module for file in reached("some_pack.one", package("some_pack"))}
    assert {"some_pack.one", "some_pack.two"} <= found and "some_pack.three" not in found


def test_what_is_installed_counts_by_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, some_module="import yaml\nimport json\nfrom some_helper import A\n", some_helper="A = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = plugin(EntryPoint("x", "some_module:A", "fedunlearn.methods"))
    assert {file.name for file in found.files} == {"some_module.py", "some_helper.py"}
    assert set(found.versions) == {"yaml"} and found.versions["yaml"].startswith("PyYAML ")


def test_so_does_what_an_environment_below_has_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with `uv run --with`, or a `.pth` file that names the site-packages of another environment."""
    below = tmp_path / "below" / "site-packages"
    write(below, lent__inside="a = 1\n")
    (below / "lent-3.dist-info").mkdir()
    (below / "lent-3.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: lent\nVersion: 3\n")
    (below / "lent-3.dist-info" / "RECORD").write_text("lent/inside.py,,\nlent-3.dist-info/RECORD,,\n")
    (below / "lent" / "__init__.py").write_text("")
    write(tmp_path / "own", mine="import lent\n")
    monkeypatch.syspath_prepend(below)
    monkeypatch.syspath_prepend(tmp_path / "own")
    found = plugin(EntryPoint("mine", "mine:METHOD", "fedunlearn.methods"))
    assert found.versions == {"lent": "lent 3"} and [file.name for file in found.files] == ["mine.py"]


@pytest.mark.parametrize("name", ["nothing_of_that_name", "sys", ""])
def test_what_has_no_source_has_none(name: str) -> None:
    assert package(name) == ()


def test_a_file_that_goes_is_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, some_module="A = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = Sources(package("some_module"))
    assert found.changes() == []
    (tmp_path / "some_module.py").unlink()
    assert found.changes() == [tmp_path / "some_module.py"]
