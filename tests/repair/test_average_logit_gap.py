"""ALG: gamma by hand, what clients offer, and the bias that comes of it."""

from dataclasses import replace

import pytest
import torch

from fedunlearn.data.types import Normaliser
from fedunlearn.engines.base import Progress
from fedunlearn.models.base import Network
from fedunlearn.repair.average_logit_gap import AverageLogitGap, logit_gap


@pytest.fixture
def says(make_federation):
    """`says(logits, labels)`: a model and a client, whose samples get these logits."""

    def make(logits, labels):
        client = make_federation(clients=1).client(0)
        classes = len(logits[0])
        model = Network(torch.nn.Flatten(), torch.nn.Linear(classes, classes))
        with torch.no_grad():
            model.head.weight.copy_(torch.eye(classes))
            model.head.bias.zero_()
        raw = {"images": torch.tensor(logits, dtype=torch.uint8).view(-1, 1, 1, classes)}
        prepare = Normaliser((0.0,), (1 / 255,))  # the pixel itself
        rows, labels = torch.arange(len(labels)), torch.tensor(labels)
        none = torch.zeros(len(labels), dtype=torch.bool)
        held = replace(client, rows=rows, targets=labels, groups=labels, forget=none, raw=raw, prepare=prepare)
        return model, held

    return make


def test_gamma_by_hand(says, make_federation, brief):
    # classes 0, 1, 2 are there, 3 and 4 are not, 5 is to be forgotten
    model, client = says([[9, 4, 2, 1, 0, 7], [3, 8, 5, 2, 2, 7], [1, 3, 6, 0, 1, 7]], [0, 1, 2])
    spec = brief("average_logit_gap", make_federation(classes=6, forget=(5,)))
    answer = logit_gap(model, client, AverageLogitGap(), spec)
    gamma = ((4 + 2) / 2 - 0.5 + (3 + 5) / 2 - 2 + (1 + 3) / 2 - 0.5) / 3
    expected = torch.tensor([0, 0, 0, 3 * gamma, 3 * gamma, 0], dtype=torch.float64)
    torch.testing.assert_close(answer["gamma"], expected, atol=1e-5, rtol=0)
    assert answer["samples"].tolist() == [0, 0, 0, 3, 3, 0]


@pytest.mark.parametrize(
    "labels",
    [[0, 1, 2], [2, 2, 2]],
    ids=["a client with all retained classes", "a client with one class, which has no other to compare with"],
)
def test_who_has_nothing_to_offer_offers_nothing(says, make_federation, brief, labels):
    model, client = says([[9, 4, 2, 7], [3, 8, 5, 7], [1, 3, 6, 7]], labels)
    spec = brief("average_logit_gap", make_federation(classes=4, forget=(3,)))
    answer = logit_gap(model, client, AverageLogitGap(), spec)
    assert not answer["gamma"].any() and not answer["samples"].any()


def test_the_server_averages_by_samples_over_the_clients_that_lack_a_class(skewed, mend, brief):
    federation = skewed([0, 1, 2], [0, 2, 3], [0, 2, 3])  # class 3 is lacked by client 0, class 1 is forgotten
    more = skewed([0, 2], [0, 2, 4], [2, 3], classes=5, forget=(1,))
    for each in (federation, more):
        (after,) = mend("average_logit_gap", each)
        start = each.models.fresh(0)
        spec, held = brief("average_logit_gap", each), each.retaining()
        with torch.no_grad():
            answers = [logit_gap(start, held.client(k), AverageLogitGap(), spec) for k in range(len(each.parts))]
        gamma = sum(answer["gamma"] for answer in answers) / sum(a["samples"] for a in answers).clamp_min(1)
        torch.testing.assert_close(after.model["head.bias"], (start.head.bias.double() + gamma).float())
        assert after.notes["gamma"] == pytest.approx({str(c): float(g) for c, g in enumerate(gamma) if g})
        moved = (after.model["head.bias"] != start.head.bias).nonzero()[:, 0].tolist()
        assert moved == ([3] if each is federation else [0, 3, 4]), "the classes that some client lacks"
        others = {name: value for name, value in after.model.items() if name != "head.bias"}
        assert all(torch.equal(value, start.state_dict()[name]) for name, value in others.items())


def test_a_class_whose_logits_were_lowered_comes_back(skewed, mend):
    federation = skewed([0, 2], [0, 2, 3])
    model = federation.models.fresh(0).state_dict()
    lowered = {**model, "head.bias": model["head.bias"] - torch.tensor([0.0, 0, 0, 5])}
    plain, found = (mend("average_logit_gap", federation, begin=Progress(each))[-1] for each in (model, lowered))
    torch.testing.assert_close(found.model["head.bias"], plain.model["head.bias"])


def test_centred_gammas_leave_the_forgotten_class_where_it_stood(skewed, mend):
    federation = skewed([0, 2], [0, 3], [2, 3])  # every retained class is lacked by somebody
    model = federation.models.fresh(0).state_dict()
    model["head.bias"] += torch.tensor([3.0, 0, -4, 1])
    plain, centred = (
        mend("average_logit_gap", federation, AverageLogitGap(centred), begin=Progress(model))[-1].model["head.bias"]
        for centred in (False, True)
    )
    kept = [0, 2, 3]
    torch.testing.assert_close(centred[kept].mean(), model["head.bias"][kept].mean())
    assert not torch.isclose(plain[kept].mean(), model["head.bias"][kept].mean())
    torch.testing.assert_close((plain - centred)[kept], (plain - centred)[0].expand(3), rtol=0, atol=1e-5)
    assert centred[1] == plain[1] == model["head.bias"][1]
