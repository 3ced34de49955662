"""What every repair keeps to: no forget data, the same bits on every engine, and stages that go on where they ended."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fedunlearn.data.types import Request
from fedunlearn.engines.base import Progress
from fedunlearn.engines.local import Local
from fedunlearn.engines.stacked import Stacked
from fedunlearn.errors import HopelessError
from fedunlearn.federation.federation import Federation
from fedunlearn.federation.repair import own_pace
from fedunlearn.federation.spec import Variant
from fedunlearn.settings import registry
from fedunlearn.settings.config import Choice, TrainConfig

REPAIRS = [repair.name for repair in registry.ours("repair") if repair.name != "none"]
BIASES = [repair.name for repair in registry.ours("repair") if repair.edits_head]
TRAIN = [repair.name for repair in registry.ours("repair") if repair.rounds(repair.settings())]
CLIENTS = ([0, 1, 2], [0, 2], [0, 2, 3], [1])  # the last one holds nothing but what is to be forgotten


@pytest.fixture
def lost(skewed):
    """`lost("client")`: a federation and a model of it; classes are skewed, and the last client holds little."""

    def make(level="class"):
        federation = skewed(*CLIENTS)
        federation.parts = [part[part < 44] for part in federation.parts]  # class 3 has fewer samples than the others
        forget = np.zeros(len(federation.train), dtype=bool)
        if level == "class":
            forget = federation.request.forget
        if level == "client":
            forget[federation.parts[3]] = True
        if level == "sample":
            forget[federation.parts[0][::3]] = True
        federation.request = Request(level, forget, (1,) if level == "class" else ())
        return federation

    return make


def planted(federation):
    """The same federation, with other images and labels in place of everything that is to be forgotten."""
    train, forget = federation.dataset.train, torch.from_numpy(federation.request.forget)
    inputs = {name: values.clone() for name, values in train.inputs.items()}
    for values in inputs.values():
        values[forget] = 255 - values[forget]
    targets, groups = train.targets.clone(), train.groups.clone()
    targets[forget], groups[forget] = 3, 3
    dataset = replace(federation.dataset, train=replace(train, inputs=inputs, targets=targets, groups=groups))
    return Federation(dataset, federation.parts, federation.request, federation.models.fresh, federation.device, 0)


def assert_same(first, second):
    assert first.notes == second.notes
    for kind in ("model", "shared", "memory"):
        mine, other = getattr(first, kind), getattr(second, kind)
        assert mine.keys() == other.keys()
        assert all(torch.equal(value, other[name]) for name, value in mine.items()), kind


@pytest.mark.parametrize("level", ["class", "client", "sample"])
@pytest.mark.parametrize("name", REPAIRS)
def test_no_repair_sees_a_forget_sample(lost, mend, name, level):
    federation = lost(level)
    other = planted(federation)
    assert not torch.equal(other.client(0).targets, federation.client(0).targets) or level == "client"
    one, two = mend(name, federation)[-1], mend(name, other)[-1]
    assert_same(one, two)
    assert not all(torch.equal(value, one.model[n]) for n, value in federation.models.fresh(0).state_dict().items())


def test_a_repair_works_on_what_is_left_of_a_variant_too(lost, brief):
    federation = lost("sample")
    spec = brief("finetune", federation)
    held = federation.of_stage(spec)
    assert held is federation.retaining() and federation.of_stage(replace(spec, kind="method")) is federation
    forget = federation.request.forget
    assert [part.tolist() for part in held.parts] == [part[~forget[part]].tolist() for part in federation.parts]
    assert not any(held.client(k).forget.any() for k in range(len(held.parts)))
    shadow = Variant("shadow", 1)
    variant = federation.of_stage(replace(spec, variant=shadow))
    assert [part.tolist() for part in variant.parts] == [part.tolist() for part in held.parts]
    assert variant.seed == federation.of_variant(shadow).seed != held.seed == federation.seed


@pytest.mark.parametrize("name", BIASES)
def test_a_forgotten_logit_is_left_alone_and_so_is_all_but_the_bias(lost, mend, name):
    federation = lost()
    model = federation.models.fresh(0).state_dict()
    after = mend(name, federation, begin=Progress(model))[-1].model
    moved = [label for label in range(4) if after["head.bias"][label] != model["head.bias"][label]]
    assert moved and 1 not in moved
    assert all(torch.equal(value, after[other]) for other, value in model.items() if other != "head.bias")


@pytest.mark.parametrize("name", REPAIRS)
def test_workers_threads_and_processes_give_the_same_bits(lost, mend, name):
    engines = [Local(workers=1), Local(workers=3, backend="threads"), Local(workers=2, backend="processes")]
    one, *others = (mend(name, lost(), engine=Choice("local", engine))[-1] for engine in engines)
    for other in others:
        assert_same(one, other)


@pytest.mark.parametrize("name", REPAIRS)
def test_stacked_agrees(lost, mend, name):
    one, other = (mend(name, lost(), engine=choice)[-1] for choice in (None, Choice("stacked", Stacked(workers=1))))
    for tensor, value in one.model.items():
        torch.testing.assert_close(value, other.model[tensor], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", TRAIN)
def test_a_repair_goes_on_where_it_was_interrupted(lost, mend, name):
    whole = mend(name, lost())
    assert len(whole) > 2
    for begin in whole[:-1]:
        resumed = mend(name, lost(), begin=begin)
        assert_same(resumed[-1], whole[-1])
        assert resumed[-1].history == whole[-1].history


def test_training_takes_the_settings_of_the_repair_that_are_given():
    training = TrainConfig(lr=0.5, batch_size=7, participation=0.5)
    finetune = registry.find("repair", "finetune")
    assert own_pace(finetune.settings(rounds=9, lr=0.1), training) == replace(training, rounds=9, lr=0.1)
    pseudo = registry.find("repair", "pseudo_classes")
    assert pseudo.pace(pseudo.settings(local_epochs=3), training) == replace(training, local_epochs=3, participation=1)


def test_a_repair_that_diverges_says_which_setting_to_change(lost, mend):
    finetune = registry.find("repair", "finetune")
    with pytest.raises(HopelessError, match=r"a smaller repair\.lr=1e\+18$"):
        mend("finetune", lost(), finetune.settings(lr=1e18, local_epochs=4))


def test_a_client_that_held_only_forget_data_has_no_part(lost, mend):
    federation = lost()
    seen = mend("finetune", federation)
    assert federation.retaining().parts[3].tolist() == []
    without = lost()
    without.parts = without.parts[:3]
    alone = mend("finetune", without)
    assert_same(seen[-1], alone[-1])
    assert seen[-1].cost["samples"] == alone[-1].cost["samples"] > 0
