"""(b) Flower's own simulation on Ray, with the client that its tutorials suggest. Knows nothing of our engines."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from torch import Tensor

from experiments.benchmarks import workloads
from experiments.benchmarks.workloads import Workload
from fedunlearn.data.types import Dataset

client = ClientApp()


@lru_cache(maxsize=1)
def opened(text: str) -> tuple[Workload, Tensor, Tensor, list[np.ndarray]]:
    """The data, once for every actor."""
    given = json.loads(text)
    workload = Workload(**{**given["workload"], "shape": tuple(given["workload"]["shape"])})
    dataset, _ = workloads.images(workload, Path(given["data"]) if given["data"] else None)
    pixels = workloads.normalised(dataset, dataset.train)
    return workload, pixels, dataset.train.targets, workloads.federation(workload, dataset).parts


@client.train()
def train(message: Message, context: Context) -> Message:
    """Local SGD from the model received."""
    workload, pixels, labels, parts = opened(str(message.content["config"]["setting"]))
    model = workload.plain_model(0)
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    rows = torch.as_tensor(parts[int(context.node_config["partition-id"])])
    images, targets = pixels[rows], labels[rows]
    optimiser = torch.optim.SGD(
        model.parameters(), lr=workload.lr, momentum=workload.momentum, weight_decay=workload.decay
    )
    model.train()
    for _ in range(workload.epochs):
        for batch in torch.randperm(len(rows)).split(workload.batch):
            optimiser.zero_grad()
            F.cross_entropy(model(images[batch]), targets[batch]).backward()
            optimiser.step()
    metrics = MetricRecord({"num-examples": len(rows)})
    return Message(RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics}), reply_to=message)


def run(workload: Workload, dataset: Dataset, mark: Callable[[float], None], cores: int, data: str | None) -> None:
    """All rounds; `mark(accuracy)` before the first and after every one."""
    from flwr.simulation import run_simulation

    setting = json.dumps({"workload": workload.as_dict(), "data": data})
    pixels = workloads.normalised(dataset, dataset.test)
    model = workload.plain_model(0)

    @torch.no_grad()
    def evaluate(number: int, arrays: ArrayRecord) -> None:
        model.load_state_dict(arrays.to_torch_state_dict())
        model.eval()
        right = torch.cat([model(part).argmax(1) for part in pixels.split(512)]) == dataset.test.targets
        mark(right.float().mean().item())

    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        share = workload.asked / workload.clients
        strategy = FedAvg(
            fraction_train=share, fraction_evaluate=0.0, min_train_nodes=1, min_available_nodes=workload.clients
        )
        first = ArrayRecord(workload.plain_model(0).state_dict())
        given = ConfigRecord({"setting": setting})
        strategy.start(grid, first, workload.rounds, train_config=given, evaluate_fn=evaluate)

    torch.set_num_threads(cores)  # the server's evaluation; Ray gives every client one thread
    backend = {
        "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        "init_args": {"num_cpus": cores, "include_dashboard": False, "log_to_driver": False},
    }
    run_simulation(app, client, workload.clients, backend_config=backend)  # type: ignore[arg-type]
