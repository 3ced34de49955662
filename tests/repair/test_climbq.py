"""ClimbQ: rounding with a gradient, shares of classes, and the weights of classes as clients get them."""

import pytest
import torch

from fedunlearn.deploy.base import rounded, weights_of
from fedunlearn.repair import homovar
from fedunlearn.repair.climbq import ClimbQ, rounded_outputs, scaled_outputs, shares, straight_through
from fedunlearn.settings import registry
from fedunlearn.tasks.base import Batch
from fedunlearn.tasks.classification import TASKS, outputs


def batch_of(client, model=None, labels=None, weights=None):
    labels = client.targets if labels is None else torch.tensor(labels)
    weights = torch.ones(len(labels)) if weights is None else torch.tensor(weights)
    return Batch(client.inputs(torch.arange(len(labels))), labels, weights)


@pytest.mark.parametrize("bits", [8, 4, 3])
def test_the_forward_pass_computes_with_what_the_format_holds(make_federation, context_of, bits):
    federation = make_federation()
    model, client = federation.models.fresh(0), federation.client(0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    settings, batch = ClimbQ(bits=bits, scale_mode="none"), batch_of(client)
    said = rounded_outputs(settings, model, batch, context_of(model))
    shipped = federation.models.fresh(0)
    shipping = registry.find("format", f"int{bits}")
    with torch.no_grad():
        for name in weights_of(shipped):
            parameter = shipped.get_parameter(name)
            parameter.copy_(rounded(parameter, shipping).values)
    torch.testing.assert_close(said.logits, outputs(shipped, batch.inputs).logits, rtol=0, atol=1e-6)
    assert not torch.equal(said.logits, outputs(model, batch.inputs).logits)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_gradients_pass_through_the_rounding_to_every_weight(make_federation, context_of):
    federation = make_federation()
    model, client = federation.models.fresh(0), federation.client(0)
    weight = torch.randn(3, 5, requires_grad=True)
    slope = torch.randn(3, 5)
    (straight_through(weight, ClimbQ()) * slope).sum().backward()
    assert torch.equal(weight.grad, slope)
    batch = batch_of(client)
    TASKS["classification"].losses(rounded_outputs(ClimbQ(), model, batch, context_of(model)), batch).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


def test_shares_by_hand(make_federation):
    client = make_federation().client(0)
    batch = batch_of(client, labels=[0, 0, 0, 2, 2, 1], weights=[1.0, 0.5, 2.0, 1.0, 1.0, 0.0])
    part = torch.tensor([3, 3, 3, 2, 2, 0]) / 5  # the last one is left out, and is nobody's
    torch.testing.assert_close(shares(batch, "class_share"), part)
    torch.testing.assert_close(shares(batch, "paper_code"), part / (3 * 0.6 + 2 * 0.4))
    assert not shares(batch, "none").any()


def test_features_are_scaled_by_two_over_two_minus_the_share(make_federation):
    federation = make_federation()
    model, client = federation.models.fresh(0), federation.client(0)
    batch = batch_of(client, labels=[0, 0, 0, 2])
    plain, scaled = outputs(model, batch.inputs), scaled_outputs("class_share", model, batch)
    factor = torch.tensor([2 / 1.25, 2 / 1.25, 2 / 1.25, 2 / 1.75])[:, None]
    torch.testing.assert_close(scaled.features, plain.features * factor)
    torch.testing.assert_close(scaled.logits, model.head(plain.features * factor))


def test_as_the_code_every_class_is_scaled_nearly_alike(make_federation):
    client = make_federation(clients=1, classes=10, per_class=20).client(0)
    labels = sorted(label for label in range(10) for _ in range(2 ** min(label, 5)))
    batch = batch_of(client, labels=labels)
    spans = {mode: 2 - shares(batch, mode) for mode in ("paper_code", "class_share")}
    width = {mode: float(scale.max() - scale.min()) for mode, scale in spans.items()}
    assert width["paper_code"] < 0.01 < 0.1 < width["class_share"]
    assert float(spans["paper_code"].min()) > 1.98


@pytest.mark.parametrize("weighting", ["none", "class_balanced", "homovar"])
def test_clients_get_the_weights_of_pooled_data(skewed, mend, weighting):
    federation = skewed([0, 2], [2, 3], [0, 3, 1])
    federation.parts = [part[part < 43] for part in federation.parts]  # 12, 12 and 7 samples of classes 0, 2 and 3
    seen = mend("climbq", federation, ClimbQ(weighting=weighting, rounds=1, beta=0.9))
    assert seen[-1].cost["samples"] == 12 + 12 + 7
    if weighting == "none":
        assert not seen[-1].shared and not seen[-1].notes
        return
    held = federation.retaining()
    everybody = [held.client(k) for k in range(3)]
    model = federation.models.fresh(0)
    features = torch.cat([model.features(client.inputs()) for client in everybody]).detach()
    targets = torch.cat([client.targets for client in everybody])
    first = homovar.first_sums(features, targets, 4)
    betas = torch.full_like(first["counts"], 0.9)
    if weighting == "homovar":
        second = homovar.second_sums(features, targets, homovar.means(first))
        limits = homovar.bounds(first["counts"], second["spread"], second["squares"], 0.05)
        betas = homovar.homovar_betas(first["counts"], limits, 0.9)
    expected = homovar.class_weights(first["counts"], betas)
    torch.testing.assert_close(seen[-1].shared["class_weights"], expected.float())
    assert seen[-1].notes["class_weights"] == pytest.approx(expected.tolist())
    assert expected[3] > expected[0] or weighting == "homovar"
