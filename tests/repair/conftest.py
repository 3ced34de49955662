"""Run a repair's whole stage, server and clients, on a small federation."""

from types import SimpleNamespace

import numpy as np
import pytest

from fedunlearn.engines.base import Progress, run_stage
from fedunlearn.engines.local import Local
from fedunlearn.federation.repair import Repair
from fedunlearn.federation.spec import StageSpec
from fedunlearn.settings import registry
from fedunlearn.settings.config import Choice, TrainConfig
from fedunlearn.settings.schema import plain

PACE = TrainConfig(rounds=1, local_epochs=1, batch_size=10, lr=0.05, momentum=0.9, weight_decay=0.0)


def spec_of(name, federation, settings=None, training=PACE, variant=None):
    """What the clients of such a repair are told."""
    repair: Repair = registry.find("repair", name)
    settings = repair.settings() if settings is None else settings
    return StageSpec(
        "repair",
        0,
        name,
        repair.pace(settings, training),
        federation.dataset.classes,
        level=federation.request.level,
        forget_classes=federation.request.classes,
        settings=plain(settings),
        variant=variant,
        kind="repair",
    )


@pytest.fixture(scope="session")
def brief():
    """`brief("average_logit_gap", federation, settings)`: a StageSpec."""
    return spec_of


@pytest.fixture(scope="session")
def mend():
    """`mend("finetune", federation, Finetune(rounds=2))`: Progress after the preparation and after every round."""

    def play(name, federation, settings=None, training=PACE, begin=None, engine=None):
        spec = spec_of(name, federation, settings, training)
        repair = registry.find("repair", name)
        fresh = federation.models.fresh(0).state_dict()
        begin = begin or Progress({name: value.clone() for name, value in fresh.items()})
        config = SimpleNamespace(engine=engine or Choice("local", Local(workers=1)), train=training)
        rounds = repair.rounds(repair.settings() if settings is None else settings)
        seen = []
        run_stage(spec, begin, rounds, federation, config, seen.append)
        return seen

    return play


@pytest.fixture
def skewed(make_federation):
    """`skewed([0, 1], [1, 2, 3])`: client 0 has samples of classes 0 and 1, client 1 of the others; 1 is forgotten.

    Classes that several clients are to have are split between them.
    """

    def make(*held, classes=4, forget=(1,), per_class=12):
        federation = make_federation(clients=len(held), classes=classes, forget=forget, per_class=per_class)
        labels = federation.train.targets.numpy()
        parts = [[] for _ in held]
        for label in range(classes):
            owners = [number for number, wanted in enumerate(held) if label in wanted]
            for owner, part in zip(
                owners, np.array_split(np.flatnonzero(labels == label), max(1, len(owners))), strict=False
            ):
                parts[owner].append(part)
        federation.parts = [np.sort(np.concatenate(part)) if part else np.zeros(0, dtype=int) for part in parts]
        return federation

    return make
