"""A run as a Flower app: how it is submitted, what its two halves make of the configuration, and the real thing."""

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


class Flwr:
    """Stands in for Flower's command; remembers the words and the settings it was given."""

    def __init__(self, status="finished:completed", start=None):
        self.status, self.start = status, start or {"success": True, "run-id": "77"}
        self.calls, self.settings = [], None

    def run(self, words, **options):
        assert Path(words[0]).name == "flwr"
        self.calls.append(words[1:])
        answer = {}
        if words[1] == "run":
            self.settings = Path(words[words.index("--run-config") + 1]).read_text()
            assert (Path(words[2]) / "pyproject.toml").exists() and (Path(words[2]) / "LICENSE").exists()
            answer = self.start
        if words[1] == "list":
            answer = {"success": True, "runs": [{"run-id": "77", "status": self.status}]}
        return SimpleNamespace(stdout=f"Building\n{json.dumps(answer)}", stderr="", returncode=0)


@pytest.mark.parametrize(("status", "code"), [("finished:completed", 0), ("finished:failed", 1)])
def test_a_run_is_handed_to_the_superlink_and_followed(monkeypatch, tmp_path, status, code):
    import tomllib

    flwr, said = Flwr(status), []
    monkeypatch.setattr(subprocess, "run", flwr.run)
    monkeypatch.chdir(tmp_path)
    config = read("engine.superlink=ours", "store.dir=here")
    assert deployment.submit(config, Path("out"), ["engine=deployment", 'a="b c"'], said.append) == code
    assert [call[0] for call in flwr.calls] == ["run", "log", "list"]
    assert all("ours" in call for call in flwr.calls)
    sent = tomllib.loads(flwr.settings)
    assert sent["command"] == 'engine=deployment a="b c"'
    assert json.loads(sent["config"]) == {
        **config.as_dict(),
        "output": {**config.as_dict()["output"], "dir": str(tmp_path / "out")},
        "store": {**config.as_dict()["store"], "dir": str(tmp_path / "here")},
    }


def test_a_superlink_that_does_not_take_the_run_says_why(monkeypatch):
    said = []
    flwr = Flwr(start={"success": False, "error-message": "no such connection"})
    monkeypatch.setattr(subprocess, "run", flwr.run)
    assert deployment.submit(read(), Path("out"), [], said.append) == 1
    assert said == ["the SuperLink did not take the run: no such connection"]


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


@pytest.mark.slow
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
