"""Gaussian windows as banded matrices: a separable filter at the speed of matrix products."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

# Outputs of one banded product. 64 outputs of an 11-tap window need 74 inputs, so a product does
# seven times the arithmetic of a convolution, and on matrix units still takes a tenth of its time.
BLOCK = 64


@lru_cache(maxsize=32)
def gaussian_window(size: int, sigma: float) -> Tensor:
    """A Gaussian of ``size`` taps that sums to one: (size,), float64."""
    offset = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    window = torch.exp(-offset.square() / (2 * sigma**2))
    return window / window.sum()


def gaussian_taps(sigma: float) -> Tensor:
    """A Gaussian out to three standard deviations, at least one pixel: odd (size,), float32."""
    return gaussian_window(2 * max(1, math.ceil(3 * sigma)) + 1, sigma).float()


def smooth(image: Tensor, taps: Tensor) -> Tensor:
    """Separable filter of (N, C, H, W) to the same; the border repeats its last pixels."""
    channels, half = image.shape[1], len(taps) // 2
    image = F.pad(image, (half, half, half, half), mode='replicate')
    image = F.conv2d(image, taps.expand(channels, 1, 1, -1), groups=channels)
    return F.conv2d(image, taps.view(-1, 1).expand(channels, 1, -1, 1), groups=channels)


@lru_cache(maxsize=64)
def banded(
    size: int, sigma: float, outputs: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """T of shape (outputs + size - 1, outputs): ``row @ T`` is the valid filter of a row."""
    window = gaussian_window(size, sigma)
    matrix = torch.zeros(outputs + size - 1, outputs, dtype=torch.float64)
    for j in range(outputs):
        matrix[j : j + size, j] = window
    return matrix.to(device, dtype)


def filter_rows(x: Tensor, size: int, sigma: float) -> Tensor:
    """Valid filter along the last axis: contiguous (R, W) to (R, W - size + 1)."""
    rows, width = x.shape
    outputs = width - size + 1
    out = x.new_empty(rows, outputs)
    blocks, rest = divmod(outputs, BLOCK)
    if blocks:
        matrix = banded(size, sigma, BLOCK, x.dtype, x.device)
        # Overlapping views, no copies: block b reads columns 64 b .. 64 b + 63 + size - 1.
        windows = x.as_strided((blocks, rows, len(matrix)), (BLOCK, width, 1))
        target = out.as_strided((blocks, rows, BLOCK), (BLOCK, outputs, 1))
        torch.bmm(windows, matrix.expand(blocks, -1, -1), out=target)
    if rest:
        start = blocks * BLOCK
        torch.mm(x[:, start:], banded(size, sigma, rest, x.dtype, x.device), out=out[:, start:])
    return out


def filter_strip(x: Tensor, size: int, sigma: float) -> Tensor:
    """Valid 2D filter: contiguous (M, h + size - 1, W) to (M, h, W - size + 1)."""
    height = x.size(1) - size + 1
    matrix = banded(size, sigma, height, x.dtype, x.device)
    x = torch.bmm(matrix.t().expand(len(x), -1, -1), x)
    return filter_rows(x.flatten(0, 1), size, sigma).unflatten(0, (-1, height))


def spread_strip(x: Tensor, size: int, sigma: float) -> Tensor:
    """The transpose of :func:`filter_strip`: (M, h, w) to (M, h + size - 1, w + size - 1)."""
    height = x.size(1)
    # The window is symmetric: its transpose is the valid filter of the row with zeros around it.
    padded = torch.nn.functional.pad(x, (size - 1, size - 1))
    x = filter_rows(padded.flatten(0, 1), size, sigma).unflatten(0, (-1, height))
    matrix = banded(size, sigma, height, x.dtype, x.device)
    return torch.bmm(matrix.expand(len(x), -1, -1), x)
