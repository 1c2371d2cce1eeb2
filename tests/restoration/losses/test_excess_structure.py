"""ExcessStructureLoss: one-sided, and zero where nothing is invented."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from mmclarity.restoration.losses import ExcessStructureLoss


def spot(y, x, size=48, height=0.5):
    image = np.zeros((size, size))
    image[y - 3 : y + 4, x - 3 : x + 4] = height
    return torch.tensor(gaussian_filter(image, 1.5), dtype=torch.float32)[None, None]


def test_equals_the_definition_with_scipy():
    x, y = spot(20, 20) + spot(30, 36), spot(20, 20)
    expected = 0
    for radius in (2.0, 4.0):
        sigma = radius / np.sqrt(2)
        mine, real = (
            gaussian_filter(i[0, 0].double().numpy(), sigma, mode='nearest', truncate=3)
            - gaussian_filter(i[0, 0].double().numpy(), 1.6 * sigma, mode='nearest', truncate=3)
            for i in (x, y)
        )
        allowed = np.where(mine * real > 0, np.abs(real), 0)
        expected += np.maximum(np.abs(mine) - allowed, 0).mean() / 2
    loss = ExcessStructureLoss(radii=(2.0, 4.0))(x, y)
    assert loss.item() == pytest.approx(expected, rel=0.02)


def test_one_sided():
    real, blank, invented = spot(20, 20), torch.zeros(1, 1, 48, 48), spot(34, 12)
    loss = ExcessStructureLoss()
    assert loss(real, real) == 0 and loss(blank, real) == 0 and loss(0.5 * real, real) == 0
    assert loss(real + invented, real) > 0
    assert loss(-real, real) > loss(1.5 * real, real) > 0
    assert ExcessStructureLoss(margin=1.0)(real + invented, real) == 0
    assert ExcessStructureLoss(loss_weight=3.0)(invented, real) == pytest.approx(
        3 * loss(invented, real).item()
    )


def test_gradient_points_away_from_what_is_invented():
    x = (spot(34, 12) * 0.5).requires_grad_()
    with torch.autocast('cpu', torch.bfloat16):
        loss = ExcessStructureLoss()(x, spot(20, 20))
    loss.backward()
    assert loss.dtype == torch.float32 and torch.isfinite(x.grad).all()
    assert x.grad[0, 0, 34, 12] > 0


@pytest.mark.parametrize('options', [dict(radii=()), dict(radii=(0,)), dict(margin=-1)])
def test_refuses(options):
    with pytest.raises(ValueError, match='radii'):
        ExcessStructureLoss(**options)


def test_refuses_shapes():
    with pytest.raises(ValueError, match='one shape'):
        ExcessStructureLoss()(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 9))
