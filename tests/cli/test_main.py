"""What the command says of itself, and paths as people type them."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version

import pytest

from fedunlearn.cli import main
from fedunlearn.runs import job


def test_the_version_is_ours_with_those_that_results_depend_on(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fedunlearn", "--version"])
    main.main()
    said = capsys.readouterr().out
    assert said == (
        f"fedunlearn {version('fedunlearn')} (torch {version('torch')}, flwr {version('flwr')}, "
        f"Python {platform.python_version()})\n"
    )


@pytest.mark.parametrize("flags", [[], ["-m"]])
def test_a_path_with_everything_in_it_is_one_word(monkeypatch, tmp_path, flags):
    """`output.dir=~/my runs (1)/é`, as the shell hands it over."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    seen = []
    monkeypatch.setattr(job, "execute", lambda config, folder, *rest: seen.append((config, folder)) or 0)
    words = ["output.dir=~/my runs (1)/é", "store.dir=~/stored [2]/(3)", "seed=1", "report.figures=false", *flags]
    monkeypatch.setattr(sys, "argv", ["fedunlearn", *words])
    with pytest.raises(SystemExit) if flags else pytest.MonkeyPatch.context():  # a sweep without runs has no report
        main.main()
    ((config, folder),) = seen
    assert folder == tmp_path / "my runs (1)" / "é" / ("0_fucrt_s1" if flags else "")
    assert config.store.dir == str(tmp_path / "stored [2]" / "(3)")
    assert not (tmp_path / "~").exists()
