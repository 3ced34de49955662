"""The command line in this process, for tests that look at what it says and leaves behind."""

from __future__ import annotations

import pytest

from fedunlearn.report import background


class NoRenderer:
    """Draws nothing."""

    def draw(self, folder):
        pass

    def finish(self):
        return ["nothing was drawn"]


@pytest.fixture
def fedunlearn(monkeypatch, fedunlearn_command):
    """`fedunlearn WORDS…` without a renderer beside it: (exit status, stdout, stderr)."""
    monkeypatch.setattr(background, "BackgroundRenderer", NoRenderer)
    monkeypatch.setenv("COLUMNS", "200")
    return fedunlearn_command
