"""A key that the deployment example writes is its owner's alone, whatever lay there before."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

pytest.importorskip("cryptography")
from experiments.deployment.run_local import write_secret


@pytest.mark.parametrize("mode", [None, 0o644])
def test_nobody_else_reads_a_key(tmp_path: Path, mode: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    path, modes = tmp_path / "ca.key", []
    if mode:
        path.write_bytes(b"old")
        path.chmod(mode)
    true_open = os.fdopen

    def opened(number: int, *args: object) -> object:
        modes.append(stat.S_IMODE(os.fstat(number).st_mode))
        return true_open(number, *args)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "fdopen", opened)
    write_secret(path, b"secret")
    assert modes == [0o600], "private before there is anything in it"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and path.read_bytes() == b"secret"
    assert list(tmp_path.iterdir()) == [path]
