"""What tests of several engines ask about methods."""

from dataclasses import replace

import pytest

from fedunlearn.cli import command_line
from fedunlearn.cli.main import conf_dir
from fedunlearn.settings.config import Choice


@pytest.fixture(scope="session")
def trains():
    """`trains(method)`: do clients train, if there are rounds? Others edit weights, or are finished models."""
    config = command_line.read([], conf_dir())

    def trains(method):
        settings = None if method.given else method.settings()
        return method.trains(replace(config, method=Choice(method.name, settings)))

    return trains
