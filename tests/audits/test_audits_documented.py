"""docs/audits.md has a section on every audit, and every section says what a reader must know."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from fedunlearn.settings import registry

FOLDER = Path(__file__).parents[2] / "docs"
DOCS = (FOLDER / "audits.md").read_text(encoding="utf-8")
SAID = ("**Definition.**", "**Good value.**", "**Misreading.**", "**Cost.**", "**Source.**")
PICTURES = dict.fromkeys(
    ("feature_map", "answers"), ("**What to look for.**", "**Misreading.**", "**Cost.**", "**Source.**")
)


@pytest.mark.parametrize("name", sorted(registry._ours(registry.KINDS["audit"])))
def test_every_audit_has_its_section(name: str) -> None:
    (section,) = [part for part in DOCS.split("\n## ") if part.startswith(f"{name}\n")]
    assert [word for word in PICTURES.get(name, SAID) if word not in section] == []
    table = DOCS.partition("\n## ")[0]
    assert f"| [`{name}`](#{name}) |" in table


def test_the_table_of_findings_is_what_the_audits_declare() -> None:
    made = runpy.run_path(str(FOLDER / "reference.py"))
    assert made["updated"](DOCS) == DOCS, "run `make docs`"
    assert "| `leak` | **AUSUC leak** | [`ausuc`](#ausuc) |" in DOCS
