"""What the server alone can take: made-up replies of a model, as fast as it adds them up. Nobody trains.

    python experiments/benchmarks/server.py [--quick]

The strategy is FedAvg's as every engine runs it, and each reply goes through all that a client's goes through: it is
held against what was sent, checked for finite numbers of a plausible size, weighted and added up. Replies are made as
they are taken, from a few models kept for the purpose. Prints a table; the last rate includes making and sending.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from flwr.app import ArrayRecord, Context, Message, RecordDict
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from experiments.benchmarks.memory import taken
from fedunlearn.federation import wire
from fedunlearn.federation.client import train_reply
from fedunlearn.federation.sgd import Trained
from fedunlearn.federation.spec import StageSpec
from fedunlearn.federation.strategy import server_app
from fedunlearn.settings import registry
from fedunlearn.settings.config import TrainConfig

FIRST_NODE = SUPERLINK_NODE_ID + 1
KEPT = 4  # different models that replies are made of
SAMPLES = 10  # that every client says it trained on
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Load:
    """So many replies, each of a model of so many parameters, sent by reference or as bytes."""

    replies: int
    parameters: int
    pack: wire.Pack = wire.by_reference


BY_CLIENTS = tuple(Load(replies, 10**6) for replies in (1_000, 10_000, 100_000))
BY_SIZE = tuple(Load(10**9 // parameters, parameters) for parameters in (10**4, 10**5, 10**7))
LOADS = (*BY_CLIENTS, *BY_SIZE, Load(1_000, 10**6, wire.as_bytes))
QUICK = (Load(50, 10**4), Load(100, 10**4), Load(50, 10**4, wire.as_bytes))


class Synthetic(Grid):
    """Clients that answer at once and train nothing.

    `memory`: bytes that the process took after 1 % of the replies and at the end; `seconds`: a core's, for the server.
    """

    def __init__(self, load: Load) -> None:
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, SUPERLINK_NODE_ID, 1
        self._load = load
        self.roster = list(range(FIRST_NODE, FIRST_NODE + load.replies))  # nobody needs to be asked who is who
        self.memory: list[int] = []
        self.seconds = 0.0
        self._run = Run.create_empty(1)

    def set_run(self, run: Run) -> None:
        self._run = run

    @property
    def run(self) -> Run:
        return self._run

    def get_node_ids(self) -> list[int]:
        return self.roster

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        raise NotImplementedError("a server that streams sends and receives in one")

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        raise NotImplementedError("a server that streams sends and receives in one")

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """One reply for each message, made when it is asked for. The core's time counts while the server has it."""
        kept: list[ArrayRecord] = []
        for number, message in enumerate(messages):
            if not kept:
                kept = [self._load.pack(model) for model in variants(message.content)]
            if number == self._load.replies // 100:
                self.memory.append(taken(os.getpid()))
            message.metadata.__dict__["_message_id"] = str(number)
            client = message.metadata.dst_node_id - FIRST_NODE
            outcome = Trained(SAMPLES, SAMPLES, 1.0)
            content = train_reply(client, outcome, 0.0, kept[number % KEPT], self._load.pack({}))
            reply = Message(content, reply_to=message)
            started = time.process_time()
            yield reply
            self.seconds += time.process_time() - started
        self.memory.append(taken(os.getpid()))


def variants(content: RecordDict) -> Iterator[dict[str, torch.Tensor]]:
    """Models a little away from the one that was sent."""
    sent = wire.unpack(cast(ArrayRecord, content["model"]), CPU)
    for number in range(KEPT):
        yield {name: value + 0.01 * number for name, value in sent.items()}


@dataclass(frozen=True)
class Found:
    """Replies per second of a core's time with the server, and of the round; memory early and at its end, bytes."""

    rate: float
    round_rate: float
    before: int
    after: int


def measured(load: Load) -> Found:
    """A round of FedAvg's server under this load."""
    method = registry.find("method", "fedavg")
    spec = StageSpec("train", 0, "fedavg", TrainConfig(rounds=1), classes=10)
    strategy = method.strategy(method.settings(), spec, load.pack, CPU)
    strategy.sizes = [SAMPLES] * load.replies
    model = {"weight": torch.linspace(-1, 1, load.parameters).reshape(100, -1)}
    moments: list[float] = []
    grid = Synthetic(load)
    app = server_app(strategy, model, 1, False, lambda number, state: moments.append(time.perf_counter()))
    app(grid, Context(1, 1, {}, RecordDict(), {}))
    if strategy.cost.samples != load.replies * SAMPLES or strategy.cost.failures:
        raise RuntimeError(f"{strategy.cost.failures} replies were left out: nothing was measured")
    took = moments[1] - moments[0]
    return Found(load.replies / grid.seconds, load.replies / took, grid.memory[0], grid.memory[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few replies of a tiny model, to try out the command")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    logging.getLogger("flwr").setLevel(logging.ERROR)
    print("| replies | parameters | travel as | replies per s of a core | replies per s | MiB after 1 % | MiB, end |")
    print("|--:|--:|---|--:|--:|--:|--:|")
    for load in QUICK if quick else LOADS:
        found = measured(load)
        travel = "bytes" if load.pack is wire.as_bytes else "references"
        rates = f"{found.rate:,.0f} | {found.round_rate:,.0f}"
        memory = f"{found.before / 2**20:.0f} | {found.after / 2**20:.0f}"
        print(f"| {load.replies:,} | {load.parameters:,} | {travel} | {rates} | {memory} |", flush=True)


if __name__ == "__main__":
    main()
