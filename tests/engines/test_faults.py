"""Clients that raise, send nonsense, are late or never come back, injected one by one."""

import threading
import time
from dataclasses import replace
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import pytest
import torch

from fedunlearn.engines import workers
from fedunlearn.engines.base import Progress, run_stage
from fedunlearn.engines.local import Local
from fedunlearn.engines.workers import Overdue, Workers
from fedunlearn.errors import RunError
from fedunlearn.federation import client as client_module
from fedunlearn.federation import sgd
from fedunlearn.federation.client import work_of
from fedunlearn.federation.method import Method, NoSettings
from fedunlearn.federation.objective import Objective, RoundContext, everything
from fedunlearn.federation.spec import StageSpec
from fedunlearn.federation.strategy import UnlearningStrategy
from fedunlearn.randomness import torch_stream
from fedunlearn.settings import registry
from fedunlearn.settings.config import Choice, TrainConfig

TRAINING = TrainConfig(rounds=2, local_epochs=1, batch_size=4)
PLAN = StageSpec("train", 0, "probe", TRAINING, 4)


@pytest.fixture
def stage(make_federation, monkeypatch):
    """Run a stage of three clients, client 1 of which misbehaves in `misbehave(client)`."""

    def go(misbehave=lambda client: None, rounds=1, begin=None, substitute=None, federation=None, spec=PLAN, **engine):
        def assign(model, client, context):
            if client.number == 1:
                misbehave(client)
            return everything(model, client, context)

        objective = Objective(assign, substitute=substitute)
        probe = Method("probe", NoSettings, lambda settings, spec: objective, queries={"ask": ask})
        work_of.cache_clear()  # the same spec now stands for another method
        find = registry.find
        monkeypatch.setattr(registry, "find", lambda kind, name: probe if name == "probe" else find(kind, name))
        federation = federation or make_federation(clients=3)
        seen = []
        begin = begin or Progress(federation.models.fresh(0).state_dict())
        config = SimpleNamespace(engine=Choice("local", Local(**{"workers": 2, **engine})), train=spec.training)
        try:
            run_stage(spec, begin, rounds, federation, config, seen.append)
        finally:
            go.seen = seen
        return seen[-1]

    return go


def ask(model, client, settings, spec):
    if client.number == 1:
        raise ValueError("no idea")
    return {"n": torch.tensor(1.0 + client.number)}


def average_without_client_1(federation):
    states, weights = [], []
    for number in (0, 2):
        model, client = federation.models.fresh(0), federation.client(number)
        order = torch_stream(0, "train", "batches", 1, number)
        received = {name: value.clone() for name, value in model.state_dict().items()}
        context = RoundContext(federation.task, 1, {}, received, model)
        sgd.train(model, client, Objective(everything), context, TRAINING, order)
        states.append(model.state_dict())
        weights.append(len(client))
    return {
        name: sum(w * s[name].double() for w, s in zip(weights, states, strict=True)) / sum(weights)
        for name in states[0]
    }


def check_left_out(progress, federation, reason):
    assert progress.cost["failures"] == 1
    assert progress.history[1]["failures"] == 1
    assert reason in progress.history[1]["failure"]
    for name, value in average_without_client_1(federation).items():
        torch.testing.assert_close(progress.model[name].double(), value, atol=1e-6, rtol=1e-6)


def test_a_client_that_raises_is_left_out(stage, make_federation):
    def broken(client):
        raise ValueError("disk on fire")

    check_left_out(stage(broken), make_federation(clients=3), "client 1: ValueError: disk on fire")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_client_that_sends_no_numbers_is_left_out(stage, make_federation, value):
    def spoilt(model, client):
        if client.number != 1:
            return client
        return replace(client, raw={"images": torch.full(client.raw["images"].shape, value)}, prepare=lambda raw: raw)

    check_left_out(stage(substitute=spoilt), make_federation(clients=3), "is not finite")


def test_a_client_that_is_late_is_left_out(stage, make_federation, monkeypatch):
    late, now = threading.local(), time.monotonic
    clock = SimpleNamespace(monotonic=lambda: now() + getattr(late, "by", 0.0), perf_counter=time.perf_counter)
    monkeypatch.setattr(client_module, "time", clock)  # a clock for each worker, that only this test moves

    def misbehave(client):
        late.by = getattr(late, "by", 0.0) + 3601.0

    progress = stage(misbehave, client_timeout=3600.0)
    check_left_out(progress, make_federation(clients=3), "client 1: TimeoutError: not finished after 3600 s")


def test_a_client_that_never_comes_back_hangs_nothing(stage, make_federation, monkeypatch):
    hung, release, back, now = Event(), Event(), [], time.monotonic

    def clock():
        if threading.current_thread() is threading.main_thread():
            hung.wait(60)  # the server looks at the time once the client hangs, two hours later
        return now() + 7200.0 * hung.is_set()

    def misbehave(client):
        hung.set()
        release.wait(60)
        back.append(client.number)

    monkeypatch.setattr(workers, "time", SimpleNamespace(monotonic=clock, sleep=time.sleep))
    progress = stage(misbehave, client_timeout=3600.0, workers=1)
    assert back == []
    release.set()
    check_left_out(progress, make_federation(clients=3), "client 1: TimeoutError: no answer after 3601 s")


