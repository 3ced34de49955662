"""The command line in this process, for tests that look at what it says and leaves behind."""

from __future__ import annotations

import pytest

from fedunlearn.report import background, figures
from fedunlearn.store.catalogue import entries


class NoRenderer:
    """Draws nothing."""

    def make_ready(self):
        pass

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


@pytest.fixture
def undrawn(fedunlearn, monkeypatch):
    """The same without figures."""
    monkeypatch.setattr(figures, "draw", lambda run, **how: [])
    monkeypatch.setattr(figures, "draw_sweep", lambda rows, declared, folder, titled: [])
    return fedunlearn


@pytest.fixture
def made_in():
    """The stages of the finished artifacts in a store, sorted: `made_in(folder)`."""
    return lambda store: sorted(entry.manifest.stage for entry in entries(store) if entry.finished and entry.manifest)
