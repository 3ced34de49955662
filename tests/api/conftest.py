"""The command line in this process, to compare with."""

from __future__ import annotations

import sys

import pytest

from fedunlearn.cli import main


@pytest.fixture
def fedunlearn_command(monkeypatch, capsys):
    """`fedunlearn WORDS…`: (exit status, stdout, stderr)."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["fedunlearn", *words])
        status = 0
        try:
            main.main()
        except SystemExit as stop:
            status = stop.code or 0
        return status, *capsys.readouterr()

    return run
