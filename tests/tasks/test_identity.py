"""Identity: losses by brute force and beside pytorch-metric-learning, batches of several images, Rank-1 by hand."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fedunlearn.data.individuals import Embedding
from fedunlearn.data.types import Dataset, Split
from fedunlearn.errors import RequestError
from fedunlearn.models.base import Network
from fedunlearn.tasks import identity
from fedunlearn.tasks.base import Batch, of, weighted_mean
from fedunlearn.tasks.identity import IdentityOutputs, configured

WHO = torch.tensor([0, 0, 1, 1, 1, 2, 3, 0])
EMBEDDED = F.normalize(torch.randn(8, 5, generator=torch.Generator().manual_seed(0)), dim=1)
LOSSES = ("contrastive", "triplet")


def batch(targets: Tensor = WHO, weights: Tensor | None = None) -> Batch:
    return Batch({}, targets, torch.ones(len(targets)) if weights is None else weights)


def losses(loss: str = "contrastive", z: Tensor = EMBEDDED, given: Batch | None = None, **options: object) -> Tensor:
    task = configured(Embedding(loss=loss, **options))
    return task.losses(IdentityOutputs(z), given or batch())


def squared(i: int, j: int) -> float:
    return float((EMBEDDED[i] - EMBEDDED[j]).square().sum())


def by_loops(loss: str) -> list[float]:
    found = []
    for i in range(len(WHO)):
        own = [squared(i, j) for j in range(len(WHO)) if j != i and WHO[j] == WHO[i]]
        others = [squared(i, j) for j in range(len(WHO)) if WHO[j] != WHO[i]]
        if loss == "triplet":
            violating = [d - e + 0.2 for d in own for e in others if d - e + 0.2 > 0]
            found.append(sum(violating) / max(len(violating), 1))
            continue
        short = [(1 - d**0.5) ** 2 for d in others if d**0.5 < 1]
        found.append(sum(own) / max(len(own), 1) + sum(short) / max(len(short), 1))
    return found


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_by_loops_over_pairs(loss: str) -> None:
    torch.testing.assert_close(losses(loss), torch.tensor(by_loops(loss)), atol=1e-5, rtol=1e-5)
    assert any(value > 0 for value in by_loops(loss))


def test_contrastive_is_that_of_the_library_where_every_anchor_has_as_many_pairs() -> None:
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.losses import ContrastiveLoss

    # Theirs is on distances as they are, ours on squared ones: given squared distances, both have the same own part.
    who = torch.tensor([0, 0, 1, 1, 2, 2])
    z = F.normalize(torch.randn(6, 3, generator=torch.Generator().manual_seed(4)), dim=1)
    theirs = ContrastiveLoss(0, 0, distance=LpDistance(normalize_embeddings=False, power=2))(z, who)
    torch.testing.assert_close(losses(z=z, given=batch(who), margin=1e-6).mean(), theirs)


@pytest.mark.parametrize("loss", LOSSES)
def test_rows_without_weight_are_nobodys_partner(loss: str) -> None:
    z = torch.cat([EMBEDDED, EMBEDDED[:3] + 1e-3])
    padded = Batch({}, torch.cat([WHO, WHO[:3]]), torch.cat([torch.ones(8), torch.zeros(3)]))
    torch.testing.assert_close(losses(loss, z, padded)[:8], losses(loss))
    assert losses(loss, z, padded).isfinite().all()


@pytest.mark.parametrize("loss", [*LOSSES, "cross_entropy"])
def test_soft_labels_of_one_individual_are_hard_ones(loss: str) -> None:
    task, said = configured(Embedding(loss=loss)), IdentityOutputs(EMBEDDED)
    if loss == "cross_entropy":
        said = replace(said, logits=EMBEDDED[:, :4])
    soft = batch(F.one_hot(WHO, 4).float())
    torch.testing.assert_close(task.losses(said, soft), task.losses(said, batch()))
    assert (task.likelihood(said, batch()) <= 1).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_are_finite_where_embeddings_coincide(loss: str) -> None:
    z = torch.ones(4, 3, requires_grad=True)
    losses(loss, z, batch(torch.tensor([0, 0, 1, 1]))).sum().backward()
    assert z.grad is not None and z.grad.isfinite().all()


@pytest.mark.parametrize("loss", LOSSES)
def test_they_can_be_vectorised_over_clients(loss: str) -> None:
    stack = torch.stack([EMBEDDED, EMBEDDED.flip(0)])
    together = torch.func.vmap(lambda z: losses(loss, z))(stack)
    torch.testing.assert_close(together, torch.stack([losses(loss, z) for z in stack]))


@pytest.mark.parametrize("miner", ["batch_hard", "multi_similarity", "triplet_margin"])
def test_mined_triples_are_some_of_all_and_their_mean_is_the_anchors(miner: str) -> None:
    from fedunlearn.tasks.mining import mined_triples

    anchors, own, others = mined_triples(miner, EMBEDDED, WHO)
    assert len(anchors) and (WHO[anchors] == WHO[own]).all() and (WHO[anchors] != WHO[others]).all()
    expected = torch.zeros(8)
    for anchor in anchors.unique():
        mine = [max(0.0, squared(int(a), int(p)) - squared(int(a), int(n)) + 0.2)
                for a, p, n in zip(anchors, own, others, strict=True) if a == anchor]  # fmt: skip
        expected[anchor] = sum(mine) / len(mine)
    torch.testing.assert_close(losses("triplet", miner=miner), expected, atol=1e-5, rtol=1e-5)


def test_mined_pairs_of_batch_hard_are_the_farthest_own_and_the_nearest_other() -> None:
    found = losses("contrastive", miner="batch_hard")
    for i in range(len(WHO)):
        own = [squared(i, j) for j in range(len(WHO)) if j != i and WHO[j] == WHO[i]]
        nearest = min(squared(i, j) for j in range(len(WHO)) if WHO[j] != WHO[i])
        expected = max(own) + max(0.0, 1 - nearest**0.5) ** 2 if own else 0.0
        assert found[i].item() == pytest.approx(expected, abs=1e-5)


def test_a_missing_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytorch_metric_learning", None)
    with pytest.raises(RequestError, match=r"pip install 'fedunlearn\[identity\]'"):
        configured(Embedding(miner="batch_hard"))
    configured(Embedding())


def test_cross_entropy_has_cosines_with_centres_of_its_own() -> None:
    task = configured(Embedding(loss="cross_entropy", width=6, hidden=4, scale=10.0))
    model = Network(nn.Flatten(), task.head(9, _dataset(torch.tensor([0, 0, 1]))))
    said = task.outputs(model, {"images": torch.randn(5, 1, 3, 3)})
    centres = F.normalize(model.head.centres, dim=1)
    torch.testing.assert_close(said.logits, 10 * said.features @ centres.T)
    assert set(task.kept(said, batch())) == {"logits"} and said.logits.shape == (5, 2)
    plain = configured(Embedding(width=6)).head(9, _dataset(torch.tensor([0, 1])))
    assert not hasattr(plain, "centres")
    assert plain(torch.randn(4, 9)).norm(dim=1).tolist() == pytest.approx([1] * 4)
    raw = configured(Embedding(distance="euclidean")).head(9, _dataset(torch.tensor([0, 1])))(torch.randn(4, 9))
    assert (raw.norm(dim=1) - 1).abs().min() > 1e-3


def _dataset(groups: Tensor) -> Dataset:
    split = Split({"images": torch.zeros(len(groups), 1)}, groups, groups)
    names = tuple(str(number) for number in range(int(groups.max()) + 1))
    return Dataset("some", split, split, names, lambda raw: raw, "some", "identity", options=Embedding(images=7))


def test_the_task_is_that_of_the_dataset() -> None:
    assert of(_dataset(WHO)).batches.args == (7,)
    assert of(replace(_dataset(WHO), options=None)).batches.args == (4,)


def test_score_is_whether_the_nearest_other_image_is_of_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    z = torch.tensor([[0.0], [0.1], [1.0], [1.05], [1.2], [5.0]])
    who = torch.tensor([0, 0, 1, 0, 1, 2])
    expected = [1, 1, 0, 0, 0, 0]
    assert identity.among(z, who).tolist() == expected
    assert configured(Embedding()).score(IdentityOutputs(z), batch(who)).tolist() == expected
    monkeypatch.setattr(identity, "ROWS", 2)
    assert identity.among(z, who).tolist() == expected


def test_chance_is_the_share_of_pairs_that_fit() -> None:
    assert identity.chance(_dataset(torch.tensor([0, 0, 0, 1]))) == pytest.approx(6 / 12)


@settings(max_examples=60)
@given(
    counts=st.lists(st.integers(0, 11), min_size=1, max_size=6),
    size=st.integers(2, 14),
    images=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_batches_hold_every_image_once_and_several_of_an_individual(
    counts: list[int], size: int, images: int, seed: int
) -> None:
    targets = torch.cat([torch.full((count,), who) for who, count in enumerate(counts)]).long()
    rows = torch.arange(len(targets))
    state = torch.random.get_rng_state()
    found = identity.together(images, rows, targets, size, torch.Generator().manual_seed(seed))
    again = identity.together(images, rows, targets, size, torch.Generator().manual_seed(seed))
    assert torch.equal(state, torch.random.get_rng_state()), "no global generator"
    assert [piece.tolist() for piece in found] == [piece.tolist() for piece in again]
    everything = [row for piece in found for row in piece.tolist()]
    assert len(everything) == len(set(everything)) and len(rows) - len(everything) <= 1
    assert all(1 < len(piece) < 2 * size + images + 1 for piece in found)
    if images > 1 and len(rows) > size:
        lonely = [who for piece in found for who, n in Counter(targets[piece].tolist()).items() if n == 1]
        assert all(counts[who] == 1 for who in lonely)


def test_relabelled_samples_come_with_those_of_their_new_label() -> None:
    rows, soft = torch.arange(8), F.one_hot(torch.tensor([0, 1] * 4), 2).float()
    found = identity.together(4, rows, soft, 4, torch.Generator().manual_seed(0))
    assert sorted(sorted(piece.tolist()) for piece in found) == [[0, 2, 4, 6], [1, 3, 5, 7]]


def test_the_mean_over_samples_is_what_a_client_minimises() -> None:
    weights = torch.tensor([1.0, 1, 1, 1, 1, 0, 1, 1])
    value = weighted_mean(losses(given=batch(weights=weights)), weights)
    kept = weights.bool()
    torch.testing.assert_close(value, losses(z=EMBEDDED[kept], given=batch(WHO[kept])).mean())
