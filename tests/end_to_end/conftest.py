"""The command line in this process, for tests that look at what it says and leaves behind."""

from __future__ import annotations

import sys

import pytest

from fedunlearn.cli import main
from fedunlearn.report import background


class NoRenderer:
    """Draws nothing."""

    def draw(self, folder):
        pass

    def finish(self):
        return ["nothing was drawn"]


@pytest.fixture
def fedunlearn(monkeypatch, capsys):
    """`fedunlearn WORDS…` without a renderer beside it: (exit status, stdout, stderr)."""
    monkeypatch.setattr(background, "BackgroundRenderer", NoRenderer)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["fedunlearn", *words])
        status = 0
        try:
            main.main()
        except SystemExit as stop:
            status = stop.code or 0
        return status, *capsys.readouterr()

    return run
