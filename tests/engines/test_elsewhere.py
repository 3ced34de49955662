"""Whole rounds of every method on a device that is not the CPU, one by one and stacked: no tensor is left behind."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fedunlearn.federation import selection
from fedunlearn.federation.spec import Plugin
from fedunlearn.settings import registry
from fedunlearn.tasks.base import defined
from tests import elsewhere
from tests.elsewhere import DEVICE
from tests.engines.test_stacked import convolutional, plan_of, run

BRIEFLY = {"local_epochs": 1, "batch_size": 20}


@pytest.mark.parametrize("name", registry.names("method"))
def test_every_method(make_federation, monkeypatch, trains, name):
    method = registry.find("method", name)
    if not (trains(method) and "class" in method.levels and defined(method.tasks, "classification")):
        pytest.skip(f"{name} trains no client, or forgets no class")
    spec, memory = plan_of(name, **BRIEFLY), {}
    if name == "quickdrop":
        spec = replace(spec, settings={**spec.settings, "steps": 1})
    with elsewhere.entered(monkeypatch):
        if method.history:
            memory = run(make_federation, plan_of("fedavg", **BRIEFLY), server=method.history, on=DEVICE).memory
        for engine in ({"name": "local"}, {"name": "stacked", "stack": 3}):
            done = run(make_federation, spec, memory=memory, on=DEVICE, **engine)
            assert done.cost["failures"] == 0, [entry.get("failure") for entry in done.history]
            assert all(torch.isfinite(value).all() for value in done.model.values())


@pytest.mark.parametrize("name", [selector.name for selector in registry.ours("selector") if selector.name != "all"])
def test_every_selector(make_federation, name):
    spec = replace(plan_of("finetune"), select=Plugin(name, {"share": 0.5}))
    chosen = []
    for device in (torch.device("cpu"), DEVICE):
        with elsewhere.entered():
            federation = make_federation(per_class=20, device=device)
            model = convolutional(3).to(device)
            chosen.append(selection.kept(model, federation.client(0), spec))
            assert chosen[-1].device == device
    assert torch.equal(*map(torch.Tensor.cpu, chosen))
