"""The notebook in docs/ runs from the first cell to the last, in a real kernel, and shows what it promises."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
SMALLER = {'"limit": 400': '"limit": 100', '"clients": 4': '"clients": 2', '"rounds": 4': '"rounds": 1'}
SMALLER |= {'"rounds": 2': '"rounds": 1', '"gates": "warn"': '"gates": "warn", "report": {"figures": False}'}


def test_the_notebook_runs_and_shows_tables_and_a_figure(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(ROOT / "docs" / "notebook.ipynb", as_version=4)
    settings = next(cell for cell in notebook.cells if cell.cell_type == "code")
    for written, smaller in SMALLER.items():
        assert settings.source.count(written) == 1
        settings.source = settings.source.replace(written, smaller)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    shown = [set(each.get("data", {})) for every in outputs for each in every]
    assert sum("text/html" in kinds for kinds in shown) == 4, "a run, a sweep, a frame, a model of one's own"
    assert any("image/png" in kinds for kinds in shown)
    said = "".join(each.text for every in outputs for each in every if each.get("name") == "stdout")
    assert 4 < len(said.splitlines()) < 10, "progress is calm, and of the first run alone"
    assert "\x1b" not in said
