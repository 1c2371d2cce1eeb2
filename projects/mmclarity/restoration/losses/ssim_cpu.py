"""SSIM and its gradient on a processor, row by row: each map is as high as the window."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from mmclarity.utils.jit import compiled

from ..ops.gaussian import gaussian_window

# Least rows for a thread: each begins with a window's height of rows that another one does too.
ROWS = 128
# A row's sum may be taken in any order, several pixels at once.
REORDER = {'reassoc', 'contract', 'nsz'}


@compiled(fastmath=REORDER)
def _filter(out: np.ndarray, source: np.ndarray, starts: np.ndarray, taps: np.ndarray) -> None:
    """``out[j] = sum over k of taps[k] source[starts[k] + j]``, with symmetric taps.

    Places are unsigned: numba then need not ask whether they count from the end, and LLVM makes
    vector code of the loops.
    """
    last, half, width = len(taps) - 1, len(taps) // 2, np.uint64(len(out))
    start, tap, k = starts[half], taps[half], 0
    for j in range(width):
        out[j] = tap * source[start + j]
    while k + 5 <= half:  # the eleven taps of the usual window in one go
        u0, u1, u2 = starts[k], starts[k + 1], starts[k + 2]
        u3, u4 = starts[k + 3], starts[k + 4]
        v0, v1, v2 = starts[last - k], starts[last - k - 1], starts[last - k - 2]
        v3, v4 = starts[last - k - 3], starts[last - k - 4]
        t0, t1, t2, t3, t4 = taps[k], taps[k + 1], taps[k + 2], taps[k + 3], taps[k + 4]
        for j in range(width):
            out[j] += (
                t0 * (source[u0 + j] + source[v0 + j])
                + t1 * (source[u1 + j] + source[v1 + j])
                + t2 * (source[u2 + j] + source[v2 + j])
                + t3 * (source[u3 + j] + source[v3 + j])
                + t4 * (source[u4 + j] + source[v4 + j])
            )
        k += 5
    while k < half:
        u0, v0, t0 = starts[k], starts[last - k], taps[k]
        for j in range(width):
            out[j] += t0 * (source[u0 + j] + source[v0 + j])
        k += 1


@compiled(fastmath=REORDER)
def _fill_maps(maps: np.ndarray, x: np.ndarray, y: np.ndarray, shift: float) -> None:
    """x, y, x^2 + y^2 and x y of one row, less the shift."""
    for j in range(len(x)):
        u, v = x[j] - shift, y[j] - shift
        maps[0, j], maps[1, j], maps[2, j], maps[3, j] = u, v, u * u + v * v, u * v


@compiled(fastmath=REORDER)
def _terms(
    moments: np.ndarray,
    derivatives: np.ndarray,
    shift: float,
    c1: float,
    c2: float,
    contrast_only: bool,
) -> float:
    """Sum of SSIM over one row, and its derivatives; see ``_StripTerms`` of ssim.py.

    Args:
        moments: (4, w), means of x, y, x^2 + y^2 and x y.
        derivatives: (4, w), filled with those by p, by s (twice), by the means of x
            and of y.
        shift: Taken off the grey levels beforehand, for the digits' sake.
        c1: Constant of the luminance factor.
        c2: Constant of the contrast factor.
        contrast_only: Leave out the luminance factor.
    """
    # No number is written out: a literal would make everything float64.
    total = c2 - c2
    for j in range(moments.shape[1]):
        a, b, s, p = moments[0, j], moments[1, j], moments[2, j], moments[3, j]
        variance, covariance = s - a * a - b * b + c2, p - a * b
        contrast = (covariance + covariance + c2) / variance
        by_p = (c2 + c2) / (variance * c2)
        value, la, lb = contrast, a + shift, b + shift
        by_a, by_b = total - total, total - total
        if not contrast_only:
            level, product = la * la + lb * lb + c1, la * lb
            luminance = (product + product + c1) / level
            factor = (contrast + contrast) / level
            by_a, by_b = (lb - luminance * la) * factor, (la - luminance * lb) * factor
            by_p *= luminance
            value *= luminance
        by_s = -by_p * contrast
        derivatives[0, j], derivatives[1, j] = by_p, by_s
        derivatives[2, j] = by_a - by_p * b - by_s * a
        derivatives[3, j] = by_b - by_p * a - by_s * b
        total += value
    return total


@compiled(fastmath=REORDER)
def _gradient(
    out: np.ndarray,
    by_mean: np.ndarray,
    by_s: np.ndarray,
    own: np.ndarray,
    by_p: np.ndarray,
    other: np.ndarray,
    scale: float,
) -> None:
    for j in range(len(out)):
        out[j] = scale * (by_mean[j] + by_s[j] * own[j] + by_p[j] * other[j])


@compiled
def _strip(
    x: np.ndarray,
    y: np.ndarray,
    grad_x: np.ndarray,
    grad_y: np.ndarray,
    first: int,
    last: int,
    taps: np.ndarray,
    shift: float,
    scale: float,
    c1: float,
    c2: float,
    contrast_only: bool,
) -> float:
    """Sum of SSIM over rows ``first`` to ``last`` of a plane (H, W).

    Fills those rows of the gradients, ``scale`` times that of the sum over the whole plane.

    A gradient of no rows is not wanted. Row q of the images lies under the windows of rows
    q - T + 1 to q of the map: those above the strip are worked out again.
    """
    size, (height, width) = len(taps), x.shape
    half, rows, columns = size - 1, height - size + 1, width - size + 1
    wanted = (
        np.array([len(grad_x) + len(grad_y), len(grad_x) + len(grad_y), len(grad_x), len(grad_y)])
        > 0
    )
    maps, moments = np.empty((4, width), x.dtype), np.empty((4, columns), x.dtype)
    derivatives, back = np.empty((4, columns), x.dtype), np.empty((4, width), x.dtype)
    padded = np.zeros(width + half, x.dtype)
    # Rings of as many rows as the window: of filtered rows, and of derivatives.
    means = np.empty((4, size * columns), x.dtype)
    ring = np.zeros((4, size * columns), x.dtype)
    along, down = np.arange(size).astype(np.uint64), np.empty(size, np.uint64)
    total, filled = 0.0, max(0, first - half)
    for row in range(max(0, first - half), min(last, height if wanted[0] else rows)):
        here = (row % size) * columns
        while row < rows and filled < row + size:
            _fill_maps(maps, x[filled], y[filled], shift)
            there = (filled % size) * columns
            for m in range(4):
                _filter(means[m, there : there + columns], maps[m], along, taps)
            filled += 1
        if row < rows:
            for k in range(size):
                down[k] = ((row + k) % size) * columns
            for m in range(4):
                _filter(moments[m], means[m], down, taps)
            value = _terms(moments, derivatives, shift, c1, c2, contrast_only)
            if row >= first:
                total += value
        for k in range(size):  # upwards: the oldest row of the ring comes after this one
            down[k] = ((row + 1 + k) % size) * columns
        for m in range(4):
            if not wanted[m]:
                continue
            if row < rows:
                ring[m, here : here + columns] = derivatives[m]
            else:
                ring[m, here : here + columns] = 0
            if row >= first:
                _filter(padded[half:width], ring[m], down, taps)
                _filter(back[m], padded, along, taps)
        if wanted[0] and row >= first:
            _fill_maps(maps, x[row], y[row], shift)
            if wanted[2]:
                _gradient(grad_x[row], back[2], back[1], maps[0], back[0], maps[1], scale)
            if wanted[3]:
                _gradient(grad_y[row], back[3], back[1], maps[1], back[0], maps[0], scale)
    return total


def means_on_cpu(
    x: Tensor,
    y: Tensor,
    wants: Sequence[bool],
    size: int,
    sigma: float,
    c1: float,
    c2: float,
    contrast_only: bool,
) -> tuple[Tensor, list[Tensor | None]]:
    """Mean SSIM of each plane, and its gradients.

    Args:
        x: (P, H, W), contiguous, float32 or float64.
        y: Likewise.
        wants: Whether the gradients by x and by y are wanted.
        size: Taps of the window.
        sigma: Its standard deviation in pixels.
        c1: Constant of the luminance factor, see :func:`mean_ssim`.
        c2: Constant of the contrast factor.
        contrast_only: Leave out the luminance factor.

    Returns:
        (P,) float64; gradients by x and by y, (P, H, W), None where not wanted.
    """
    planes, height, width = x.shape
    count = (height - size + 1) * (width - size + 1)
    a, b = (image.detach().numpy() for image in (x, y))
    grads = [torch.empty_like(x) if want else None for want in wants]
    by_a, by_b = (
        np.empty((planes, 0, width), a.dtype) if grad is None else grad.numpy() for grad in grads
    )
    shifts = y.mean((1, 2), dtype=torch.float64).tolist()
    taps, kind = gaussian_window(size, sigma).numpy().astype(a.dtype), a.dtype.type
    threads = torch.get_num_threads()
    strips = max(1, min(-(-threads // planes), height // ROWS))
    edges = np.linspace(0, height, strips + 1).astype(int).tolist()

    def run(part: tuple[int, int, int]) -> float:
        plane, first, last = part
        return _strip(
            a[plane],
            b[plane],
            by_a[plane],
            by_b[plane],
            first,
            last,
            taps,
            kind(shifts[plane]),
            kind(1 / count),
            kind(c1),
            kind(c2),
            contrast_only,
        )

    work = [(plane, *rows) for plane in range(planes) for rows in zip(edges[:-1], edges[1:])]
    if min(threads, len(work)) > 1:
        with ThreadPoolExecutor(min(threads, len(work))) as pool:
            sums = list(pool.map(run, work))
    else:
        sums = list(map(run, work))
    return torch.tensor(sums, dtype=torch.float64).view(planes, strips).sum(1) / count, grads
