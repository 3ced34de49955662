"""Dispersion: forget images are nobody's partner, all others are trained as before."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fedunlearn.data.individuals import Embedding
from fedunlearn.federation.objective import RoundContext
from fedunlearn.federation.spec import StageSpec
from fedunlearn.methods.dispersion import Dispersion, objective
from fedunlearn.settings.config import TrainConfig
from fedunlearn.tasks.base import Batch
from fedunlearn.tasks.identity import IdentityOutputs, configured

TASK = configured(Embedding())
WHO = torch.tensor([0, 0, 1, 1, 1, 2, 2])
SPEC = StageSpec("unlearn", 0, "dispersion", TrainConfig(), 3, forget_classes=(1,))


def loss(z: Tensor, strength: float = 1.0, weights: Tensor | None = None) -> Tensor:
    context = RoundContext(TASK, 1, {}, {}, torch.nn.Identity())  # type: ignore[arg-type]
    batch = Batch({}, WHO, torch.ones(len(WHO)) if weights is None else weights)
    found = objective(Dispersion(strength), SPEC).loss
    assert found is not None
    return found(IdentityOutputs(z), batch, context)


def test_it_is_the_tasks_loss_where_every_forget_image_is_somebody_else() -> None:
    z = F.normalize(torch.randn(7, 4, generator=torch.Generator().manual_seed(1)), dim=1)
    apart = Batch({}, torch.tensor([0, 0, 3, 4, 5, 2, 2]), torch.ones(7))
    each = TASK.losses(IdentityOutputs(z), apart)
    torch.testing.assert_close(loss(z), each.mean())
    weights = torch.where(WHO == 1, 3.0, 1.0)
    torch.testing.assert_close(loss(z, strength=3.0), (each * weights).sum() / 7)


def test_steps_drive_forget_images_apart_and_keep_the_others_together() -> None:
    z = torch.randn(7, 4, generator=torch.Generator().manual_seed(2)).requires_grad_()
    for _ in range(200):
        (slope,) = torch.autograd.grad(loss(F.normalize(z, dim=1)), z)
        z = (z - 0.5 * slope).detach().requires_grad_()
    apart = torch.cdist(F.normalize(z, dim=1), F.normalize(z, dim=1))
    assert apart[2:5, 2:5][~torch.eye(3, dtype=torch.bool)].min() > 0.8
    assert apart[0, 1] < 0.2 and apart[5, 6] < 0.2


def test_rows_without_weight_do_not_matter() -> None:
    z = F.normalize(torch.randn(7, 4, generator=torch.Generator().manual_seed(3)), dim=1)
    weights = torch.tensor([1.0, 1, 1, 0, 1, 1, 1])
    moved = z.clone()
    moved[3] = -z[3]
    torch.testing.assert_close(loss(z, weights=weights), loss(moved, weights=weights))
