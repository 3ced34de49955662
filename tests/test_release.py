"""What is published besides the code: the readme without its repository, types, and the site's own parts."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text())


def published(text: str) -> str:
    """The readme as the wheel has it."""
    for rule in PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(rule["pattern"], rule["replacement"], text)
    return text


def test_no_link_of_the_published_readme_leads_to_a_folder_beside_it() -> None:
    links = re.findall(r"\]\(([^)]+)\)", published((TOP / "README.md").read_text()))
    assert len(links) > 10
    assert [link for link in links if not link.startswith(("https://", "#"))] == []


def test_links_and_pictures_of_the_readme_are_there() -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", (TOP / "README.md").read_text())
    assert [link for link in links if not link.startswith("http") and not (TOP / link).exists()] == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[a](docs/a.md)", "[a](https://github.com/fedunlearn/fedunlearn/blob/main/docs/a.md)"),
        ("![p](results/p.png)", "![p](https://raw.githubusercontent.com/fedunlearn/fedunlearn/main/results/p.png)"),
        ("[w](https://flower.ai)", "[w](https://flower.ai)"),
    ],
)
def test_links_become_absolute(before: str, after: str) -> None:
    assert published(before) == after


def test_versions_agree() -> None:
    version = PROJECT["project"]["version"]
    assert f"\nversion: {version}\n" in (TOP / "CITATION.cff").read_text()
    assert f"## [{version}]" in (TOP / "CHANGELOG.md").read_text()


def test_types_are_for_users_too() -> None:
    assert (TOP / "fedunlearn" / "py.typed").exists()
    assert "Typing :: Typed" in PROJECT["project"]["classifiers"]
