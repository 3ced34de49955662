"""Worker processes: the bits of threads, and nothing left behind whatever happens to them or to their parent."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch import nn

from fedunlearn.cli import main
from fedunlearn.data.types import Request
from fedunlearn.engines import grid as grid_module
from fedunlearn.engines import local, processes
from fedunlearn.engines.base import Progress, run_stage
from fedunlearn.engines.grid import LocalGrid, Threads, answers
from fedunlearn.engines.local import Local
from fedunlearn.engines.processes import Processes
from fedunlearn.federation import wire
from fedunlearn.federation.pool import ModelPool
from fedunlearn.federation.spec import StageSpec
from fedunlearn.models.base import Network
from fedunlearn.settings import registry
from fedunlearn.settings.config import Choice, TrainConfig
from fedunlearn.settings.schema import plain
from fedunlearn.tasks.base import defined
from tests.engines.test_stacked import SHORTER

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")

TRAINING = TrainConfig(rounds=2, local_epochs=1, batch_size=5, lr=0.05, momentum=0.9, weight_decay=0.01)
CLIENTS = 4


def convolutional(seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
        return Network(nn.Sequential(*layers), nn.Linear(16, 4))


def federation_of(make_federation, level):
    federation = make_federation(clients=CLIENTS)
    order = np.random.default_rng(3).permutation(len(federation.train))
    federation.parts[:] = [np.sort(part) for part in np.split(order, [15, 16, 30])]
    asked = np.zeros(len(order), dtype=bool)
    asked[federation.parts[0]] = True
    if level == "client":
        federation.request = Request("client", asked, ())
    if level == "sample":
        federation.request = Request("sample", asked & (np.arange(len(order)) % 2 == 0), ())
    federation.models = ModelPool(convolutional, federation.device)
    return federation


def play(make_federation, name, server=None, memory=(), rounds=2, begin=None, seen=None, **engine):
    """A stage of a method on four clients of different sizes, one of them with a single sample."""
    method = registry.find("method", name)
    level = next(level for level in ("class", "client", "sample") if level in method.levels)
    federation = federation_of(make_federation, level)
    forget = {"forget_classes": federation.request.classes, "forget_clients": (0,) if level == "client" else ()}
    settings = plain(method.settings()) if method.settings.__dataclass_fields__ else {}
    settings |= SHORTER.get(name, {})
    spec = StageSpec("unlearn", 0, name, TRAINING, 4, level, **forget, settings=settings)
    begin = begin or Progress(federation.models.fresh(7).state_dict(), memory=dict(memory))
    choice = Choice("local", Local(**{"workers": 2, "backend": "processes", **engine}))
    config = SimpleNamespace(engine=choice, train=TRAINING)
    seen = [] if seen is None else seen
    return run_stage(spec, begin, rounds, federation, config, seen.append, server, pytest.fail)


def assert_same(first, second):
    assert first.history == second.history
    assert first.notes == second.notes
    for kind in ("model", "shared", "memory"):
        mine, other = getattr(first, kind), getattr(second, kind)
        assert mine.keys() == other.keys()
        for key, value in mine.items():
            assert torch.equal(value, other[key]), (kind, key)
            assert value.stride() == other[key].stride(), (kind, key)
    assert {**first.cost, "seconds": 0, "profile": 0} == {**second.cost, "seconds": 0, "profile": 0}


@pytest.mark.parametrize("name", registry.names("method"))
def test_threads_and_processes_give_the_same_bits(make_federation, trains, name):
    method, memory = registry.find("method", name), {}
    if not trains(method):
        pytest.skip(f"{name} trains no client")
    if not defined(method.tasks, "classification"):
        pytest.skip(f"{name} is not for classes")
    if method.history:
        memory = play(make_federation, "fedavg", method.history, backend="threads").memory
    runs = [play(make_federation, name, memory=memory, backend=backend) for backend in ("threads", "processes")]
    assert runs[0].cost["samples"] > 0
    assert_same(*runs)


def test_any_number_of_processes_gives_the_same_bits(make_federation):
    runs = [play(make_federation, "fucrt", workers=workers) for workers in (1, 2, 4)]
    assert_same(runs[0], runs[1])
    assert_same(runs[0], runs[2])


# Messages --------------------------------------------------------------------------------------------------------


def app_that(misbehave=lambda number: None):
    """A client counts its messages, and says in which process it answers."""
    app = ClientApp()

    @app.train()
    def train(message, context):
        number = context.node_config["partition-id"]
        misbehave(number)
        seen = context.state.get("seen", MetricRecord({"n": 0}))["n"] + 1
        context.state["seen"] = MetricRecord({"n": seen})
        kept = wire.tensors(context.state, "kept", torch.device("cpu")) if "kept" in context.state else {}
        total = kept.get("total", torch.zeros(2, 3)) + wire.tensors(message.content, "model", torch.device("cpu"))["w"]
        context.state["kept"] = wire.by_reference({"total": total})
        said = MetricRecord({"number": number, "seen": seen, "pid": os.getpid(), "nan": float("nan")})
        return Message(RecordDict({"m": said, "total": wire.by_reference({"total": total})}), reply_to=message)

    return app


@contextmanager
def grid_of(app, clients=6, workers=2, limit=None):
    with LocalGrid(Processes(answers(app), workers, clients), clients, limit) as grid:
        yield grid


def ask(grid, value=1.0, nodes=None):
    content = RecordDict({"task": ConfigRecord({}), "model": wire.by_reference({"w": torch.full((2, 3), value)})})
    return grid.send_and_receive(Message(content, node, "train") for node in nodes or grid.get_node_ids())


def said(replies, name):
    return [reply.content["m"][name] if reply.has_content() else None for reply in replies]


def test_replies_come_in_the_order_of_the_messages_from_several_processes():
    def dawdle(number):
        time.sleep(0.05 * (number % 3 == 2))

    with grid_of(app_that(dawdle), clients=20, workers=3) as grid:
        nodes = list(reversed(grid.get_node_ids()))
        replies = list(ask(grid, nodes=nodes))
    assert said(replies, "number") == list(range(19, -1, -1))
    assert [reply.metadata.src_node_id for reply in replies] == nodes
    assert len(set(said(replies, "pid")) - {os.getpid()}) == 3


def test_clients_keep_what_they_remember_whichever_process_answers():
    with grid_of(app_that(), workers=2) as grid:
        first = list(ask(grid, 1.0))
        assert said(ask(grid, 2.0, list(reversed(grid.get_node_ids()))), "seen") == [2] * 6
        last = list(ask(grid, 4.0))
    assert said(last, "seen") == [3] * 6
    totals = [wire.tensors(reply.content, "total", torch.device("cpu"))["total"] for reply in last + first]
    assert [total.unique().item() for total in totals] == [7.0] * 6 + [1.0] * 6  # the first ones as they were


def test_what_is_sent_next_does_not_change_what_is_still_under_way():
    with grid_of(app_that(lambda number: time.sleep(0.1))) as grid:
        content = RecordDict({"model": wire.by_reference({"w": torch.full((2, 3), 1.0)})})
        names = grid.push_messages(Message(content, node, "train") for node in grid.roster[:4])
        list(ask(grid, 2.0, grid.roster[4:]))
        replies = grid.pull_messages(names)
    totals = [wire.tensors(reply.content, "total", torch.device("cpu"))["total"] for reply in replies]
    assert [total.unique().item() for total in totals] == [1.0] * 4


def test_push_and_pull():
    with grid_of(app_that()) as grid:
        content = RecordDict({"model": wire.by_reference({"w": torch.zeros(2, 3)})})
        names = grid.push_messages(Message(content, node, "train") for node in grid.get_node_ids())
        pulled = []
        while len(pulled) < 6:
            pulled += grid.pull_messages(names)
    assert sorted(said(pulled, "number")) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "tensor",
    [
        torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        torch.randn(3, 4).t(),
        torch.randn(5)[None].expand(3, 5),
        torch.tensor(7),
        torch.zeros(0, 3),
        torch.tensor([True, False, True]),
        torch.randn(70000, dtype=torch.float64),
        torch.randn(9).to(torch.bfloat16),
    ],
)
def test_tensors_arrive_as_they_were(tensor):
    app = ClientApp()

    @app.train()
    def echo(message, context):
        return Message(RecordDict({"echo": message.content["model"]}), reply_to=message)

    with grid_of(app, clients=1, workers=1) as grid:
        content = RecordDict({"model": wire.by_reference({"first": torch.ones(3), "x": tensor})})
        (reply,) = grid.send_and_receive([Message(content, grid.roster[0], "train")])
    arrived = wire.tensors(reply.content, "echo", torch.device("cpu"))
    assert list(arrived) == ["first", "x"]
    assert arrived["x"].dtype == tensor.dtype
    assert arrived["x"].stride() == tensor.clone().stride()
    assert torch.equal(arrived["x"], tensor)


# Faults ----------------------------------------------------------------------------------------------------------


def test_an_exception_becomes_an_error_reply_and_its_state_is_dropped():
    def broken(number):
        if number == 1:
            raise ValueError("broken on purpose")

    with grid_of(app_that(broken)) as grid:
        replies = list(ask(grid))
        assert [reply.has_error() for reply in replies] == [False, True, False, False, False, False]
        assert replies[1].error.reason.endswith("client 1: ValueError: broken on purpose")
        assert said(ask(grid), "seen") == [2, None, 2, 2, 2, 2]


def test_what_cannot_be_sent_is_an_error_of_its_client():
    app = ClientApp()

    @app.train()
    def odd(message, context):
        return Message(
            RecordDict({"x": wire.by_reference({"c": torch.zeros(2, dtype=torch.complex64)})}), reply_to=message
        )

    with grid_of(app, clients=2) as grid:
        assert "client 1: ValueError: is of a type that is not supported" in list(ask(grid))[1].error.reason


def test_a_process_that_hangs_is_replaced(monkeypatch):
    monkeypatch.setattr(grid_module, "GRACE", 0.1)

    def hang(number):
        time.sleep(1000 * (number == 1))

    with grid_of(app_that(hang), limit=0.2) as grid:
        replies = list(ask(grid))
        assert [reply.has_error() for reply in replies] == [False, True, False, False, False, False]
        assert replies[1].error.reason.endswith("client 1: TimeoutError: no answer after 0.3 s")
        assert len(children()) == 2
    assert not children()


def test_the_limit_counts_from_when_a_client_begins(monkeypatch):
    monkeypatch.setattr(grid_module, "GRACE", 0.1)
    with grid_of(app_that(lambda number: time.sleep(0.2)), workers=1, limit=0.3) as grid:
        assert said(ask(grid), "number") == [0, 1, 2, 3, 4, 5]


def test_a_client_whose_process_is_killed_counts_as_failed():
    def die(number):
        if number == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    with grid_of(app_that(die)) as grid:
        for _ in range(2):
            replies = list(ask(grid))
            assert said(replies, "number") == [0, None, 2, 3, 4, 5]
            assert replies[1].error.reason.endswith("client 1: ChildProcessError: its process has ended (signal 9)")
        assert len(children()) == 2


def test_a_process_that_is_killed_while_it_has_nothing_to_do_is_replaced():
    with grid_of(app_that()) as grid:
        gone = said(ask(grid), "pid")[0]
        os.kill(gone, signal.SIGKILL)
        wait_for(lambda: not is_there(gone))
        assert said(ask(grid), "number") == [0, 1, 2, 3, 4, 5]
        assert gone not in children() and len(children()) == 2


def test_a_script_that_takes_broken_pipes_as_they_come_is_not_ended_by_a_process_that_is_gone():
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        test_a_process_that_is_killed_while_it_has_nothing_to_do_is_replaced()
    finally:
        signal.signal(signal.SIGPIPE, before)


def children():
    """Copies of this process, those included that have ended and were not asked how. Helpers of Python's are none."""
    found = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    copied = Path("/proc/self/cmdline").read_bytes(), b""  # of one that has ended, nothing is left to read
    return [int(number) for number in found if Path(f"/proc/{number}/cmdline").read_bytes() in copied]


