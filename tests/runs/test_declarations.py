"""What an audit needs and a run may lack is named before anything runs; its packages are part of its key."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fedunlearn.audits import accuracy
from fedunlearn.cli import command_line
from fedunlearn.cli.main import conf_dir
from fedunlearn.errors import RequestError
from fedunlearn.federation.federation import open_federation
from fedunlearn.runs import declarations, preflight, steps
from fedunlearn.settings import registry
from fedunlearn.settings.config import RunConfig
from fedunlearn.sources import NOT_INSTALLED


def config(*words: str) -> RunConfig:
    return command_line.read(["dataset=digits", "data.limit=100", *words], conf_dir())


def test_a_package_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(declarations, "version", lambda name: NOT_INSTALLED)
    declarations.check_needs(config())
    with pytest.raises(RequestError, match=r"^audit.attention needs the package captum, .* pip install captum$"):
        preflight.check(config("audit.attention.samples=5"))


def test_too_few_retrained_models_are_refused_before_anything_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    asking = replace(accuracy.AUDITS["accuracy"], retrained=lambda settings: 3)
    monkeypatch.setitem(registry._ours(registry.KINDS["audit"]), "accuracy", ("fedunlearn.audits.accuracy", asking))
    preflight.check(config("retrain.seeds=3"))
    with pytest.raises(
        RequestError, match=r"^audit.accuracy needs at least 3 retrained models, not 2: retrain.seeds=3$"
    ):
        preflight.check(config("retrain.seeds=2"))


def test_only_the_audit_that_needs_it_depends_on_its_version() -> None:
    asked = config("audit.attention.samples=5")
    audits = steps.of_run(asked, open_federation(asked)).audits
    needing = {step.work.audit.name for step in audits if "captum" in step.code.libraries}  # type: ignore[union-attr]
    assert needing == {"attention"}
