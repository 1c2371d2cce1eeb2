"""Structural similarity, differentiable, in one pass over the image."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..ops.gaussian import BLOCK, filter_strip, spread_strip
from .ssim_cpu import means_on_cpu

# Pixels worked on at a time: the maps of one chunk stay in a CPU's cache, and fill a GPU.
CHUNK_PIXELS = dict(cpu=1 << 17, cuda=1 << 22)


def check_images(x: Tensor, y: Tensor, data_range: float, size: int, sigma: float) -> None:
    """Refuse what SSIM is not defined for.

    Raises:
        TypeError: If an image is not a floating-point tensor.
        ValueError: If shapes differ or are not (N, C, H, W), an image is smaller than the window,
            the window is not odd, or a number is not positive.
    """
    for name, image in (('pred', x), ('target', y)):
        if not isinstance(image, Tensor) or not image.is_floating_point():
            kind = image.dtype if isinstance(image, Tensor) else type(image).__name__
            raise TypeError(
                f'{name} must be a floating-point tensor, got {kind}; convert it with '
                '.float() and give data_range in its units'
            )
    if x.shape != y.shape or x.dim() != 4:
        raise ValueError(
            'pred and target must have one shape (N, C, H, W), got '
            f'{tuple(x.shape)} and {tuple(y.shape)}'
        )
    if size < 1 or size % 2 == 0:
        raise ValueError(f'window_size must be odd and positive, got {size}')
    if not 0 < sigma < math.inf:
        raise ValueError(f'sigma must be positive, got {sigma}')
    if not 0 < data_range < math.inf:
        raise ValueError(
            f'data_range must be positive (1 for images in [0, 1], 255 for 8-bit '
            f'values), got {data_range}'
        )
    if x.numel() == 0:
        raise ValueError(f'there is nothing to compare: the images have shape {tuple(x.shape)}')
    if min(x.shape[2:]) < size:
        raise ValueError(
            f'images of {x.size(2)} x {x.size(3)} pixels are smaller than the window '
            f'({size} x {size}); use larger images or a smaller window_size'
        )


class _StripTerms:
    """SSIM of one strip (n, h, w) from its local moments, and the derivatives by the moments.

    With the windowed means a, b of x and y, and of s = x^2 + y^2 and p = x y,

        l = (2 a b + C1) / (a^2 + b^2 + C1),  c = (2 (p - a b) + C2) / (s - a^2 - b^2 + C2)

    and SSIM = l c (Wang et al. 2004, Eq. 13), with population (co)variances. The moments come
    from images less ``shift``: c does not change, but keeps the digits that a large mean costs.
    """

    def __init__(
        self, moments: Tensor, shift: Tensor, c1: float, c2: float, contrast_only: bool
    ) -> None:
        *self.means, s, p = moments
        a, b = self.means
        self.inverse = (s - a.square()).addcmul_(b, b, value=-1).add_(c2).reciprocal_()
        self.contrast = torch.addcmul(p, a, b, value=-1).mul_(2).add_(c2).mul_(self.inverse)
        self.luminance = None
        if not contrast_only:
            self.levels = a, b = a + shift, b + shift
            self.inverse_l = a.square().addcmul_(b, b).add_(c1).reciprocal_()
            self.luminance = (a * b).mul_(2).add_(c1).mul_(self.inverse_l)

    def value(self) -> Tensor:
        """SSIM, or its contrast-structure factor c."""
        return self.contrast if self.luminance is None else self.contrast * self.luminance

    def by_products(self) -> tuple[Tensor, Tensor]:
        """Derivative by p, and twice that by s."""
        by_p = self.inverse * 2
        if self.luminance is not None:
            by_p.mul_(self.luminance)
        return by_p, (by_p * self.contrast).neg_()

    def by_mean(self, i: int, by_p: Tensor, by_2s: Tensor) -> Tensor:
        """Derivative by the mean of x (i = 0) or y (i = 1)."""
        out = (by_p * self.means[1 - i]).addcmul_(by_2s, self.means[i]).neg_()
        if self.luminance is not None:
            change = torch.addcmul(self.levels[1 - i], self.luminance, self.levels[i], value=-1)
            out.addcmul_(change.mul_(self.inverse_l), self.contrast, value=2)
        return out


def _strips(x: Tensor, size: int) -> Iterator[tuple[slice, slice]]:
    """Planes and rows (with their margin) of (P, H, W) to be worked on together."""
    planes, height, width = x.shape
    pixels = CHUNK_PIXELS.get(x.device.type, CHUNK_PIXELS['cuda'])
    group = max(1, min(planes, pixels // (BLOCK * width)))
    for first in range(0, planes, group):
        for top in range(0, height - size + 1, BLOCK):
            yield slice(first, first + group), slice(top, min(top + BLOCK + size - 1, height))


def _compiled(x: Tensor) -> bool:
    """Whether compiled loops do the work; elsewhere torch's matrix products."""
    return x.device.type == 'cpu'


