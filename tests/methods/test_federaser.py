"""FedEraser: one calibrated step by hand, which stored rounds are used, and the second run of the original training."""

import io
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from fedunlearn.cli import command_line
from fedunlearn.cli.main import conf_dir
from fedunlearn.errors import RequestError
from fedunlearn.federation import wire
from fedunlearn.federation.spec import StageSpec
from fedunlearn.methods.federaser import (
    FIRST,
    CalibratingServer,
    FedEraser,
    Historian,
    calibrated,
    check,
    retraced,
    stored_rounds,
)
from fedunlearn.randomness import derive
from fedunlearn.runs import pipeline, steps
from fedunlearn.runs.console import Console
from fedunlearn.settings.config import Choice, TrainConfig

TRAINING = TrainConfig(rounds=2, local_epochs=3)
PLAN = StageSpec("unlearn", 0, "federaser", TRAINING, 2, forget_classes=(1,))
SMALL = [
    "data.limit=200",
    "gates=warn",
    "train.rounds=4",
    "unlearn.rounds=2",
    "retrain.seeds=1",
    "partition.clients=4",
    "~audit",
]


def two_parameters(weight, bias=0.0):
    return {"weight": torch.tensor([weight]), "bias": torch.tensor([bias])}


def model_of(seed):
    """Weights that tell which seed they were made with."""
    model = torch.nn.Linear(2, 1)
    torch.nn.init.constant_(model.weight, seed % 1000)
    return model


def set_up(server, memory=None):
    server.new_model = model_of
    server.memory = memory or {}
    return server


def calibrating(memory, spec=PLAN, **settings):
    return set_up(CalibratingServer(FedEraser(**settings), spec, wire.by_reference, torch.device("cpu")), memory)


def historian(spec):
    return set_up(Historian(None, spec, wire.by_reference, torch.device("cpu")))


def test_one_calibrated_step_by_hand():
    # the old step was 10 long, the new one goes along (3, 4) / 5: from (1, 1) to (1 + 6, 1 + 8)
    step = calibrated(torch.tensor([1.0, 1.0]), torch.tensor([4.0, 5.0]), torch.tensor(10.0))
    assert step.tolist() == [7.0, 9.0]
    assert calibrated(torch.tensor([1.0]), torch.tensor([1.0]), torch.tensor(10.0)).tolist() == [1.0]


def test_every_layer_has_its_own_length():
    server = calibrating({"norms": torch.tensor([[10.0, 2.0], [0.0, 0.0]]), "models": torch.ones(2)}, interval=None)
    server.prepare(two_parameters([0.0, 0.0]), None)
    server.before_round(1, two_parameters([1.0, 1.0], 0.5))
    after = server.after_round(1, two_parameters([4.0, 5.0], -3.5))
    assert after["weight"].tolist() == [[7.0, 9.0]] and after["bias"].item() == -1.5
    server.before_round(2, after)
    assert server.after_round(2, two_parameters([0.0, 0.0]))["weight"].tolist() == [
        [7.0, 9.0]
    ]  # an old step of length 0


def test_statistics_of_normalisation_layers_are_averaged():
    server = calibrating({"norms": torch.zeros(2, 2), "models": torch.ones(2)})
    server.before_round(1, {**two_parameters([0.0, 0.0]), "running_var": torch.ones(1)})
    server.memory = {"norms": torch.ones(1, 2)}
    assert (
        server.after_round(1, {**two_parameters([1.0, 0.0]), "running_var": torch.full((1,), 3.0)})["running_var"] == 3
    )


@pytest.mark.parametrize(
    ("trained", "count", "interval", "rounds"),
    [
        *[(6, 3, None, [0, 2, 4]), (30, 10, None, list(range(0, 30, 3))), (7, 3, None, [0, 2, 4])],
        *[(3, 3, None, [0, 1, 2]), (5, 0, None, []), (7, 4, 2, [0, 2, 4, 6]), (9, 3, 4, [0, 4, 8])],
    ],
)
def test_every_interval_th_round_is_stored_from_the_first_on(trained, count, interval, rounds):
    assert stored_rounds(trained, count, interval) == rounds


@pytest.mark.parametrize(
    ("interval", "clients", "rounds"),
    [(2, (), 13), (2, (0,), 12), (4, (), 7), (25, (), 1), (40, (), 1), (None, (), 6), (None, (0,), 6)],
)
def test_as_many_rounds_as_the_interval_leaves_or_as_there_are(interval, clients, rounds):
    assert retraced(asked(interval, clients, train=25, unlearn=6)) == rounds


def asked(interval, clients, train, unlearn):
    """What the method looks at of a run."""
    return SimpleNamespace(
        method=Choice("federaser", FedEraser(interval=interval)),
        train=SimpleNamespace(rounds=train),
        unlearn=SimpleNamespace(rounds=unlearn),
        request=SimpleNamespace(clients=clients),
    )


def test_at_class_level_it_starts_over_from_the_first_model_and_calibrates_every_stored_round():
    norms = torch.arange(8.0).reshape(4, 2)
    server = calibrating({"norms": norms, "models": torch.full((4,), 5.0)})
    start = server.prepare(two_parameters([9.0, 9.0]), None)
    assert start["weight"].tolist() == [[derive(0, "train") % 1000] * 2]
    assert server.memory["norms"].tolist() == [[0, 1], [4, 5]]
    assert server.notes == {"stored_rounds": [1, 3], "stored_bytes": 2 * 2 * 4}
    assert server.training(1).local_epochs == 2  # half of three, rounded up


