"""What the audits of a run declare about their findings."""

from __future__ import annotations

from typing import Any

from fedunlearn.audits.base import Audit
from fedunlearn.errors import RequestError
from fedunlearn.results.findings import Finding, by_name
from fedunlearn.results.verdict import SURFACE, UTILITY
from fedunlearn.settings import registry
from fedunlearn.settings.config import RunConfig
from fedunlearn.sources import NOT_INSTALLED, version
from fedunlearn.tasks.base import defined


def declared(config: RunConfig) -> dict[str, Finding]:
    """What the run's audits of its task declare, by name and in order. Raises RequestError if two declare the same."""
    try:
        return by_name(finding for audit, settings in _measured(config) for finding in audit.declared(settings))
    except ValueError as error:
        raise RequestError(str(error)) from error


def check_needs(config: RunConfig) -> None:
    """Is there everything that the run's audits need? Raises RequestError, naming what to install or to ask for."""
    for audit, settings in _measured(config):
        if config.retrain.seeds < (least := audit.retrained(settings)):
            raise RequestError(
                f"audit.{audit.name} needs at least {least} retrained models, not {config.retrain.seeds}: "
                f"retrain.seeds={least}"
            )
        for library in audit.libraries(settings):
            if version(library) == NOT_INSTALLED:
                raise RequestError(
                    f"audit.{audit.name} needs the package {library}, which is not installed: pip install {library}"
                )


def _measured(config: RunConfig) -> list[tuple[Audit, Any]]:
    """The run's audits that its task defines, with their settings."""
    task = registry.find("dataset", config.dataset.name).task
    audits = [(registry.find("audit", each.name), each.settings) for each in config.audit]
    return [(audit, settings) for audit, settings in audits if defined(audit.tasks, task)]


def expected(task: str) -> list[str]:
    """What a verdict on a task is made of where no audit of ours is switched off."""
    audits = [registry.find(Audit, name) for name in registry.built_in("audit")]
    findings = [f for audit in audits if defined(audit.tasks, task) for f in audit.declared(audit.settings())]
    return [finding.name for finding in findings if finding.counted or finding.name in (SURFACE, UTILITY)]
