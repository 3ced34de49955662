"""A run as a Flower app: what its two halves make of the configuration, and the real thing."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from fedunlearn.cli import command_line
from fedunlearn.engines import deployment
from fedunlearn.errors import RequestError
from fedunlearn.runs import app

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "experiments" / "deployment" / "run_local.py"


def read(*words):
    return command_line.read(["engine=deployment", "data.limit=100", "partition.clients=2", *words], ROOT / "conf")


def test_the_grid_is_there_inside_an_app_only():
    with pytest.raises(RequestError, match="needs a Flower app"):
        deployment.grid_of(2)
    with deployment.connected(object()):
        assert deployment.is_connected()
        assert deployment.grid_of(2) is deployment.grid_of(2)
    assert not deployment.is_connected()


def node(config, **node_config):
    return SimpleNamespace(node_config=node_config, run_config={"config": json.dumps(config.as_dict())})


def test_a_supernode_has_its_own_data_folder_and_device():
    config = read("device=cuda:1")
    given = json.loads(app._local(node(config, **{"partition-id": 0, "data-root": "/data", "device": "cpu"})))
    assert (given["data"]["root"], given["device"]) == ("/data", "cpu")
    assert json.loads(app._local(node(config, **{"partition-id": 0})))["device"] == "auto"
    with pytest.raises(RequestError, match="which client it is"):
        app._local(node(config))


def test_a_superlink_and_two_supernodes_give_the_bits_of_the_local_engine(tmp_path):
    """Over TLS and with node authentication; a third node, whose key is not registered, is refused."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--folder", str(tmp_path / "d")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "run: done; unknown SuperNode: refused" in done.stdout
    deployed = json.loads((tmp_path / "d" / "run" / "summary.json").read_text())
    saved = str(tmp_path / "d" / "run" / "config.yaml")
    words = ["--rerun", saved, "engine=local", f"output.dir={tmp_path}/l", f"store.dir={tmp_path}/s"]
    again = subprocess.run([sys.executable, "-m", "fedunlearn", *words], capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stdout + again.stderr
    local = json.loads((tmp_path / "l" / "summary.json").read_text())
    assert local["models"] == deployed["models"]
    assert local["cost"]["unlearn"]["bytes_up"] == deployed["cost"]["unlearn"]["bytes_up"]