def test_at_client_level_the_first_stored_round_is_taken_as_it_is():
    memory = {"norms": torch.arange(12.0).reshape(6, 2), "models": torch.tensor([3.0, 9, 4, 9, 5, 9])}
    memory |= {FIRST + name: value for name, value in two_parameters([1.0, 2.0], 3.0).items()}
    server = calibrating(memory, replace(PLAN, level="client", forget_classes=(), forget_clients=(0,)))
    start = server.prepare(two_parameters([9.0, 9.0]), None)
    assert start["weight"].tolist() == [[1.0, 2.0]] and start["bias"].item() == 3
    assert server.memory["norms"].tolist() == [[4, 5], [8, 9]]
    # every client's model and the global one, three floats each, of the stored rounds 1, 3 and 5
    assert server.notes == {"stored_rounds": [1, 3, 5], "stored_bytes": 12 * (4 + 5 + 6)}


def test_the_historian_measures_the_step_of_the_global_model():
    server = historian(replace(PLAN, stage="train"))
    server.prepare(two_parameters([0.0, 0.0]), None)
    server.before_round(2, two_parameters([1.0, 1.0]))
    for client in range(3):
        server.on_client_model(client, two_parameters([50.0, 50.0]), 1.0)
    average = two_parameters([4.0, 5.0], -2.0)
    assert server.after_round(2, average) is average
    assert server.memory["norms"].tolist() == [[0.0, 0.0], [5.0, 2.0]]
    assert server.memory["models"].tolist() == [0, 3]
    assert not any(name.startswith(FIRST) for name in server.memory)


def test_the_historian_leaves_forgotten_clients_out_of_the_average():
    server = historian(replace(PLAN, stage="train", level="client", forget_classes=(), forget_clients=(1,)))
    server.prepare(two_parameters([0.0, 0.0]), None)
    server.before_round(1, two_parameters([1.0, 1.0]))
    server.on_client_model(0, two_parameters([5.0, 1.0]), 1.0)
    server.on_client_model(1, two_parameters([100.0, 100.0]), 7.0)
    server.on_client_model(2, two_parameters([3.0, 5.0]), 3.0)
    server.after_round(1, two_parameters([60.0, 60.0]))
    # (1 · (5, 1) + 3 · (3, 5)) / 4 = (3.5, 4), which is (2.5, 3) from where it started
    assert server.memory[FIRST + "weight"].tolist() == [[3.5, 4.0]]
    torch.testing.assert_close(server.memory["norms"][0], torch.tensor([(2.5**2 + 3**2) ** 0.5, 0.0]))
    server.before_round(2, two_parameters([1.0, 1.0]))
    server.on_client_model(1, two_parameters([100.0, 100.0]), 7.0)
    server.after_round(2, two_parameters([60.0, 60.0]))
    assert server.memory["norms"][1].tolist() == [0, 0]  # only the forgotten client took part
    assert server.memory[FIRST + "weight"].tolist() == [[3.5, 4.0]]


@pytest.mark.parametrize(
    ("clients", "rounds", "fits"), [((), 30, True), ((), 31, False), ((0,), 29, True), ((0,), 30, False)]
)
def test_no_more_rounds_than_there_were(clients, rounds, fits):
    config = asked(None, clients, 30, rounds)
    if fits:
        check(config.method.settings, config)
        return
    with pytest.raises(RequestError, match=r"unlearn\.rounds=3\d.* are more than train\.rounds=30"):
        check(config.method.settings, config)


def test_at_client_level_an_interval_must_leave_a_round_to_calibrate():
    config = asked(10, (0,), train=10, unlearn=3)
    with pytest.raises(RequestError, match=r"method\.interval=10 leaves no round to calibrate of train\.rounds=10"):
        check(config.method.settings, config)
    for fine in (asked(9, (0,), 10, 3), asked(10, (), 10, 3)):
        check(fine.method.settings, fine)


def run(place, *words):
    words = [*SMALL, f"store.dir={place / 'store'}", f"output.dir={place / 'run'}", "method=federaser", *words]
    config = command_line.read(words, conf_dir())
    return config, pipeline.run(config, Console(io.StringIO()))


def test_the_history_is_the_original_training_and_is_kept(tmp_path):
    config, outcome = run(tmp_path)
    planned = steps.of_run(config, outcome.federation)
    history = planned.of("unlearned")[0].inputs["history"][0]
    kinds = [stage.kind for stage in planned]
    assert kinds == ["train", "retrain", "history", "unlearn"]
    stored = pipeline.Store(tmp_path / "store").peek("history", history.determinants())
    again = {name.removeprefix("model/"): value for name, value in stored.tensors.items() if name.startswith("model/")}
    assert all(torch.equal(value, outcome.original.tensors[name]) for name, value in again.items())
    assert stored.tensors["memory/norms"].shape == (4, 8)
    assert (stored.tensors["memory/norms"] > 0).all()
    assert outcome.unlearned.notes["stored_rounds"] == [1, 3]
    _, longer = run(tmp_path, "method.interval=null", "unlearn.rounds=4")
    assert longer.unlearned.notes["stored_rounds"] == [1, 2, 3, 4]
    assert len(list((tmp_path / "store" / "history").iterdir())) == 1


def test_at_client_level_it_rebuilds_without_the_client(tmp_path):
    _, outcome = run(tmp_path, "request.classes=[]", "request.clients=[1]", "unlearn.rounds=1")
    assert outcome.unlearned.notes["stored_rounds"] == [1, 3]
    assert outcome.unlearned.cost["samples"] == sum(
        len(part) for i, part in enumerate(outcome.federation.parts) if i != 1
    )
