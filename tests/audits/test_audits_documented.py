"""docs/audits.md has a section on every audit, and every section says what a reader must know."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedunlearn.settings import registry

DOCS = (Path(__file__).parents[2] / "docs" / "audits.md").read_text(encoding="utf-8")
SAID = ("**Definition.**", "**Good value.**", "**Misreading.**", "**Cost.**", "**Source.**")
PICTURES = {"feature_map": ("**What to look for.**", "**Misreading.**", "**Cost.**", "**Source.**")}


@pytest.mark.parametrize("name", sorted(registry._ours(registry.KINDS["audit"])))
def test_every_audit_has_its_section(name: str) -> None:
    (section,) = [part for part in DOCS.split("\n## ") if part.startswith(f"{name}\n")]
    assert [word for word in PICTURES.get(name, SAID) if word not in section] == []
    table = DOCS.partition("\n## ")[0]
    assert f"| `{name}` |" in table
