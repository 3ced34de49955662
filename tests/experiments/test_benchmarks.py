"""The benchmark: its command runs, and its table says what was measured. Numbers are made up."""

# ruff: noqa: RUF001 (dashes between numbers are meant)

from __future__ import annotations

import argparse
import json
import sys

import pytest
import torch

from experiments.benchmarks import report, run, server, tuned, workloads


def launch(workload: str, competitor: str, repeat: int, *rounds: float, **more: float) -> dict:
    given = {"workload": workload, "competitor": competitor, "repeat": repeat, "rounds": rounds}
    return {**given, "first_round": 3.0, "peak": 2**20, "accuracy": 0.5, "source": "made up", **more}


def test_ratios_are_those_of_launches_side_by_side():
    runs = [launch("cnn_100", "local", n, 9, s) for n, s in enumerate((1.0, 2.0, 6.0))]
    runs.append(launch("cnn_100", "local", 9, 9, 7.0))
    runs += [launch("cnn_100", "tuned", n, 9, s) for n, s in enumerate((2.0, 2.0, 4.0, 1.0))]
    found = report.launches(runs)
    assert report.paired(found, ("cnn_100", "local"), ("cnn_100", "tuned"), "seconds") == [0.5, 1.0, 1.5]
    assert report.spread([0.5, 1.0, 1.5]) == "1.00 (0.50–1.50)"
    line = next(text for text in report.promises(found) if "small CNN with 100" in text and "tuned" in text)
    assert line.endswith("| ≤ 1 | 1.00 (0.50–1.50) | 3 | yes |")


def test_a_promise_that_is_not_kept_is_called_so():
    found = report.launches([launch("cnn_100", "local", 0, 1, 1), launch("cnn_100", "flower", 0, 1, 3.9)])
    line = next(text for text in report.promises(found) if text.startswith("| Flower on Ray / local, small CNN"))
    assert line.endswith("| ≥ 4 | 3.90 | 1 | **no** |")
    assert sum(report.MISSING in text for text in report.promises(found)) == len(report.PROMISES) - 2


def asked(**given: object) -> argparse.Namespace:
    return argparse.Namespace(**{"repeats": 5, "only": None, "who": None, "promised": False, **given})


def test_competitors_take_turns_in_both_orders():
    plan = list(run.planned(asked(repeats=2, only=["cnn_1000"], who=["local", "tuned"])))
    who = [(competitor, repeat) for _, competitor, repeat in plan]
    assert who == [("local", 0), ("tuned", 0), ("tuned", 1), ("local", 1)]


def test_what_is_promised_is_measured_and_nothing_else():
    plan = list(run.planned(asked(promised=True)))
    named = {key for promise in report.PROMISES for key in (promise.ours, promise.theirs) if key}
    here = {key for key in named if torch.cuda.is_available() or not key[0].startswith("gpu")}
    assert {(name, competitor) for name, competitor, _ in plan} == here
    assert plan.count(("cnn_100", "local", 4)) == 1
    assert sum(step[:2] == ("clients_1000", "flower") for step in plan) == 3


@pytest.mark.parametrize("name", ["cnn_100", "resnet18_10"])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_the_model_of_the_tuned_loop_is_one_vector(name, layout):
    workload = workloads.quick(workloads.ALL[name])
    model, plain = workload.plain_model(0), workload.plain_model(0)
    vector, _ = tuned.flattened(model, layout)
    images = torch.rand(3, *workload.shape).contiguous(memory_format=layout)
    torch.testing.assert_close(model(images), plain(images))
    vector.zero_()
    assert all(not parameter.any() for parameter in model.parameters())


def test_the_tuned_loop_trains_as_torch_does(monkeypatch):
    workload = workloads.Workload("w", "", 1, 1, 6, 3, epochs=2, width=4)
    dataset, _ = workloads.images(workload, None)
    images, labels = workloads.normalised(dataset, dataset.train), dataset.train.targets
    monkeypatch.setattr(torch, "randperm", torch.arange)
    trainer = tuned.Trainer(workload)
    trainer.train(images, labels)
    model = workload.plain_model(0)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9, weight_decay=5e-4)
    for rows in torch.arange(6).split(3) * 2:
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(images[rows]), labels[rows]).backward()
        optimiser.step()
    expected, _ = tuned.flattened(model, torch.channels_last)
    torch.testing.assert_close(trainer.weights, expected, atol=1e-5, rtol=1e-4)


def test_the_command_measures_and_writes_its_table(tmp_path, monkeypatch, capsys):
    words = ["run.py", "--quick", "--repeats", "1", "--only", "cnn_100", "--who", "local", "tuned", "--out"]
    monkeypatch.setattr(sys, "argv", [*words, str(tmp_path)])
    run.main()
    runs = json.loads((tmp_path / "measurements.json").read_text())["runs"]
    assert [each["competitor"] for each in runs] == ["local", "tuned"]
    assert all(len(each["rounds"]) == 2 and each["peak"] > 2**26 and 0 <= each["accuracy"] <= 1 for each in runs)
    assert "bare loop, tuned by hand" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "growth.svg").exists()


def test_the_server_takes_made_up_replies_one_at_a_time(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["server.py", "--quick"])
    server.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| 50", "| 100", "| 50"]
    assert [line.split(" | ")[2] for line in lines[2:]] == ["references", "references", "bytes"]


def test_replies_that_are_left_out_are_no_measurement(monkeypatch):
    monkeypatch.setattr(server, "SAMPLES", -1)
    with pytest.raises(Exception, match="only 0 of 5 clients answered"):
        server.measured(server.Load(5, 10**4))
