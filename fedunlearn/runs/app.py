"""The Flower app of a real federation: the whole run on the server, the clients' part of it on every SuperNode.

Both get the run's configuration as JSON. A SuperNode needs `partition-id` in its node configuration, the number of the
client that it is; `data-root` and `device` there say where its data are and what it computes on.
"""

from __future__ import annotations

import json
import shlex
from functools import lru_cache, partial
from pathlib import Path

from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from fedunlearn.engines import deployment
from fedunlearn.errors import RequestError, RunError
from fedunlearn.federation import wire
from fedunlearn.federation.client import client_app
from fedunlearn.federation.federation import federation_from_json
from fedunlearn.settings import config as configuration

server = ServerApp()
client = ClientApp()


@server.main()
def main(grid: Grid, context: Context) -> None:
    """Everything that `fedunlearn` does, with the SuperNodes as its clients. Raises RunError if the run fails."""
    from fedunlearn.runs import job

    config = configuration.load(json.loads(str(context.run_config["config"])))
    words = shlex.split(str(context.run_config["command"]))
    with deployment.connected(grid):
        if job.execute(config, Path(config.output.dir), words):
            raise RunError(f"the run failed: see {config.output.dir}/log.txt on the server's machine")


@client.train()
def train(message: Message, context: Context) -> Message:
    """Local training."""
    return _ours(_local(context))(message, context)


@client.query()
def query(message: Message, context: Context) -> Message:
    """A method's question to its clients."""
    return _ours(_local(context))(message, context)


def _local(context: Context) -> str:
    """The run's configuration, with what is special about this SuperNode."""
    node = context.node_config
    if "partition-id" not in node:
        raise RequestError("this SuperNode does not know which client it is: --node-config 'partition-id=0'")
    root = str(node["data-root"]) if "data-root" in node else None
    return _settled(str(context.run_config["config"]), root, str(node.get("device", "auto")))


@lru_cache(maxsize=1)
def _settled(text: str, root: str | None, device: str) -> str:
    given = json.loads(text)
    if root is not None:
        given["data"]["root"] = root
    given["device"] = device
    return json.dumps(given, sort_keys=True)


@lru_cache(maxsize=1)
def _ours(text: str) -> ClientApp:
    limit = configuration.load(json.loads(text)).engine.settings.client_timeout
    return client_app(partial(federation_from_json, text), wire.as_bytes, limit=limit)
