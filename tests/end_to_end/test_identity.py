"""To forget an individual: every method does it or refuses in a sentence, with the same bits on every engine."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from fedunlearn.cli import command_line, main
from fedunlearn.engines.base import Progress, run_stage
from fedunlearn.errors import RequestError
from fedunlearn.federation.federation import open_federation
from fedunlearn.results.summary import Summary, to_json
from fedunlearn.runs import pipeline
from fedunlearn.runs.console import Console
from fedunlearn.runs.pipeline import Outcome
from fedunlearn.runs.steps import Setting
from fedunlearn.runs.summarise import summarise
from fedunlearn.settings import registry
from fedunlearn.settings.config import Choice, RunConfig

HERD = ["individuals=6", "never_seen=4", "train=8", "test=6", "size=16"]
TINY = ["dataset=critters", *(f"dataset.{word}" for word in HERD), "model.width=4", "model.feature_dim=12"]
TINY += ["request.classes=[fifu]", "partition=pathological", "partition.clients=3", "train.batch_size=12", "gates=warn"]
TINY += ["train.rounds=3", "unlearn.rounds=3", "retrain.seeds=2", "engine.workers=1"]
FORGET = {"dispersion", "federaser", "fedosd", "finetune", "fucrt", "gradient_ascent", "momentum_degradation", "not"}
FORGET |= {"random_relabel", "relabel", "retrain", "fedavg"}


@cache
def composed(*words: str) -> RunConfig:
    return command_line.read([*TINY, *words], main.conf_dir())


@pytest.fixture(scope="module")
def outcome_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Outcome]:
    """A run in this process; all of them share a store."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    folder = tmp_path_factory.mktemp("identity") / "store"

    def run(*words: str, store: Path = folder) -> Outcome:
        config = composed(*words)
        return pipeline.run(replace(config, store=replace(config.store, dir=str(store))), Console(io.StringIO()))

    return run


def test_methods_forget_an_individual_or_refuse_in_a_sentence() -> None:
    for name in registry.built_in("method"):
        method = registry.find("method", name)
        if method.given:
            continue  # made elsewhere
        chosen = Choice(name, method.settings())
        config = replace(composed("method=fucrt"), method=chosen)
        if name in FORGET:
            pipeline.check_method(config)
            continue
        with pytest.raises(RequestError) as refused:
            pipeline.check_method(config)
        assert str(refused.value).startswith(f"method {name} is for classification")
        assert str(refused.value).endswith(", but dataset=critters is for identity")


@pytest.mark.parametrize("method", sorted(FORGET - {"fedavg", "retrain"}))  # these are what trained the references
def test_a_method_ends_with_another_model(method: str, outcome_of: Callable[..., Outcome]) -> None:
    outcome = outcome_of(f"method={method}", "audit=quick")
    before, after = outcome.original.tensors, outcome.unlearned.tensors
    assert all(torch.isfinite(value).all() for value in after.values())
    assert any(not torch.equal(after[name], before[name]) for name in before), "nothing was done"
    assert outcome.unlearned.cost["failures"] == 0, "clients were left out"


@pytest.mark.parametrize("loss", ["triplet", "cross_entropy"])
def test_other_losses_are_learnt_and_forgotten(loss: str, outcome_of: Callable[..., Outcome]) -> None:
    outcome = outcome_of("method=fucrt", f"dataset.embedding.loss={loss}", "retrain.seeds=1", "audit=quick")
    assert outcome.unlearned.cost["failures"] == 0
    assert all(torch.isfinite(value).all() for value in outcome.unlearned.tensors.values())


def test_dispersion_needs_a_loss_on_pairs() -> None:
    with pytest.raises(RequestError, match="choose contrastive or triplet"):
        pipeline.check_method(composed("method=dispersion", "dataset.embedding.loss=cross_entropy"))


RAY = pytest.param(("engine=ray", "engine.workers=2"), id="ray", marks=pytest.mark.slow)


@pytest.mark.parametrize("words", [("engine.workers=2",), ("engine.workers=4",), RAY])
def test_the_same_bits_on_every_engine(words: tuple[str, ...]) -> None:
    first, other = stage_of(), stage_of(*words)
    assert first.history == other.history
    for name, value in {**first.model, **first.shared}.items():
        assert torch.equal(value, {**other.model, **other.shared}[name]), name


def stage_of(*words: str, say: Callable[[str], None] = print) -> Progress:
    """A round of unlearning from a fresh model: anchors, a vote, training."""
    config = composed("method=fucrt", *words)
    federation = open_federation(config)
    setting = Setting(config, federation)
    spec = setting.with_request(setting.spec("unlearn", Choice("fucrt", config.method.settings), config.train))
    begin = Progress(federation.models.fresh(0).state_dict())
    return run_stage(spec, begin, 1, federation, config, lambda progress: None, say=say)


@pytest.mark.parametrize("miner", ["batch_hard", "multi_similarity", "triplet_margin"])
def test_what_miners_choose_is_not_stacked(miner: str) -> None:
    said: list[str] = []
    words = (f"dataset.embedding.miner={miner}", "dataset.embedding.loss=triplet")
    first, stacked = stage_of(*words), stage_of(*words, "engine=stacked", say=said.append)
    assert len(said) == 1 and said[0].startswith("clients are trained one by one, not stacked: ")
    for name, value in first.model.items():
        assert torch.equal(value, stacked.model[name]), name


def test_one_step_of_many_clients_is_nearly_that_of_each(outcome_of: Callable[..., Outcome], tmp_path) -> None:
    asked = ["method=finetune", "audit=quick", "retrain.seeds=1"]
    first, stacked = outcome_of(*asked), outcome_of(*asked, "engine=stacked", store=tmp_path)
    for name, value in first.unlearned.tensors.items():
        torch.testing.assert_close(value, stacked.unlearned.tensors[name], atol=1e-4, rtol=1e-3)


@pytest.fixture(scope="module")
def summary(outcome_of: Callable[..., Outcome]) -> Summary:
    """What is said of a run with all audits."""
    return summarise(outcome_of("method=fucrt", "audit.feature_map=null"), "")


def test_a_run_is_judged_by_what_a_model_tells_apart(summary: Summary) -> None:
    said = json.loads(to_json(summary))
    models = said["models"]
    assert set(models) >= {"original", "retrained", "unlearned"}
    for name in ("forget_tar_10", "unseen_tar_10", "forget_map", "unseen_rank1", "forget_enrolled_3", "forget_eer"):
        assert 0 <= models["unlearned"][name] <= 1, name
    assert models["original"]["forget_pairs"] == 6 * 5 / 2
    assert said["verdict"] is not None
