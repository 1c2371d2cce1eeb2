"""The fast CPU RoIAlign: its threads, its limits and its precision, against torchvision."""

import pytest
import torch
import torchvision
from mmcv.ops import roi_align

from mmclarity import compat
from mmclarity.compat import roi_align_cpu

standin_only = pytest.mark.skipif(
    compat.operators() != 'torchvision', reason='a compiled mmcv is installed and used as it is'
)


def random_rois(count: int, images: int, seed: int = 0) -> torch.Tensor:
    """(count, 5) regions from a pixel to several times the size of a 200 x 120 image."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.exp(torch.rand(count, 2, generator=generator) * 6)
    centre = torch.rand(count, 2, generator=generator) * torch.tensor([200.0, 120.0])
    image = torch.randint(0, images, (count, 1), generator=generator)
    return torch.cat([image.float(), centre - size / 2, centre + size / 2], 1).double()


def both(x: torch.Tensor, rois: torch.Tensor, scale: float, ratio: int, aligned: bool):
    """Output and gradient here and from torchvision."""
    results = []
    for function in (
        lambda y: roi_align(y, rois, (5, 7), scale, ratio, 'avg', aligned),
        lambda y: torchvision.ops.roi_align(y, rois, (5, 7), scale, ratio, aligned),
    ):
        leaf = x.detach().clone().requires_grad_()
        out = function(leaf)
        weight = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
        (out * weight).sum().backward()
        results += [out.detach(), leaf.grad]
    return results


@pytest.mark.parametrize('images', [1, 3])
@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 2, 3])
@pytest.mark.parametrize('threads', [1, 3])
def test_regions_of_every_size(monkeypatch, images, aligned, ratio, threads):
    monkeypatch.setattr(roi_align_cpu, 'LEAST_WORK', 1)
    monkeypatch.setattr(torch, 'get_num_threads', lambda: threads)
    x = torch.randn(images, 4, 30, 50, dtype=torch.float64)
    out, grad, want_out, want_grad = both(x, random_rois(80, images), 0.25, ratio, aligned)
    torch.testing.assert_close(out, want_out, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(grad, want_grad, rtol=1e-10, atol=1e-10)


def test_map_of_one_cell():
    rois = torch.tensor([[0, 0, 0, 8, 8], [0, -8, -8, 24, 24]], dtype=torch.float64)
    out, grad, want_out, want_grad = both(
        torch.randn(1, 2, 1, 1, dtype=torch.float64), rois, 0.125, 0, True
    )
    torch.testing.assert_close(out, want_out)
    torch.testing.assert_close(grad, want_grad)


@pytest.mark.parametrize('ratio', [0, 2])
def test_gigantic_region(ratio):
    rois = random_rois(4, 1)
    rois[1, 1:] = torch.tensor([-3000.0, -3000.0, 9000.0, 9000.0])
    rois[2, 1:] = torch.tensor([-2000.0, 10.0, 20.0, 13.0])
    rois[3, 1:] = torch.tensor([30.0, -4000.0, 33.0, 20.0])
    x = torch.randn(1, 2, 30, 50, dtype=torch.float64)
    out, grad, want_out, want_grad = both(x, rois, 1.0, ratio, True)
    torch.testing.assert_close(out, want_out)
    torch.testing.assert_close(grad, want_grad)


@standin_only
def test_region_of_a_billion_pixels_takes_no_longer_than_another():
    rois = torch.tensor([[0, -1e9, -1e9, 1e9, 1e9], [0, 1.0, 1, 20, 20]], dtype=torch.float64)
    x = torch.ones(1, 2, 30, 50, dtype=torch.float64)
    out = roi_align(x, rois, (5, 5), 1.0, 0, 'avg', True)
    # The map lies in the middle bin, which is 4e8 cells on a side.
    assert out[0, :, 2, 2].tolist() == pytest.approx([31 * 51 / 4e8**2] * 2, rel=1e-6)
    assert out[0].sum() == out[0, :, 2, 2].sum()
    torch.testing.assert_close(out[1], torch.ones_like(out[1]))


@standin_only
def test_region_inside_out_without_samples_pools_to_zero():
    """torchvision fails: a negative number of samples is too many for it."""
    x, rois = torch.randn(1, 2, 30, 50), torch.tensor([[0, 30.0, 20, 10, 40]])
    assert not roi_align(x, rois, (5, 7), 0.5, 0, 'avg', True).any()


@pytest.mark.parametrize('corner', [(30.0, 20.0, 10.0, 40.0), (5.0, 9.0, 5.0, 9.0)])
@pytest.mark.parametrize(('aligned', 'ratio'), [(True, 2), (False, 0), (False, 2)])
def test_region_that_is_inside_out_or_empty(corner, aligned, ratio):
    rois = random_rois(2, 1)
    rois[0, 1:] = torch.tensor(corner)
    x = torch.randn(1, 2, 30, 50, dtype=torch.float64)
    out, grad, want_out, want_grad = both(x, rois, 0.5, ratio, aligned)
    torch.testing.assert_close(out, want_out)
    torch.testing.assert_close(grad, want_grad)


@standin_only
@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_region_that_is_not_finite_pools_to_zero(value):
    rois = random_rois(3, 1)
    rois[1, 3] = value
    x = torch.randn(1, 2, 30, 50, dtype=torch.float64, requires_grad=True)
    out = roi_align(x, rois, (5, 7), 0.25, 0, 'avg', True)
    out.sum().backward()
    assert not out[1].any() and out[0].any() and out[2].any()
    assert torch.isfinite(x.grad).all()


@standin_only
@pytest.mark.parametrize('image', [-1, 2, float('nan')])
def test_wrong_image_index_is_refused(image):
    rois = random_rois(3, 2)
    rois[2, 0] = image
    with pytest.raises(ValueError, match='image index .* is not in 0..1'):
        roi_align(torch.randn(2, 2, 30, 50).double(), rois, (5, 7), 0.25, 0, 'avg', True)


@standin_only
def test_single_precision_is_no_worse_than_torchvision():
    x, rois = torch.randn(2, 16, 60, 80), random_rois(200, 2).float()
    exact = torchvision.ops.roi_align(x.double(), rois.double(), (7, 7), 0.5, 2, True)
    ours = roi_align(x, rois, (7, 7), 0.5, 2, 'avg', True)
    theirs = torchvision.ops.roi_align(x, rois, (7, 7), 0.5, 2, True)
    assert (ours - exact).abs().max() <= (theirs - exact).abs().max()
    assert (ours - exact).abs().max() < 2e-5


@standin_only
def test_same_bits_every_time():
    x, rois = torch.randn(2, 16, 30, 50), random_rois(100, 2).float()
    grad = torch.randn(100, 16, 7, 7)
    first, second = (roi_align_cpu.backward(grad, rois, x.shape, 0.25, 0, True) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize('layout', [torch.channels_last, torch.contiguous_format])
def test_bfloat16_is_read_as_it_is_and_rounded_once(layout):
    x = torch.randn(2, 16, 30, 50).bfloat16().contiguous(memory_format=layout)
    rois = random_rois(60, 2).float()
    wide = roi_align_cpu.forward(x.float(), rois, (7, 7), 0.25, 0, True)
    out = roi_align_cpu.forward(x, rois, (7, 7), 0.25, 0, True)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, wide.bfloat16())


def test_bfloat16_keeps_what_is_not_a_number():
    x = torch.zeros(1, 1, 4, 4, dtype=torch.bfloat16)
    x[..., 0, 0], x[..., 3, 3] = float('nan'), float('inf')
    rois = torch.tensor([[0, 0, 0, 1, 1], [0, 3.0, 3, 4, 4], [0, 1.5, 1.5, 2, 2]])
    out = roi_align_cpu.forward(x, rois, (1, 1), 1.0, 1, True).flatten()
    assert torch.isnan(out[0]) and torch.isinf(out[1]) and out[2] == 0


@pytest.mark.parametrize('layout', [torch.channels_last, torch.contiguous_format])
def test_only_chosen_regions_are_written(layout):
    x, rois = torch.randn(1, 3, 30, 50), random_rois(5, 1).float()
    out = torch.full((5, 3, 2, 2), 7.0).contiguous(memory_format=layout)
    chosen = torch.tensor([3, 1])
    assert roi_align_cpu.forward(x, rois, (2, 2), 0.25, 2, True, out, chosen) is out
    every = roi_align_cpu.forward(x, rois, (2, 2), 0.25, 2, True)
    assert torch.equal(out[chosen], every[chosen])
    assert (out[[0, 2, 4]] == 7).all()


def test_no_regions():
    x = torch.randn(1, 3, 30, 50)
    assert roi_align_cpu.forward(x, torch.zeros(0, 5), (2, 2), 1.0, 2, True).shape == (0, 3, 2, 2)
    grad = roi_align_cpu.backward(torch.zeros(0, 3, 2, 2), torch.zeros(0, 5), x.shape, 1.0, 2, True)
    assert grad.shape == x.shape and not grad.any()
