"""The losses against the field's libraries, in configs, and on edges."""

import math

import numpy as np
import pytest
import torch
from mmagic.registry import MODELS
from mmengine.registry import DefaultScope

from mmclarity.restoration.losses import CompositeLoss, EdgeLoss, MSSSIMLoss, SSIMLoss
from mmclarity.restoration.ops.gaussian import gaussian_window


def pair(shape=(2, 3, 180, 200), dtype=torch.float64):
    """Smooth random images and noisy copies: similarities well inside (0, 1)."""
    x = torch.nn.functional.avg_pool2d(
        torch.rand(shape[0], shape[1], shape[2] + 6, shape[3] + 6, dtype=dtype), 7, 1
    )
    return x, (x + 0.05 * torch.randn_like(x)).clamp(0, 1)


def exact_window(channels):
    """pytorch-msssim's own window is rounded to single precision, which costs it six digits."""
    return gaussian_window(11, 1.5).expand(channels, 1, 1, 11)


def test_ssim_equals_scikit_image():
    from skimage.metrics import structural_similarity

    x, y = pair((1, 1, 60, 70))
    expected, full = structural_similarity(
        x[0, 0].numpy(),
        y[0, 0].numpy(),
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    assert 1 - SSIMLoss(1.0)(x, y).item() == pytest.approx(expected, abs=1e-10)
    assert np.isfinite(full).all()


def test_ssim_and_its_gradient_equal_pytorch_msssim_piq_and_torchmetrics():
    import piq
    from pytorch_msssim import ssim
    from torchmetrics.functional.image import structural_similarity_index_measure

    x, y = pair()
    losses = dict(
        msssim=SSIMLoss(1.0), piq=SSIMLoss(1.0), torchmetrics=SSIMLoss(1.0, border='reflect')
    )
    peers = dict(
        msssim=lambda a: ssim(a, y, data_range=1.0, win=exact_window(3)),
        piq=lambda a: piq.ssim(a.clamp(0, 1), y, data_range=1.0, downsample=False),
        torchmetrics=lambda a: structural_similarity_index_measure(
            a, y, data_range=1.0, gaussian_kernel=True, sigma=1.5
        ),
    )
    for name, peer in peers.items():
        a = x.clone().requires_grad_()
        loss = losses[name](a, y)
        (grad,) = torch.autograd.grad(loss, a)
        b = x.clone().requires_grad_()
        value = 1 - peer(b)
        assert loss.item() == pytest.approx(value.item(), abs=1e-6), name
        (other,) = torch.autograd.grad(value, b)
        assert (grad - other).abs().max() < 1e-6 * max(1e-3, other.abs().max()), name


def test_ms_ssim_and_its_gradient_equal_pytorch_msssim_and_piq():
    import piq
    from pytorch_msssim import ms_ssim

    x, y = pair((2, 3, 176, 192))
    a = x.clone().requires_grad_()
    loss = MSSSIMLoss(1.0)(a, y)
    (grad,) = torch.autograd.grad(loss, a)
    b = x.clone().requires_grad_()
    value = 1 - ms_ssim(b, y, data_range=1.0, win=exact_window(3))
    (other,) = torch.autograd.grad(value, b)
    assert loss.item() == pytest.approx(value.item(), abs=1e-7)
    assert (grad - other).abs().max() < 1e-6 * other.abs().max()
    assert loss.item() == pytest.approx(
        1 - piq.multi_scale_ssim(x, y, data_range=1.0).item(), abs=1e-6
    )


def test_ms_ssim_of_odd_sizes_equals_pytorch_msssim():
    from pytorch_msssim import ms_ssim

    x, y = pair((1, 1, 187, 171))
    assert MSSSIMLoss(1.0)(x, y).item() == pytest.approx(
        1 - ms_ssim(x, y, data_range=1.0, win=exact_window(1)).item(), abs=1e-7
    )


@pytest.mark.parametrize('build', [SSIMLoss, MSSSIMLoss])
def test_reductions_and_weight(build):
    x, y = pair((3, 1, 170, 170))
    each = build(1.0, reduction='none')(x, y)
    assert each.shape == (3,)
    torch.testing.assert_close(build(1.0)(x, y), each.mean())
    torch.testing.assert_close(build(1.0, reduction='sum', loss_weight=0.3)(x, y), 0.3 * each.sum())
    torch.testing.assert_close(build(1.0)(x[1:2], y[1:2]), each[1])


@pytest.mark.parametrize('images', ['zeros', 'constant', 'anti-correlated', 'extremes'])
@pytest.mark.parametrize('build', [SSIMLoss, MSSSIMLoss])
def test_gradients_are_finite_on_degenerate_images(build, images):
    board = (torch.arange(176)[:, None] + torch.arange(176) // 16) % 2
    x, y = dict(
        zeros=(torch.zeros(1, 1, 176, 176), torch.zeros(1, 1, 176, 176)),
        constant=(torch.full((1, 1, 176, 176), 0.4), torch.full((1, 1, 176, 176), 0.4)),
        extremes=(torch.zeros(1, 1, 176, 176), torch.ones(1, 1, 176, 176)),
        **{'anti-correlated': (board[None, None].float(), 1 - board[None, None].float())},
    )[images]
    x.requires_grad_()
    loss = build(1.0)(x, y)
    loss.backward()
    assert loss.isfinite() and x.grad.isfinite().all()


@pytest.mark.parametrize('build', [SSIMLoss, MSSSIMLoss])
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_computed_in_single(build, dtype):
    x, y = (image.to(dtype) for image in pair((1, 1, 176, 176), torch.float32))
    with torch.autocast('cpu', torch.bfloat16):
        loss = build(1.0)(x.requires_grad_(), y)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, build(1.0)(x.float(), y.float()))
    loss.backward()
    assert x.grad.dtype == dtype and x.grad.isfinite().all()


def test_minimising_the_loss_restores_the_image():
    x, y = pair((1, 1, 48, 48), torch.float32)
    y.requires_grad_()
    optimizer, loss = torch.optim.Adam([y], 0.02), SSIMLoss(1.0)
    start = loss(y, x).item()
    for _ in range(60):
        optimizer.zero_grad()
        loss(y, x).backward()
        optimizer.step()
    assert loss(y, x).item() < 0.1 * start


@pytest.mark.parametrize('scope', ['mmagic', 'mmdet', 'mmengine'])
def test_composite_is_the_sum_of_its_registered_parts(scope):
    x, y = pair((2, 1, 40, 40), torch.float32)
    # A detector loaded before may have set mmdet's scope, which has an L1Loss of its own.
    with DefaultScope.overwrite_default_scope(scope):
        loss = MODELS.build(
            dict(
                type='CompositeLoss',
                losses=dict(
                    ssim=dict(type='SSIMLoss', data_range=1.0, loss_weight=0.8),
                    l1=dict(type='L1Loss', loss_weight=0.2),
                    edge=dict(type='EdgeLoss', loss_weight=3.0),
                ),
            )
        )
    expected = 0.8 * SSIMLoss(1.0)(x, y) + 0.2 * (x - y).abs().mean() + 3 * EdgeLoss()(x, y)
    torch.testing.assert_close(loss(x, y), expected)
    assert list(loss.parts(x, y)) == ['ssim', 'l1', 'edge']


def test_edge_loss_measures_slopes_and_not_levels():
    ramp = torch.arange(20.0).expand(1, 1, 12, 20)
    flat = torch.full_like(ramp, 7.0)
    # One per pixel across, nothing down: the mean over both directions is a half.
    assert EdgeLoss()(ramp, flat).item() == pytest.approx(0.5)
    assert EdgeLoss()(ramp.transpose(2, 3), flat.transpose(2, 3)).item() == pytest.approx(0.5)
    assert EdgeLoss()(ramp + 30, ramp).item() == 0
    assert EdgeLoss('sum')(ramp, flat).item() == pytest.approx(10 * 18)


@pytest.mark.parametrize(
    'make,error,match',
    [
        (lambda: SSIMLoss(), TypeError, 'data_range'),
        (lambda: SSIMLoss(None), ValueError, 'data_range.*None'),
        (lambda: SSIMLoss(-1), ValueError, 'data_range'),
        (lambda: SSIMLoss(True), ValueError, 'data_range'),
        (lambda: SSIMLoss(math.inf), ValueError, 'data_range'),
        (lambda: MSSSIMLoss(1.0, reduction='max'), ValueError, 'reduction.*max'),
        (lambda: MSSSIMLoss(1.0, weights=()), ValueError, 'weights'),
        (
            lambda: MSSSIMLoss(1.0)(torch.rand(1, 1, 160, 300), torch.rand(1, 1, 160, 300)),
            ValueError,
            'each side needs 161',
        ),
        (lambda: CompositeLoss({}), ValueError, 'empty'),
        (lambda: CompositeLoss(dict(a='L1Loss')), TypeError, r"losses\['a'\]"),
        (lambda: EdgeLoss('none'), ValueError, 'reduction'),
        (lambda: EdgeLoss()(torch.rand(1, 1, 2, 9), torch.rand(1, 1, 2, 9)), ValueError, '>= 3'),
    ],
)
def test_bad_options_are_named(make, error, match):
    with pytest.raises(error, match=match):
        make()


def test_shortfall_is_what_is_missing_along_the_edge():
    y = torch.zeros(1, 1, 12, 12)
    y[..., 6:] = 1
    plain, dear = EdgeLoss(), EdgeLoss(shortfall=3.0)
    # Half the step: half of every gradient is missing, and all of it along the target's.
    assert dear(0.5 * y, y) == pytest.approx(plain(0.5 * y, y).item() * (1 + 3 * 2), rel=1e-5)
    # Too steep an edge, or one where the target has none, misses nothing.
    assert dear(1.5 * y, y) == pytest.approx(plain(1.5 * y, y).item())
    assert dear(y, 0 * y) == pytest.approx(plain(y, 0 * y).item())
    x = torch.rand(1, 1, 12, 12, requires_grad=True)
    dear(x, 0 * y).backward()
    assert torch.isfinite(x.grad).all()
    with pytest.raises(ValueError, match='shortfall'):
        EdgeLoss(shortfall=-1)
