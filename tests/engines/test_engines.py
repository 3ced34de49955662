"""The same bits, whoever does the clients' work."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fedunlearn.cli import command_line
from fedunlearn.engines.base import Progress, round_limit, run_stage, traits, worker_count
from fedunlearn.errors import RequestError
from fedunlearn.federation import selection
from fedunlearn.federation.federation import open_federation
from fedunlearn.federation.strategy import FOREVER
from fedunlearn.runs.steps import Setting
from fedunlearn.settings import registry
from fedunlearn.settings.config import Choice, load

CONF = Path(__file__).parents[2] / "conf"
SMALL = ["data.limit=300", "partition.clients=5", "model.width=4", "train.batch_size=8", "device=cpu"]


def read(*words):
    return command_line.read([*SMALL, *words], CONF)


def run(method, *words, rounds=2):
    """A stage of `method` on five clients of the digits, four of which are sampled."""
    config = read(f"method={method}", "train.participation=0.8", *words)
    federation = open_federation(config)
    setting = Setting(config, federation)
    spec = setting.with_request(setting.spec("unlearn", Choice(method, config.method.settings), config.train))
    spec = replace(spec, select=selection.of_method(config))
    begin = Progress(federation.models.fresh(0).state_dict())
    return run_stage(spec, begin, rounds, federation, config, lambda progress: None)


def repaired(*words):
    """A calibration, which trains nothing: clients answer a query, and the server edits the head."""
    config = read("repair=average_logit_gap", *words)
    federation = open_federation(config)
    setting = Setting(config, federation)
    spec = setting.with_request(setting.spec("repair", config.repair, config.train))
    begin = Progress(federation.models.fresh(0).state_dict())
    return run_stage(replace(spec, kind="repair"), begin, 0, federation, config, lambda progress: None)


def assert_same(first, second):
    assert first.history == second.history
    assert first.notes == second.notes
    tensors = [
        {**run.model, **{f"shared/{name}": value for name, value in run.shared.items()}} for run in (first, second)
    ]
    assert tensors[0].keys() == tensors[1].keys()
    for name, value in tensors[0].items():
        assert torch.equal(value, tensors[1][name]), name


@pytest.mark.parametrize("method", ["fedavg", "fucrt"])
def test_one_worker_and_three_give_the_same_bits(method):
    assert_same(run(method, "engine.workers=1"), run(method, "engine.workers=3"))


def test_ray_gives_the_same_bits():
    """With one worker, which takes seconds to start; the one below has two."""
    words = ("select=energy", "select.share=0.5")
    assert_same(run("fucrt", *words, rounds=1), run("fucrt", *words, "engine=ray", "engine.workers=1", rounds=1))


@pytest.mark.slow
def test_ray_gives_a_repair_the_same_bits():
    assert_same(repaired(), repaired("engine=ray", "engine.workers=2"))


def test_workers_are_counted_and_rounds_limited():
    assert worker_count(read().engine.settings) >= 1
    assert worker_count(read("engine.workers=7").engine.settings) == 7
    assert round_limit(None, 1.0, 100, 2) == FOREVER
    assert round_limit(9.0, 1.0, 95, 10) == pytest.approx((9 + 1) * 10)
    deployment, local = (registry.find("engine", name) for name in ("deployment", "local"))
    assert (deployment.start, local.start) == (60.0, 1.0)
    assert deployment.at_once(deployment.settings(workers=3), 95) == 95
    assert local.at_once(local.settings(workers=3), 95) == 3


def test_ray_gets_the_resources_that_were_asked_for():
    from fedunlearn.engines.ray import backend

    mine = read("engine=ray", "engine.client_cpus=2", "engine.client_gpus=0.25").engine.settings
    assert backend(mine, 3)["client_resources"] == {"num_cpus": 2.0, "num_gpus": 0.25}
    assert backend(mine, 3)["init_args"]["num_cpus"] == 6
    cluster = backend(read("engine=ray", "engine.address=auto").engine.settings, 3)["init_args"]
    assert cluster["address"] == "auto"
    assert "num_cpus" not in cluster


def test_models_are_shared_between_engines_that_give_the_same_bits():
    same = [read(), read("engine.workers=3", "engine.profile=true"), read("engine=ray", "engine.client_cpus=2")]
    assert [traits(config.engine) for config in same] == [{}, {}, {}]
    others = [
        read("engine=stacked"),
        read("engine=stacked", "engine.precision=bfloat16"),
        read("engine=stacked", "engine.compile=true"),
        read("engine.client_timeout=3"),
    ]
    assert len({str(traits(config.engine)) for config in others}) == 4


ENGINES = ("local", "stacked", "ray", "deployment")


def test_every_engine_has_the_common_settings_with_the_same_defaults():
    assert registry.names("engine") == sorted(ENGINES)
    for name in ENGINES:
        common = registry.find("engine", name).settings()
        assert (common.workers, common.client_timeout, common.min_replies, common.profile) == ("auto", None, 0.5, False)


@pytest.mark.parametrize(
    ("engine", "word"),
    [
        ("local", "engine.stack=3"),
        ("local", "engine.client_gpus=1"),
        ("stacked", "engine.address=auto"),
        ("ray", "engine.precision=bfloat16"),
        ("deployment", "engine.compile=true"),
        ("ray", "engine.superlink=ours"),
    ],
)
def test_an_option_of_another_engine_is_refused(engine, word):
    key = word.partition("=")[0].removeprefix("engine.")
    with pytest.raises(RequestError, match=f"there is no setting in engine called '{key}'"):
        read(f"engine={engine}", word)
    given = read(f"engine={engine}").as_dict()
    with pytest.raises(RequestError, match=f"there is no setting in engine called '{key}'"):
        load({**given, "engine": {**given["engine"], key: None}})


def test_there_are_no_other_engines():
    with pytest.raises(RequestError, match=r"there is no engine called 'locale'.*did you mean local"):
        load({**read().as_dict(), "engine": {"name": "locale"}})


def test_an_engine_of_another_package_runs(monkeypatch):
    """It needs a settings class, a way to carry out a stage, and nothing from us but the contract."""
    from fedunlearn.engines import local

    ran = []

    def run_and_tell(app, federation, config, say):
        ran.append(config.engine.settings.workers)
        local.run(app, federation, config, say)

    mine = replace(registry.find("engine", "local"), name="mine", run=run_and_tell, traits=lambda settings: {"mine": 1})
    find = registry.find
    monkeypatch.setattr(registry, "find", lambda kind, name: mine if name == "mine" else find(kind, name))
    config = load({**read().as_dict(), "engine": {"name": "mine", "workers": 2}})
    assert config.as_dict()["engine"]["name"] == "mine" and traits(config.engine) == {"mine": 1}
    federation = open_federation(config)
    spec = Setting(config, federation).spec("train", Choice("fedavg", None), config.train)
    begin = Progress(federation.models.fresh(0).state_dict())
    assert run_stage(spec, begin, 1, federation, config, lambda progress: None).cost["rounds"] == 1
    assert ran == [2]


def test_batch_norm_is_trained_one_by_one(tmp_path, capsys, monkeypatch):
    import sys

    from fedunlearn.cli import main

    words = [*SMALL, "gates=warn", "train.rounds=1", "unlearn.rounds=1", "retrain.seeds=1"]
    words += ["model.norm=batch", "engine=stacked", "audit=quick", "audit.ausuc=null", "report.figures=false"]
    monkeypatch.setattr(
        sys, "argv", ["fedunlearn", *words, f"output.dir={tmp_path}/run", f"store.dir={tmp_path}/store"]
    )
    main.main()
    log = (tmp_path / "run" / "log.txt").read_text()
    assert log.count("clients are trained one by one, not stacked: batch normalisation") == 1