def _means(
    x: Tensor, y: Tensor, wants: Sequence[bool], *options: object
) -> tuple[Tensor, list[Tensor | None]]:
    """:func:`means_on_cpu` on any device."""
    planes, height, width = x.shape
    margin = options[0] - 1
    count = (height - margin) * (width - margin)
    grads = [torch.zeros_like(x) if want else None for want in wants]
    total = x.new_zeros(planes, dtype=torch.float64)
    for part, rows in _strips(x, options[0]):
        views = [g if g is None else g[part, rows] for g in grads]
        value = _strip(x[part, rows], y[part, rows], views, *options)
        total[part] += value.flatten(1).sum(1, dtype=torch.float64)
    for grad in grads:
        if grad is not None:
            grad.div_(count)
    return total / count, grads


class _MeanSSIM(torch.autograd.Function):
    """Mean SSIM of every image and channel: (P, H, W) twice to (P,).

    As each output is a mean, the gradient of every pixel but for one factor an image is known in
    the forward pass. It is made there, some rows at a time, while the moments are in the cache; no
    map but the gradient itself is kept.
    """

    @staticmethod
    def forward(
        ctx,
        x: Tensor,
        y: Tensor,
        size: int,
        sigma: float,
        c1: float,
        c2: float,
        contrast_only: bool,
    ) -> Tensor:
        means = means_on_cpu if _compiled(x) else _means
        value, grads = means(x, y, ctx.needs_input_grad[:2], size, sigma, c1, c2, contrast_only)
        ctx.save_for_backward(*grads)
        return value.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output: Tensor) -> tuple:
        factor = grad_output[:, None, None]
        grads = [None if g is None else g * factor for g in ctx.saved_tensors]
        return (*grads, None, None, None, None, None)


def _strip(
    x: Tensor,
    y: Tensor,
    grads: list[Tensor | None],
    size: int,
    sigma: float,
    c1: float,
    c2: float,
    contrast_only: bool,
) -> Tensor:
    """SSIM map of one strip (n, h, w); adds the gradients of its sum to ``grads``."""
    shift = y.mean()
    stack = x.new_empty(4, *x.shape)
    torch.sub(x, shift, out=stack[0])
    torch.sub(y, shift, out=stack[1])
    x, y = stack[:2]
    torch.mul(x, x, out=stack[2]).addcmul_(y, y)
    torch.mul(x, y, out=stack[3])
    moments = filter_strip(stack.flatten(0, 1), size, sigma).unflatten(0, (4, -1))
    terms = _StripTerms(moments, shift, c1, c2, contrast_only)
    value = terms.value()
    wanted = [i for i, grad in enumerate(grads) if grad is not None]
    if not wanted:
        return value
    by_p, by_2s = terms.by_products()
    maps = torch.cat([by_p, by_2s, *(terms.by_mean(i, by_p, by_2s) for i in wanted)])
    by_p, by_2s, *by_means = spread_strip(maps, size, sigma).chunk(2 + len(wanted))
    for i, by_mean in zip(wanted, by_means):
        grads[i].add_(by_mean.addcmul_(by_2s, stack[i]).addcmul_(by_p, stack[1 - i]))
    return value


