"""Packages that an audit needs and fedunlearn does not: named before anything runs, and part of that audit's key."""

from __future__ import annotations

import pytest

from fedunlearn.cli import command_line
from fedunlearn.cli.main import conf_dir
from fedunlearn.errors import RequestError
from fedunlearn.federation.federation import open_federation
from fedunlearn.runs import declarations, preflight, steps
from fedunlearn.settings.config import RunConfig
from fedunlearn.sources import NOT_INSTALLED


def config(*words: str) -> RunConfig:
    return command_line.read(["dataset=digits", "data.limit=100", *words], conf_dir())


def test_a_package_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(declarations, "version", lambda name: NOT_INSTALLED)
    declarations.check_libraries(config())
    with pytest.raises(RequestError, match=r"^audit.attention needs the package captum, .* pip install captum$"):
        preflight.check(config("audit.attention.samples=5"))


def test_only_the_audit_that_needs_it_depends_on_its_version() -> None:
    asked = config("audit.attention.samples=5")
    audits = steps.of_run(asked, open_federation(asked)).audits
    needing = {step.work.audit.name for step in audits if "captum" in step.code.libraries}  # type: ignore[union-attr]
    assert needing == {"attention"}