def test_too_few_replies_stop_the_stage_where_it_can_go_on(stage):
    healthy = stage(rounds=2)
    broken_from = []

    def breaks(client):
        broken_from.append(1)
        if len(broken_from) > 1:
            raise ValueError("flaky")

    with pytest.raises(RunError, match=r"only 2 of 3 clients answered in round 2; .*flaky"):
        stage(breaks, rounds=2, min_replies=0.9)
    left = stage.seen[-1]
    assert left.cost["rounds"] == 1
    resumed = stage(rounds=2, begin=left, min_replies=0.9)
    assert all(torch.equal(value, resumed.model[name]) for name, value in healthy.model.items())


def test_failures_are_counted_over_the_rounds(stage):
    def broken(client):
        raise ValueError("always")

    progress = stage(broken, rounds=2)
    assert progress.cost["failures"] == 2
    assert [entry.get("failures") for entry in progress.history] == [None, 1, 1]


def test_a_vote_does_without_the_clients_that_cannot_vote(stage, monkeypatch):
    heard = {}

    def prepare(self, model, clients):
        heard["total"] = clients.total("ask", model)["n"].item()
        with pytest.raises(RunError, match="a client could not answer 'ask': client 1: ValueError: no idea"):
            list(clients.each("ask", model))
        self.min_replies = 0.9
        with pytest.raises(RunError, match="only 2 of 3 clients could answer 'ask'"):
            clients.total("ask", model)
        self.min_replies = 0.5
        return model

    monkeypatch.setattr(UnlearningStrategy, "prepare", prepare)
    assert stage().cost["failures"] == 2
    assert heard["total"] == 1.0 + 3.0


def test_workers_replace_one_that_is_given_up():
    release, pool = Event(), Workers(1)
    stuck = pool.submit(release.wait)
    after = pool.submit(lambda: 7)
    with pytest.raises(Overdue):
        stuck.result(0.1)
    assert not after.done()
    pool.give_up(stuck)
    assert after.result(60) == 7
    pool.close()
    assert not stuck.done()  # and was not waited for
    release.set()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux lists the threads of a process")
def test_closed_workers_are_gone_for_the_operating_system_too():
    """Else PyTorch may still release what `backward` left in them while the interpreter ends, and abort it."""

    def step():
        torch.ones(3, requires_grad=True).sum().backward()
        return threading.get_native_id()

    for _ in range(20):
        pool = Workers(2)
        numbers = [job.result() for job in [pool.submit(step) for _ in range(4)]]
        pool.close()
        assert not any(Path(f"/proc/self/task/{number}").exists() for number in numbers)


def test_a_call_may_raise_a_timeout_of_its_own():
    def impatient():
        raise TimeoutError("mine")

    pool = Workers(1)
    with pytest.raises(TimeoutError, match="mine"):
        pool.submit(impatient).result(60)
    pool.close()


def finite(progress):
    return all(value.isfinite().all() for value in progress.model.values())


def check_goes_on(stage, left):
    """A stage that stopped is as it was before, and goes on from there to what it would have been anyway."""
    healthy = stage(rounds=2)
    resumed = stage(rounds=2, begin=left)
    assert all(torch.equal(value, resumed.model[name]) for name, value in healthy.model.items())


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (float("nan"), "tensor head.weight is not finite after round 2, so this round is not kept"),
        (float("inf"), "tensor head.weight is not finite after round 2"),
        (3e38, "what the model puts out is not finite after round 2"),
    ],
)
def test_a_model_that_is_not_finite_is_not_kept(stage, monkeypatch, value, words):
    def wreck(self, number, model):
        wrecked = {"head.bias": torch.full((4,), value), "head.weight": torch.full((4, 6), value)}
        return {**model, **wrecked} if number == 2 else model

    with monkeypatch.context() as patch:
        patch.setattr(UnlearningStrategy, "after_round", wreck)
        with pytest.raises(RunError, match=f"^train: {words}.* try a smaller train.lr=0.03$"):
            stage(rounds=2)
    left = stage.seen[-1]
    assert left.cost["rounds"] == 1 and finite(left)
    check_goes_on(stage, left)


def test_what_is_shared_and_not_finite_is_not_kept(stage, monkeypatch):
    def prepare(self, model, clients):
        self.shared["prototypes"] = torch.full((2,), float("nan"))
        return model

    monkeypatch.setattr(UnlearningStrategy, "prepare", prepare)
    with pytest.raises(RunError, match="tensor prototypes is not finite after round 0"):
        stage()
    assert stage.seen == []


def test_steps_that_are_too_long_are_named(stage):
    long = replace(PLAN, training=replace(TRAINING, lr=1e20))
    with pytest.raises(RunError, match=r"only 0 of 3 clients answered in round 1; .* try a smaller train.lr=1e\+20"):
        stage(spec=long)
    assert [progress.cost["rounds"] for progress in stage.seen] == [0]
    assert finite(stage.seen[0])