def _planes(
    x: Tensor, y: Tensor, data_range: float, window_size: int, sigma: float, border: str
) -> list[Tensor]:
    """Checked images as contiguous planes (N C, H, W), float32 or float64."""
    check_images(x, y, data_range, window_size, sigma)
    if border not in ('valid', 'reflect'):
        raise ValueError(f"border must be 'valid' or 'reflect', got {border!r}")
    dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    images = [image.to(dtype) for image in (x, y)]
    if border == 'reflect':
        images = [F.pad(image, [window_size // 2] * 4, mode='reflect') for image in images]
    return [image.contiguous().flatten(0, 1) for image in images]


def mean_ssim(
    x: Tensor,
    y: Tensor,
    data_range: float,
    window_size: int = 11,
    sigma: float = 1.5,
    k1: float = 0.01,
    k2: float = 0.03,
    contrast_only: bool = False,
    border: str = 'valid',
) -> Tensor:
    r"""Mean structural similarity of each channel of each image.

    Gaussian window, population (co)variances, and the mean over those pixels whose window lies
    inside the image, as in Wang, Bovik, Sheikh and Simoncelli (IEEE TIP 2004, Sec. III-B).

    Args:
        x: Images (N, C, H, W); half precision is computed in float32.
        y: Images of the same shape.
        data_range: Largest minus smallest value a pixel can take: 1 or 255, say.
        window_size: Taps of the window, odd. Defaults to 11.
        sigma: Its standard deviation in pixels. Defaults to 1.5.
        k1: :math:`C_1 = (K_1 L)^2` for the data range L. Defaults to 0.01.
        k2: :math:`C_2 = (K_2 L)^2`. Defaults to 0.03.
        contrast_only: Leave out the luminance factor, as the finer scales of MS-SSIM do.
            Defaults to False.
        border: 'valid' as in the paper, or 'reflect': images are mirrored beyond their
            border and every pixel counts. Defaults to 'valid'.

    Returns:
        (N, C) in [-1, 1], float32 or float64. It can be differentiated once.

    Raises:
        TypeError, ValueError: See :func:`check_images`.

    Examples:
        >>> import torch
        >>> from mmclarity.restoration.losses import mean_ssim
        >>> image = torch.rand(2, 1, 32, 32)
        >>> mean_ssim(image, image, data_range=1.0)
        tensor([[1.],
                [1.]])
    """
    planes = _planes(x, y, data_range, window_size, sigma, border)
    with torch.autocast(x.device.type, enabled=False):
        means = _MeanSSIM.apply(
            *planes,
            window_size,
            float(sigma),
            (k1 * data_range) ** 2,
            (k2 * data_range) ** 2,
            contrast_only,
        )
    return means.unflatten(0, x.shape[:2])


def ssim_map(
    x: Tensor,
    y: Tensor,
    data_range: float,
    window_size: int = 11,
    sigma: float = 1.5,
    k1: float = 0.01,
    k2: float = 0.03,
    border: str = 'valid',
) -> Tensor:
    """SSIM of each pixel whose window lies inside: (N, C, H - window_size + 1, ...).

    With ``border='reflect'``, of each pixel: (N, C, H, W). For pictures and metrics: it has no
    gradient. See :func:`mean_ssim`.

    Examples:
        >>> import torch
        >>> from mmclarity.restoration.losses import ssim_map
        >>> image = torch.rand(2, 1, 32, 32)
        >>> ssim_map(image, image, data_range=1.0).shape
        torch.Size([2, 1, 22, 22])
    """
    shape = x.shape[:2]
    x, y = _planes(x, y, data_range, window_size, sigma, border)
    margin = window_size - 1
    out = x.new_empty(len(x), x.size(1) - margin, x.size(2) - margin)
    with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
        for part, rows in _strips(x, window_size):
            out[part, rows.start : rows.stop - margin] = _strip(
                x[part, rows],
                y[part, rows],
                [None, None],
                window_size,
                float(sigma),
                (k1 * data_range) ** 2,
                (k2 * data_range) ** 2,
                False,
            )
    return out.unflatten(0, shape)
