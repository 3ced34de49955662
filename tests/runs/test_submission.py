"""How a run is handed to a SuperLink, and what happens when that goes away."""

import json
import shlex
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from fedunlearn.cli import command_line
from fedunlearn.engines import deployment
from fedunlearn.runs import submission

ROOT = Path(__file__).parents[2]


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
    words = ["engine=deployment", 'a="b c"', "b='it\\'s'", "c={0: 20}", "d=a\\b"]
    assert submission.submit(config, Path("out"), words, said.append) == code
    assert [call[0] for call in flwr.calls] == ["run", "log", "list"]
    assert all("ours" in call for call in flwr.calls)
    sent = tomllib.loads(flwr.settings)
    assert shlex.split(sent["command"]) == words, "as the app reads them"
    assert json.loads(sent["config"]) == {
        **config.as_dict(),
        "output": {**config.as_dict()["output"], "dir": str(tmp_path / "out")},
        "store": {**config.as_dict()["store"], "dir": str(tmp_path / "here")},
    }


def test_a_superlink_that_does_not_take_the_run_says_why(monkeypatch):
    said = []
    flwr = Flwr(start={"success": False, "error-message": "no such connection"})
    monkeypatch.setattr(subprocess, "run", flwr.run)
    assert submission.submit(read(), Path("out"), [], said.append) == 1
    assert said == ["the SuperLink did not take the run: no such connection"]


@pytest.mark.parametrize(
    "answer",
    [
        {"success": False, "error-message": "no connection"},
        {"runs": []},
        {"runs": [{}]},
        {},
    ],
)
def test_a_superlink_that_is_gone_in_the_end_is_one_sentence(monkeypatch, answer):
    class Gone(Flwr):
        def run(self, words, **options):
            done = super().run(words, **options)
            return SimpleNamespace(stdout=json.dumps(answer), stderr="") if words[1] == "list" else done

    said = []
    monkeypatch.setattr(subprocess, "run", Gone().run)
    assert submission.submit(read("output.dir=there"), Path("there"), [], said.append) == 1
    assert said[1].startswith("the SuperLink no longer says what became of run 77: see ")
    assert said[2] == "once it is back, the same command goes on from the last round that was kept there"


def test_flwr_that_cannot_be_started_is_one_sentence(monkeypatch):
    def refuse(words, **options):
        raise FileNotFoundError(2, "No such file or directory")

    said = []
    monkeypatch.setattr(subprocess, "run", refuse)
    assert submission.submit(read(), Path("out"), [], said.append) == 1
    assert said[0].startswith("the SuperLink did not take the run: flwr cannot be started")


def test_only_a_run_outside_of_the_app_is_submitted():
    assert submission.is_needed(read())
    assert not submission.is_needed(read("engine=local"))
    with deployment.connected(object()):
        assert not submission.is_needed(read())
