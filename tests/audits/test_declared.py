"""Every audit of ours declares what it returns, and one that does not is named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from fedunlearn.audits.base import Audit
from fedunlearn.audits.relearning import RelearningSettings, declared
from fedunlearn.errors import RunError
from fedunlearn.results.findings import Finding, by_name
from fedunlearn.settings import registry

OURS = registry.built_in("audit")


@dataclass(frozen=True)
class Nothing:
    """No settings."""


def returning(found: dict[str, Any], *findings: Finding) -> Audit:
    return Audit("mine", Nothing, lambda evidence, reference, settings: found, findings=findings)


def measured(audit: Audit) -> Any:
    nothing: Any = None
    return audit.measured(nothing, nothing, Nothing())


def test_all_of_ours_together_declare_every_name_once_with_a_label_and_a_meaning() -> None:
    audits = [registry.find("audit", name) for name in OURS]
    found = by_name(finding for audit in audits for finding in audit.declared(audit.settings()))
    assert len({finding.label for finding in found.values()}) == len(found) > 30
    assert all(finding.meaning and not finding.meaning.endswith(".") for finding in found.values())


def test_families_follow_the_settings() -> None:
    found = declared(RelearningSettings(shots=(3, 7)))
    assert [finding.name for finding in found] == ["relearn_batches", "fewshot_3_accuracy", "fewshot_7_accuracy"]
    assert found[2].label == "7-shot accuracy"


def test_what_was_declared_comes_through() -> None:
    number, series = Finding("number", "number", ""), Finding("series", "series", "", kind="list")
    found = {"number": 1.0, "series": [1.0, 2.0]}
    assert measured(returning(found, number, series)) == found
    assert measured(returning({"number": None}, number, series)) == {"number": None}


def test_what_was_not_declared_is_an_error_that_names_audit_and_finding() -> None:
    with pytest.raises(RunError, match=r"the audit mine returned a finding that it does not declare: other \(declared"):
        measured(returning({"other": 1.0}, Finding("number", "number", "")))
    with pytest.raises(RunError, match="declared: none"):
        measured(returning({"other": 1.0}))


@pytest.mark.parametrize(
    ("kind", "value"),
    [("number", [1.0]), ("number", {"x": [1.0]}), ("list", 1.0), ("list", {"x": [1.0]}), ("figure", [1.0])],
)
def test_what_was_declared_as_something_else_is_named(kind: Any, value: Any) -> None:
    with pytest.raises(RunError, match=f"the audit mine declares thing as a {kind}, but returned"):
        measured(returning({"thing": value}, Finding("thing", "thing", "", kind=kind)))
