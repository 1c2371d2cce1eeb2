"""SSIM against closed forms, a written-out reference, and the libraries of the field."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmclarity.restoration.losses import mean_ssim, ssim_cpu, ssim_map
from mmclarity.restoration.losses import ssim as ssim_module
from mmclarity.restoration.ops.gaussian import filter_strip, gaussian_window, spread_strip


@pytest.fixture(autouse=True, params=['compiled', 'matrix products'])
def way(request, monkeypatch):
    """The loops that processors run, and what GPUs do in their place."""
    if request.param == 'matrix products':
        monkeypatch.setattr(ssim_module, '_compiled', lambda x: False)
    return request.param


def golden_pair():
    i, j = np.mgrid[0:64, 0:64]
    x = ((3 * i + 5 * j) % 64) / 63
    y = np.clip(0.8 * x + 0.1 + 0.1 * np.sin(0.7 * i) * np.cos(0.3 * j), 0, 1)
    return torch.tensor(x)[None, None], torch.tensor(y)[None, None]


def reference(x, y, data_range, size=11, sigma=1.5, contrast_only=False):
    """The definition with convolutions, differentiated by torch: (N, C)."""
    window = gaussian_window(size, sigma).to(x.dtype)
    kernel = (window[:, None] * window).expand(x.size(1), 1, size, size)

    def blur(image):
        return F.conv2d(image, kernel, groups=x.size(1))

    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    a, b = blur(x), blur(y)
    contrast = (2 * (blur(x * y) - a * b) + c2) / (blur(x * x) - a * a + blur(y * y) - b * b + c2)
    luminance = (2 * a * b + c1) / (a * a + b * b + c1)
    return (contrast if contrast_only else contrast * luminance).mean((2, 3))


def test_golden_case():
    x, y = golden_pair()
    x.requires_grad_()
    value = mean_ssim(x, y, 1.0)
    (1 - value).sum().backward()
    assert value.item() == pytest.approx(0.9395021579, abs=1e-10)
    assert x.grad.norm().item() == pytest.approx(0.0279223341, rel=2e-7)


@pytest.mark.parametrize('dtype,tolerance', [(torch.float64, 1e-9), (torch.float32, 1e-6)])
def test_constants_have_a_closed_form(dtype, tolerance):
    x, y = (torch.full((1, 2, 30, 20), value, dtype=dtype) for value in (0.3, 0.7))
    assert mean_ssim(x, y, 1.0).tolist()[0] == pytest.approx([0.7241854853] * 2, abs=tolerance)


@pytest.mark.parametrize(
    'shape',
    [(1, 1, 11, 11), (2, 3, 75, 12), (3, 1, 64 + 10, 64 + 10), (1, 2, 200, 150), (2, 1, 12, 300)],
    ids=str,
)
@pytest.mark.parametrize('contrast_only', [False, True])
def test_values_and_both_gradients_equal_the_definition(shape, contrast_only):
    x, y = (torch.rand(shape, dtype=torch.float64, requires_grad=True) for _ in range(2))
    factor = torch.rand(shape[:2], dtype=torch.float64)
    got = mean_ssim(x, y, 1.0, contrast_only=contrast_only)
    expected = reference(x, y, 1.0, contrast_only=contrast_only)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)
    for a, b in zip(
        torch.autograd.grad((got * factor).sum(), (x, y)),
        torch.autograd.grad((expected * factor).sum(), (x, y)),
    ):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize('size,sigma', [(1, 1.0), (3, 0.5), (7, 1.5), (21, 3.0)])
@pytest.mark.parametrize('data_range', [1.0, 255.0, 65535.0])
def test_other_windows_and_ranges(size, sigma, data_range):
    x, y = (torch.rand(2, 1, 40, 90, dtype=torch.float64) * data_range for _ in range(2))
    torch.testing.assert_close(
        mean_ssim(x, y, data_range, size, sigma),
        reference(x, y, data_range, size, sigma),
        rtol=1e-9,
        atol=1e-12,
    )


def test_results_do_not_depend_on_the_chunks(monkeypatch):
    x, y = (torch.rand(5, 2, 150, 40, dtype=torch.float64, requires_grad=True) for _ in range(2))
    expected = torch.autograd.grad(mean_ssim(x, y, 1.0).sum(), (x, y))
    whole = mean_ssim(x, y, 1.0)
    for pixels, rows, threads in ((1, 1, 64), (3 * 64 * 40, 20, 3), (1 << 30, 1 << 30, 1)):
        monkeypatch.setitem(ssim_module.CHUNK_PIXELS, 'cpu', pixels)
        monkeypatch.setattr(ssim_cpu, 'ROWS', rows)
        monkeypatch.setattr(torch, 'get_num_threads', lambda count=threads: count)
        torch.testing.assert_close(mean_ssim(x, y, 1.0), whole, rtol=1e-12, atol=0)
        for a, b in zip(torch.autograd.grad(mean_ssim(x, y, 1.0).sum(), (x, y)), expected):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize('mean', [0.05, 0.5, 0.97])
def test_single_precision_stays_near_double(mean):
    """Flat bright areas lose digits to E[x^2] - E[x]^2; the shift keeps them."""
    x = (mean + 0.01 * torch.randn(2, 1, 100, 100, dtype=torch.float64)).clamp(0, 1)
    y = (x + 0.01 * torch.randn_like(x)).clamp(0, 1)
    exact, grads = mean_ssim(x, y, 1.0), []
    torch.testing.assert_close(
        mean_ssim(x.float(), y.float(), 1.0).double(), exact, rtol=0, atol=1e-6
    )
    for dtype in (torch.float64, torch.float32):
        a = x.to(dtype).requires_grad_()
        grads += torch.autograd.grad(mean_ssim(a, y.to(dtype), 1.0).sum(), a)
    assert (grads[1].double() - grads[0]).norm() < 1e-4 * grads[0].norm()


def test_map_has_the_mean_and_the_shape():
    x, y = golden_pair()
    values = ssim_map(x, y, 1.0)
    assert values.shape == (1, 1, 54, 54)
    torch.testing.assert_close(values.mean((2, 3)), mean_ssim(x, y, 1.0))
    torch.testing.assert_close(ssim_map(x, x, 1.0), torch.ones_like(values))


def test_an_image_and_itself_is_one_with_no_gradient():
    x = torch.rand(2, 3, 40, 40, dtype=torch.float64, requires_grad=True)
    value = mean_ssim(x, x.detach(), 1.0)
    value.sum().backward()
    torch.testing.assert_close(value, torch.ones_like(value))
    assert x.grad.abs().max() < 1e-12


@pytest.mark.parametrize(
    'pair',
    [
        lambda: (torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 32, 32)),
        lambda: (torch.ones(1, 1, 32, 32), torch.zeros(1, 1, 32, 32)),
        lambda: (torch.full((1, 1, 32, 32), 0.5), torch.full((1, 1, 32, 32), 0.5)),
        lambda: (
            torch.arange(1024.0).view(1, 1, 32, 32) % 2,
            1 - torch.arange(1024.0).view(1, 1, 32, 32) % 2,
        ),
    ],
    ids=['zeros', 'extremes', 'constant', 'anti-correlated'],
)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_gradients_are_finite_where_there_is_nothing_to_see(pair, dtype):
    x, y = (image.to(dtype) for image in pair())
    x.requires_grad_()
    with torch.autocast('cpu', torch.bfloat16):
        value = mean_ssim(x, y, 1.0)
    assert value.dtype == torch.float32 and value.isfinite().all() and value.abs().max() <= 1 + 1e-6
    value.sum().backward()
    assert x.grad.dtype == dtype and x.grad.isfinite().all()


def test_nan_is_passed_on_and_not_hidden():
    x, y = golden_pair()
    x[..., 5, 5] = math.nan
    assert mean_ssim(x, y, 1.0).isnan().all()


def test_not_contiguous_and_mixed_types():
    x, y = torch.rand(2, 40, 50, 3), torch.rand(2, 3, 40, 50, dtype=torch.float64)
    torch.testing.assert_close(
        mean_ssim(x.permute(0, 3, 1, 2), y, 1.0), reference(x.permute(0, 3, 1, 2).double(), y, 1.0)
    )


def test_filter_and_its_transpose_are_adjoint():
    x = torch.randn(3, 30, 100, dtype=torch.float64)
    y = torch.randn(3, 20, 90, dtype=torch.float64)
    left = (filter_strip(x, 11, 1.5) * y).sum()
    torch.testing.assert_close(left, (x * spread_strip(y, 11, 1.5)).sum())


@pytest.mark.parametrize(
    'kwargs,error,match',
    [
        (dict(x=torch.zeros(1, 1, 20, 20).byte()), TypeError, 'pred.*floating-point.*uint8'),
        (dict(y='image'), TypeError, 'target.*str'),
        (dict(y=torch.zeros(1, 1, 20, 21)), ValueError, 'one shape'),
        (dict(x=torch.zeros(20, 20), y=torch.zeros(20, 20)), ValueError, r'\(N, C, H, W\)'),
        (
            dict(x=torch.zeros(1, 1, 10, 20), y=torch.zeros(1, 1, 10, 20)),
            ValueError,
            'smaller than',
        ),
        (dict(x=torch.zeros(0, 1, 20, 20), y=torch.zeros(0, 1, 20, 20)), ValueError, 'nothing'),
        (dict(window_size=10), ValueError, 'odd'),
        (dict(sigma=0), ValueError, 'sigma'),
        (dict(data_range=0), ValueError, 'data_range'),
        (dict(data_range=math.nan), ValueError, 'data_range'),
        (dict(border='same'), ValueError, "border.*'same'"),
    ],
)
def test_bad_input_is_named(kwargs, error, match):
    kwargs = dict(x=torch.zeros(1, 1, 20, 20), y=torch.zeros(1, 1, 20, 20), data_range=1.0) | kwargs
    with pytest.raises(error, match=match):
        mean_ssim(**kwargs)
