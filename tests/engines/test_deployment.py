"""A run as a Flower app: what its two halves make of the configuration, and the real thing."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from flwr.app import Context, RecordDict
from flwr.common import serde
from flwr.common.serde import ProtoContext, ProtoMessage

from fedunlearn.cli import command_line
from fedunlearn.engines import deployment
from fedunlearn.errors import RequestError
from fedunlearn.runs import app, job

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


class Wire:
    """A SuperLink with two SuperNodes but no network: all that would travel is bytes on its way, replies come late.

    A client's state is bytes between two messages, too: every message finds a process of its own there.
    """

    def __init__(self, run_config):
        self.states = {
            node: serde.context_to_proto(Context(1, node, {"partition-id": number}, RecordDict(), run_config))
            for node, number in ((901, 1), (77, 0))
        }
        self.replies, self.kinds = {}, []

    def get_node_ids(self):
        return list(self.states)

    def push_messages(self, messages):
        return [self.answer(message) for message in messages]

    def answer(self, message):
        name = str(len(self.kinds))
        message.metadata.__dict__["_message_id"] = name
        node = message.metadata.dst_node_id
        context = serde.context_from_proto(ProtoContext.FromString(self.states[node].SerializeToString()))
        app._ours.cache_clear()
        reply = app.client(travelled(message), context)
        self.states[node] = serde.context_to_proto(context)
        self.kinds.append(message.metadata.message_type)
        self.replies[name] = travelled(reply)
        return name

    def pull_messages(self, names):
        last = [name for name in names if name in self.replies][-1:]
        return [self.replies.pop(name) for name in last]


def travelled(message):
    return serde.message_from_proto(ProtoMessage.FromString(serde.message_to_proto(message).SerializeToString()))


@pytest.mark.parametrize("method", ["fucrt", "federaser"])
def test_as_a_flower_app_a_run_has_the_bits_of_the_local_engine(tmp_path, method):
    """`make test-slow` has the real SuperLink and SuperNodes."""
    words = [f"method={method}", "data.limit=200", "model.width=4", "gates=warn", "train.rounds=2", "unlearn.rounds=2"]
    words += ["retrain.seeds=1", "audit=quick", "audit.ausuc=null", "report.figures=false", "store.enabled=false"]
    local = command_line.read([*words, "partition.clients=2", f"output.dir={tmp_path}/l"], ROOT / "conf")
    assert job.execute(local, tmp_path / "l", words) == 0
    deployed = read(*words, f"output.dir={tmp_path}/d")
    run_config = {"config": json.dumps(deployed.as_dict()), "command": " ".join(words)}
    wire = Wire(run_config)
    app.server(wire, Context(1, 1, {}, RecordDict(), run_config))
    assert set(wire.kinds) == {"train", "query"} and len(wire.kinds) > 10
    summaries = [json.loads((tmp_path / name / "summary.json").read_text()) for name in "ld"]
    assert summaries[0]["models"] == summaries[1]["models"]
    assert summaries[0]["cost"]["unlearn"]["bytes_up"] == summaries[1]["cost"]["unlearn"]["bytes_up"] > 0


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