@pytest.fixture(autouse=True)
def nobody_is_left():
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:  # children of other tests that have ended, and that nobody asked how
            pass
    before = children()
    yield
    assert children() == before


def listed(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def test_no_file_stays_open():
    open_files = []
    for _ in range(3):
        with grid_of(app_that()) as grid:
            list(ask(grid))
            list(ask(grid))
        open_files.append(len(listed("/proc/self/fd")))
    assert open_files[1] == open_files[2]


# The end of the parent -------------------------------------------------------------------------------------------


@pytest.fixture
def in_a_fork():
    """Run `work(say)` in a process of its own group: its number, and the file from which to read what it says."""
    begun = []

    def begin(work):
        out, into = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.setpgid(0, 0)
            os.close(out)
            torch.set_num_threads(1)  # those of OpenMP's pool were not copied, and it would wait for them
            try:
                work(os.fdopen(into, "w", buffering=1))
            finally:
                os._exit(1)
        os.close(into)
        begun.append(pid)
        return pid, os.fdopen(out)

    yield begin
    for pid in begun:  # those that a failed test has not seen the end of
        with suppress(ProcessLookupError, ChildProcessError):
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def segments(pid):
    """What a process has in memory that is shared by name."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {line.split(maxsplit=5)[-1] for line in lines if "/dev/shm/" in line}


def is_there(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(happened, seconds=60):
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.01)


@pytest.mark.parametrize("by", ["the system", "the connection"])
def test_processes_end_with_a_parent_that_is_killed(by, monkeypatch, in_a_fork):
    if by == "the connection":
        monkeypatch.setattr(processes, "_die_with", lambda parent: None)

    def work(say):
        with grid_of(app_that(lambda number: time.sleep(1000 * (number == 3 and by == "the system")))) as grid:
            for reply in ask(grid, nodes=grid.roster[:3]):
                assert reply.has_content()
            print(*children(), file=say)
            list(ask(grid)) if by == "the system" else time.sleep(1000)

    pid, heard = in_a_fork(work)
    workers = [int(number) for number in heard.readline().split()]
    assert len(workers) == 2 and all(map(is_there, workers))
    assert set().union(*map(segments, [pid, *workers])) <= segments(os.getpid())  # no name that could stay behind
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    wait_for(lambda: not any(map(is_there, workers)))
    heard.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_processes_leave_signals_to_their_parent(number):
    with grid_of(app_that()) as grid:
        for worker in children():
            os.kill(worker, number)
        assert said(ask(grid), "number") == [0, 1, 2, 3, 4, 5]


def test_an_interrupted_command_says_so_and_nothing_else_does(tmp_path, monkeypatch, in_a_fork):
    """The signal goes to all processes, as from a terminal."""
    words = ["dataset=digits", "data.limit=300", "partition.clients=4", "model.width=4", "train.rounds=500"]
    places = [f"output.dir={tmp_path / 'run'}", f"store.dir={tmp_path / 'store'}"]
    monkeypatch.setattr(sys, "argv", ["fedunlearn", *words, *places, "engine.backend=processes", "engine.workers=2"])

    def work(say):
        os.dup2(say.fileno(), 1)
        os.dup2(say.fileno(), 2)
        sys.stdout = sys.stderr = say
        try:
            main.main()
        except SystemExit as stop:
            say.flush()
            os._exit(stop.code)

    pid, heard = in_a_fork(work)
    wait_for(lambda: list((tmp_path / "store").glob("train/*.checkpoint/[0-9]*")))
    os.killpg(pid, signal.SIGINT)
    text = heard.read()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130, text
    assert "Traceback" not in text and "clients left out" not in text
    assert "Finished rounds are kept; go on with" in text
    heard.close()


def test_an_interrupted_stage_goes_on_to_the_same_bits(make_federation):
    class Interrupting(list):
        def append(self, progress):
            super().append(progress)
            if progress.cost["rounds"] == 1:
                raise KeyboardInterrupt

    seen = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        play(make_federation, "fucrt", seen=seen)
    assert not children()
    assert_same(play(make_federation, "fucrt", begin=seen[-1]), play(make_federation, "fucrt", backend="threads"))


# Where ------------------------------------------------------------------------------------------------------------


def chosen(federation, **settings):
    heard = []
    return local.backend(federation, Local(**settings), heard.append), heard


def test_processes_are_not_forked_where_that_is_not_safe(make_federation):
    federation, found = make_federation(), []
    assert chosen(federation, backend="processes") == ("processes", [])
    elsewhere = threading.Thread(target=lambda: found.append(chosen(federation, backend="processes")))
    elsewhere.start()
    elsewhere.join()
    federation.device = torch.device("cuda")
    found.append(chosen(federation, backend="processes"))
    assert found == [
        ("threads", ["workers are threads, not processes: a process is copied safely by its main thread alone"]),
        ("threads", ["workers are threads, not processes: PyTorch cannot be copied with its threads for a GPU"]),
    ]
    assert chosen(federation, backend="auto", workers=16) == ("threads", [])


def test_what_workers_are_by_default(make_federation, monkeypatch):
    federation = make_federation()
    assert [chosen(federation, workers=workers)[0] for workers in (1, 2, 3)] == ["threads", "threads", "auto"]
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    assert chosen(federation, workers=16) == ("threads", [])


def either(app, clients=9, limit=None):
    threads = Threads(answers(app), 3, threading.Event())
    return LocalGrid(local.Either(threads, lambda: Processes(answers(app), 3, clients)), clients, limit)


def test_a_long_stage_goes_on_with_processes(monkeypatch):
    monkeypatch.setattr(local, "WORTH", 4)
    with either(app_that()) as grid:
        pids = [set(said(ask(grid), "pid")) for _ in range(4)]
        assert said(ask(grid), "seen") == [5] * 9
    assert pids[0] == {os.getpid()}  # nine messages are too few
    assert len(pids[2]) == 3 and pids[2] == pids[3]
    assert os.getpid() not in pids[2]


def test_nothing_is_forked_beside_a_thread_that_was_given_up(monkeypatch):
    monkeypatch.setattr(local, "WORTH", 1)
    monkeypatch.setattr(grid_module, "GRACE", 0.1)
    release = threading.Event()
    with either(app_that(lambda number: release.wait(60 * (number == 1))), limit=0.1) as grid:
        assert said(ask(grid), "number")[:3] == [0, None, 2]
        release.set()
        assert set(said(ask(grid), "pid")) == {os.getpid()}


def test_processes_in_the_middle_of_a_stage_change_no_bit(make_federation, monkeypatch):
    monkeypatch.setattr(local, "WORTH", 1)
    runs = [play(make_federation, "fucrt", rounds=3, workers=3, backend=backend) for backend in ("auto", "threads")]
    assert_same(*runs)


def test_a_process_that_may_not_have_children_of_its_own_has_workers(make_federation):
    """As the workers of a launcher may be."""
    context, expected = multiprocessing.get_context("fork"), play(make_federation, "fedavg", backend="threads")
    out, into = context.Pipe(duplex=False)
    work = lambda: into.send(play(make_federation, "fedavg").history)  # noqa: E731
    child = context.Process(target=work, daemon=True)
    child.start()
    assert out.recv() == expected.history
    child.join()
    child.close()
    out.close()
    into.close()
