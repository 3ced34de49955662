"""Augmented batches: what is drawn, what becomes of images and targets, and the same in a stack as one by one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from fedunlearn.augment.base import Augmentation, uniform
from fedunlearn.engines import stacking
from fedunlearn.errors import RequestError
from fedunlearn.federation import augmentable, sgd
from fedunlearn.federation.augmenting import Augmenter, Drawn, joined, mixed_with, of_mixtures
from fedunlearn.federation.objective import Assignment, Objective, everything, task_loss
from fedunlearn.federation.spec import Plugin, StageSpec
from fedunlearn.settings import registry
from fedunlearn.settings.config import TrainConfig
from fedunlearn.tasks.base import CLASSIFICATION, Batch
from fedunlearn.tasks.classification import TASKS, ClassOutputs

TRAINING = TrainConfig(local_epochs=2, batch_size=5, lr=0.05)
NAMES = [name for name in registry.built_in("augmentation") if name != "none"]


def augmenter(name: str, seed: int = 0, **settings: float) -> Augmenter:
    return Augmenter.of(Plugin(name, settings), torch.Generator().manual_seed(seed))


def trained(federation, context_of, number=0, objective=Objective(everything), **how):  # noqa: B008
    model = federation.models.fresh(7)
    order = torch.Generator().manual_seed(number)
    done = sgd.train(model, federation.client(number), objective, context_of(model), TRAINING, order, **how)
    return done, {name: value.clone() for name, value in model.state_dict().items()}


def same(first, second):
    return all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("name", ["flip_crop", "mixup"])
def test_training_follows_the_stream_and_leaves_data_and_order_alone(make_federation, context_of, name):
    federation = make_federation()
    pixels = federation.train.inputs["images"].clone()
    plain = trained(federation, context_of)[1]
    first, again, other = (trained(federation, context_of, augmenter=augmenter(name, s))[1] for s in (0, 0, 1))
    assert same(first, again) and not same(first, other) and not same(first, plain)
    assert torch.equal(federation.train.inputs["images"], pixels)
    still = augmenter("rotation", strength=0)
    for name, value in trained(federation, context_of, augmenter=still)[1].items():
        torch.testing.assert_close(value, plain[name])  # the same batches in the same order


def test_images_are_bytes_again_and_cut_off_at_black_and_white():
    doubled = Augmentation("doubled", object, uniform(1), lambda images, numbers, settings: 2 * images - 0.001)
    raw = {"images": torch.tensor([0, 1, 100, 200], dtype=torch.uint8).view(1, 1, 2, 2), "more": torch.ones(1)}
    found, share = Augmenter(doubled, None, torch.Generator())(raw, Drawn(torch.zeros(1, 1), torch.arange(1)))
    assert found["images"].dtype == torch.uint8 and found["images"].flatten().tolist() == [0, 2, 200, 255]
    assert found["more"] is raw["more"] and share is None


def test_the_loss_of_a_mixture_is_that_of_mixed_targets():
    stream = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(6, 4, generator=stream), torch.tensor([0, 1, 2, 3, 0, 1])
    partners, share = torch.tensor([3, 2, 0, 1, 5, 4]), torch.full((6,), 0.3)
    weights = torch.tensor([1.0, 2.0, 1.0, 1.0, 1.0, 0.5])
    mixed = mixed_with(Drawn(torch.zeros(6, 1), partners), share, targets, weights)
    hot = F.one_hot(targets, 4).float() * weights[:, None]
    expected = -((0.3 * hot + 0.7 * hot[partners]) * logits.log_softmax(1)).sum() / 6
    objective, outputs = of_mixtures(Objective(everything)), ClassOutputs(logits, logits)
    batch = Batch({}, targets, weights, mixed=mixed)
    context = type("Context", (), {"task": TASKS["classification"]})()
    torch.testing.assert_close(objective.loss(outputs, batch, context), expected)
    alone = replace(batch, mixed={})
    torch.testing.assert_close(objective.loss(outputs, alone, context), task_loss(outputs, alone, context))


def test_batches_of_a_stack_are_joined_and_what_fills_up_is_mixed_with_itself():
    first, second = (Drawn(torch.full((n, 2), float(n)), torch.arange(n).flip(0)) for n in (3, 2))
    both = joined([first, second])
    assert both.partners.tolist() == [2, 1, 0, 4, 3, 5]
    assert both.numbers[:, 0].tolist() == [3, 3, 3, 2, 2, 0]


def weighted(model, client, context):
    return Assignment(torch.where(client.forget, -0.5, 1.0) * (torch.arange(len(client)) % 5 != 0))


@pytest.mark.parametrize("name", NAMES)
def test_a_stack_sees_the_same_images_as_clients_one_by_one(make_federation, context_of, name):
    federation = make_federation(clients=3)
    federation = federation.replaced(parts=[federation.parts[0], federation.parts[1][:7], federation.parts[2][:12]])
    objective = of_mixtures(Objective(weighted, keep=lambda outputs: {"features": outputs.features}))
    received, expected, portions = federation.models.fresh(7).state_dict(), [], []
    for number in range(3):
        expected.append(trained(federation, context_of, number, objective, augmenter=augmenter(name, number)))
        client, order = federation.client(number), torch.Generator().manual_seed(number)
        portions.append(
            stacking.portion(client, weighted(None, client, None), TRAINING, order, augmenter(name, number))
        )
    gradients = stacking.Gradients(federation.models.fresh(0), federation.task, objective)
    together = stacking.train(gradients, portions, gradients.context(1, {}, received), TRAINING)
    for (outcome, state), (mine, done) in zip(expected, together, strict=True):
        assert done.loss == pytest.approx(outcome.loss, rel=1e-5, abs=1e-6)
        torch.testing.assert_close(done.passes.said["features"], outcome.passes.said["features"], atol=1e-4, rtol=0)
        for tensor, value in state.items():
            torch.testing.assert_close(mine[tensor], value, atol=1e-4, rtol=0)


def test_a_stage_says_how_its_images_are_augmented():
    spec = StageSpec("train", 0, "fedavg", TRAINING, 4, augment=Plugin("mixup", {"strength": 0.5}))
    read = StageSpec.from_json(spec.to_json())
    assert read.augment == spec.augment
    assert Augmenter.of(read.augment, torch.Generator()).settings.strength == 0.5


# What is refused


def test_only_images_are_augmented(make_federation):
    dataset = make_federation().dataset
    flip, mixup, none = (registry.find(Augmentation, name) for name in ("flip_crop", "mixup", "none"))
    table = replace(dataset, train=replace(dataset.train, inputs={"table": torch.zeros(48, 3)}))
    floats = replace(dataset, train=replace(dataset.train, inputs={"images": torch.zeros(48, 1, 4, 4)}))
    for fine in (none, flip, mixup):
        augmentable.check(fine, dataset)
    augmentable.check(none, table)
    for data, there in ((table, "table"), (floats, "images")):
        with pytest.raises(RequestError, match=rf"flip_crop changes .* dataset=blobs has none.* {there} \(float"):
            augmentable.check(flip, data)
    other = replace(dataset, task="identity")
    augmentable.check(flip, other)
    with pytest.raises(RequestError, match="augment=mixup is for classification, but dataset=blobs is for identity"):
        augmentable.check(mixup, other)
    assert mixup.tasks == CLASSIFICATION


def test_mixtures_are_refused_where_single_samples_are_asked_for():
    cutmix, blur = (registry.find(Augmentation, name) for name in ("cutmix", "blur"))
    keeping = Objective(everything, keep=lambda outputs: {})
    saying = Objective(everything, says=lambda model, batch, context: None)
    for objective, why in ((keeping, "keeps what"), (saying, "changes what")):
        augmentable.check_mixing(blur, "method x", objective)
        with pytest.raises(RequestError, match=f"augment=cutmix mixes pairs .* method x, which {why}"):
            augmentable.check_mixing(cutmix, "method x", objective)
    augmentable.check_mixing(cutmix, "method x", of_mixtures(Objective(everything)))
