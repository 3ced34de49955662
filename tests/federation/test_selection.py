"""What clients select: the same everywhere and after an interruption, kept to themselves, and all that they have."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from fedunlearn.cli import command_line
from fedunlearn.cli.main import conf_dir
from fedunlearn.engines.base import Progress, run_stage
from fedunlearn.engines.local import Local
from fedunlearn.engines.stacked import Stacked
from fedunlearn.errors import RequestError, RunError
from fedunlearn.federation import client as clients
from fedunlearn.federation import selection
from fedunlearn.federation.method import Method, NoSettings
from fedunlearn.federation.objective import Objective, everything
from fedunlearn.federation.spec import Plugin, StageSpec
from fedunlearn.federation.strategy import UnlearningStrategy
from fedunlearn.settings import registry
from fedunlearn.settings.config import Choice, TrainConfig

PACE = TrainConfig(rounds=3, local_epochs=2, batch_size=4, lr=0.1)
LOOKING = [selector.name for selector in registry.ours("selector") if selector.looks]
SELECTORS = [selector.name for selector in registry.ours("selector") if selector.name != "all"]
HALF = {"share": 0.5}


@pytest.fixture
def federation(make_federation):
    return make_federation(per_class=20)


def seen(model, client, context):
    """Which rows of the data a client has: uploads that a test can read."""
    held = torch.zeros(80, dtype=torch.int64)
    held[client.rows] = 1
    return {"held": held, "forgotten": client.forget.sum()}


class Listening(UnlearningStrategy):
    """Keeps what clients uploaded, and what was there before the first round."""

    def prepare(self, model, clients):
        self.notes["asked"] = int(clients.total("held", model)["held"].sum())
        return model

    def on_totals(self, totals):
        self.notes["held"] = [*self.notes.get("held", []), totals["held"].nonzero()[:, 0].tolist()]
        self.notes["forgotten"] = int(totals["forgotten"])


@pytest.fixture(autouse=True)
def listening(monkeypatch):
    objective = Objective(everything, uploads=seen)
    queries = {"held": lambda model, client, settings, spec: seen(model, client, None)}
    member = Method("listening", NoSettings, lambda settings, spec: objective, Listening, queries)
    find = registry.find
    monkeypatch.setattr(registry, "find", lambda kind, name: member if name == "listening" else find(kind, name))


def brief(name="energy", **settings):
    chosen = Plugin(name, {**HALF, **settings}) if name else None
    return StageSpec("unlearn", 3, "listening", PACE, 4, forget_classes=(1,), select=chosen)


def stage(federation, spec, engine=None, begin=None, first=None, rounds=PACE.rounds):
    begin = begin or Progress(federation.models.fresh(5).state_dict())
    checkpoints = []
    config = SimpleNamespace(engine=engine or Choice("local", Local(workers=1)), train=PACE)
    run_stage(spec, begin, rounds, federation, config, checkpoints.append, first=first)
    return checkpoints


def assert_same(one, other):
    assert one.notes == other.notes
    assert all(torch.equal(value, other.model[name]) for name, value in one.model.items())


@pytest.mark.parametrize("name", SELECTORS)
def test_a_client_has_its_forget_samples_and_a_share_of_every_other_class(federation, name):
    client, spec = federation.client(0), brief(name)
    positions = selection.kept(federation.models.fresh(5), client, spec)
    assert positions.tolist() == sorted(set(positions.tolist()))
    only = selection.only(client, positions)
    assert torch.equal(only.rows, client.rows[positions]) and len(only) == len(positions)
    assert int(only.forget.sum()) == int(client.forget.sum()) > 0
    whole, left = (torch.bincount(each.groups, minlength=4) for each in (client, only))
    for group in (0, 2, 3):
        assert name == "class_balanced" or left[group] == max(1, round(0.5 * int(whole[group])))
    assert torch.equal(positions, selection.kept(federation.models.fresh(5), client, spec))


@pytest.mark.parametrize("name", LOOKING)
def test_selectors_that_look_see_the_received_model(federation, name):
    client, spec = federation.client(0), brief(name, share=0.3)
    by = [selection.kept(federation.models.fresh(seed), client, spec).tolist() for seed in range(4)]
    assert len({tuple(positions) for positions in by}) > 1


def test_clients_draw_from_streams_of_their_own(federation):
    federation.parts = [federation.parts[0], federation.parts[0]]
    model, spec = federation.models.fresh(5), brief("random")
    one, other = (selection.kept(model, federation.client(number), spec).tolist() for number in (0, 1))
    assert one != other
    assert selection.kept(model, federation.client(0), replace(spec, stage="repair_unlearned")).tolist() != one
    assert selection.kept(model, federation.client(0), replace(spec, seed=4)).tolist() != one


def test_the_whole_stage_is_on_what_clients_selected(federation):
    whole, some = stage(federation, brief(""))[-1], stage(federation, brief("energy"))[-1]
    held = some.notes["held"]
    assert held == [held[0]] * 3, "the selection of the first round is that of all rounds"
    assert some.notes["asked"] == len(held[0]) == selection.replayed(federation, brief()) + 20
    assert some.notes["forgotten"] == whole.notes["forgotten"] == 20
    assert (whole.notes["asked"], selection.replayed(federation, brief(""))) == (80, 60)
    assert some.cost["samples"] == 2 * 3 * len(held[0]) < whole.cost["samples"] == 2 * 3 * 80
    payload = federation.models.layout.payload
    assert some.cost["bytes_down"] - whole.cost["bytes_down"] == 3 * payload, "the model, once to every client"
    assert some.cost["bytes_up"] == whole.cost["bytes_up"], "and nothing comes back"


def test_a_share_of_one_is_all_of_them(federation):
    assert_same(stage(federation, brief("energy", share=1.0))[-1], stage(federation, brief(""))[-1])


@pytest.mark.parametrize("name", ["energy", "support_points", "mutual_information"])
def test_workers_threads_processes_and_stacks_select_the_same(make_federation, name):
    engines = [Local(workers=1), Local(workers=2), Local(workers=4), Local(workers=2, backend="processes")]
    ends = [stage(make_federation(per_class=20), brief(name), Choice("local", engine))[-1] for engine in engines]
    for end in ends[1:]:
        assert_same(end, ends[0])
    stacked = stage(make_federation(per_class=20), brief(name), Choice("stacked", Stacked(workers=1)))[-1]
    assert stacked.notes == ends[0].notes


def test_a_stage_goes_on_with_the_same_selection(make_federation, federation):
    begin = federation.models.fresh(5).state_dict()
    whole = stage(make_federation(per_class=20), brief("energy"))
    for number, checkpoint in enumerate(whole[:-1]):
        resumed = stage(make_federation(per_class=20), brief("energy"), begin=checkpoint, first=begin)
        assert_same(resumed[-1], whole[-1])
        assert resumed[-1].history == whole[-1].history
        same = ("rounds", "bytes_up", "bytes_down", "samples", "failures")
        assert {name: resumed[-1].cost[name] for name in same} == {name: whole[-1].cost[name] for name in same}
        if number == 2:
            other = stage(
                make_federation(per_class=20),
                brief("energy"),
                begin=checkpoint,
                first=federation.models.fresh(1).state_dict(),
            )[-1]
            assert other.notes["held"] != whole[-1].notes["held"], "the test can tell by which model they selected"


def test_a_client_that_could_not_select_is_left_out_and_counted(federation, monkeypatch):
    true = selection.kept

    def kept(model, client, spec):
        if client.number == 1:
            raise MemoryError("too many samples")
        return true(model, client, spec)

    monkeypatch.setattr(clients.selection, "kept", kept)
    spec = replace(brief(), method="fedavg")
    end = stage(federation, spec)[-1]
    assert end.cost["failures"] == 1 + 3
    assert "client 1: RuntimeError: nothing selected was kept for unlearn" in end.history[-1]["failure"]
    monkeypatch.setattr(clients.selection, "kept", lambda *given: 1 / 0)
    with pytest.raises(RunError, match="only 0 of 3 clients could answer 'select'"):
        stage(federation, spec)


def test_a_client_with_nothing_to_retain_or_to_forget(federation):
    forget = torch.from_numpy(federation.request.forget)
    federation.parts = [rows.nonzero()[:, 0].numpy() for rows in (forget, ~forget)]
    model = federation.models.fresh(5)
    for name in SELECTORS:
        assert selection.kept(model, federation.client(0), brief(name)).tolist() == list(range(20))
        assert len(selection.kept(model, federation.client(1), brief(name))) == 30


def test_which_stages_select():
    asked = command_line.read(["method=finetune", "select=energy", "select.share=0.2"], conf_dir())
    chosen = selection.of_method(asked)
    assert chosen == Plugin("energy", {"share": 0.2, "to": None, "components": 16})
    assert selection.of_repair(asked) is None
    assert selection.of_repair(replace(asked, repair=_default("repair", "average_logit_gap"))) is None
    trains = _default("repair", "finetune")
    assert selection.of_repair(replace(asked, repair=trains)) == chosen
    for method in ("head_mask", "retrain"):
        other = replace(asked, method=_default("method", method))
        assert selection.of_method(other) is None
        selection.check(replace(other, repair=trains))
        with pytest.raises(RequestError, match=f"select=energy has no stage .* method {method} does not go on"):
            selection.check(other)
    every = replace(asked, select=_default("selector", "all"))
    assert selection.of_method(every) is None
    selection.check(replace(every, method=_default("method", "head_mask")))


def _default(kind, name):
    return Choice(name, registry.find(kind, name).settings())
