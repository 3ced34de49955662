"""A store that cannot be written to is enough for a run that it holds all of."""

from pathlib import Path

import pytest

from fedunlearn.cli import command_line
from fedunlearn.errors import RequestError
from fedunlearn.runs import federations, preflight, steps
from fedunlearn.store import Artifact, Store

CONF = Path(__file__).parents[2] / "conf"
SMALL = ["data.limit=100", "partition.clients=2", "retrain.seeds=1", "device=cpu", "method=head_mask"]


def test_a_store_that_cannot_be_written_to_must_hold_the_run(tmp_path, monkeypatch):
    config = command_line.read([*SMALL, f"store.dir={tmp_path}", f"output.dir={tmp_path}/out"], CONF)
    federation = federations.opened(config)
    needed = list(steps.of_run(config, federation))
    for step in needed[1:]:
        Store(tmp_path).get(step.kind, step.determinants(), lambda checkpoint: Artifact())

    def refuse(folder, key):
        raise RequestError(f"{key}={folder} cannot be written to: read-only file system")

    monkeypatch.setattr(preflight.folders, "check_writable", refuse)
    with pytest.raises(RequestError, match=f"read-only file system, and it does not hold {needed[0].name} of this run"):
        preflight.check_store(config, federation)
    Store(tmp_path).get(needed[0].kind, needed[0].determinants(), lambda checkpoint: Artifact())
    preflight.check_store(config, federation)
