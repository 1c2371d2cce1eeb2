"""RoIAlign on the CPU, compiled; :mod:`mmclarity.compat` and :class:`.QuickRoIExtractor` use it.

RoIAlign (He et al. 2017) is linear in the feature map, with weights that all channels share, and
the mean over a bin's grid of bilinear samples is a product of one weight per row and one per
column. So a region is pooled along its rows first and along its columns then, in vectors over the
channels; torchvision's kernels work through channels, bins and samples one number at a time. CUDA
has no need of it. ``tests/compat`` compares both, ``benchmarks/small_detector.py`` times them.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from ._roi_align_loops import pool, scatter

# Multiplications below which threads cost more than they save.
LEAST_WORK = 2_000_000


def forward(
    features: Tensor,
    rois: Tensor,
    bins: tuple[int, int],
    scale: float,
    ratio: int,
    aligned: bool,
    out: Tensor | None = None,
    chosen: Tensor | None = None,
) -> Tensor:
    """Pool regions.

    Args:
        features: (N, C, H, W) bfloat16, float32 or float64; laid out as channels_last it need not
            be copied.
        rois: (R, 5): image index, x1, y1, x2, y2 in pixels. Regions that are not finite are
            pooled to zero.
        bins: rows and columns of bins.
        scale: cells per pixel.
        ratio: samples per bin and axis, 0 for about one per cell.
        aligned: whether coordinates are shifted by half a cell.
        out: (R, C, \\*bins) of the features' type, to write into.
        chosen: (K,) int64, the regions to pool; the others' place in ``out`` is left as it is.

    Returns:
        ``out``, or a new tensor in its place.

    Raises:
        ValueError: if an image index is not in [0, N).
    """
    images, channels = features.shape[:2]
    if out is None:
        out = features.new_empty(len(rois), channels, *bins)
    count = len(rois) if chosen is None else len(chosen)
    if not count:
        return out
    regions = _regions(rois if chosen is None else rois[chosen], images, scale, aligned)
    places = np.arange(count) if chosen is None else chosen.numpy()
    table = _numbers(features.permute(0, 2, 3, 1).contiguous())
    written = out.contiguous()
    result = _numbers(written)

    def run(begin: int, end: int) -> None:
        pool(table, regions[begin:end], places[begin:end], ratio, result)

    _split(run, count, count * channels * bins[0] * bins[1] * 8)
    if written is not out:
        out.copy_(written)
    return out


def backward(
    grad: Tensor, rois: Tensor, shape: torch.Size, scale: float, ratio: int, aligned: bool
) -> Tensor:
    """Gradient of :func:`forward` with respect to the features.

    Args:
        grad: (R, C, rows, columns) float32 or float64.
        rois: as in :func:`forward`.
        shape: (N, C, H, W) of the features.
        scale: as in :func:`forward`.
        ratio: as in :func:`forward`.
        aligned: as in :func:`forward`.

    Returns:
        (N, C, H, W), in the memory layout channels_last: the same bits however many threads.

    Raises:
        ValueError: if an image index is not in [0, N).
    """
    images, channels, height, width = shape
    total = grad.new_zeros(images, height, width, channels)
    if len(rois):
        regions = _regions(rois, images, scale, aligned)
        given, result = _numbers(grad.permute(0, 2, 3, 1).contiguous()), _numbers(total)

        def run(begin: int, end: int) -> None:
            scatter(given, regions, ratio, result, begin, end)

        # Threads take channels, not regions: these overlap.
        _split(run, channels, grad.numel() * 8, step=16)
    return total.permute(0, 3, 1, 2)


def _regions(rois: Tensor, images: int, scale: float, aligned: bool) -> np.ndarray:
    """(R, 5) float64 regions: image, first row and column in cells, height and width in cells."""
    image = rois[:, 0]
    # `not all(...)` also where an index is NaN: a wrong one would read another place of the memory.
    if not bool(((image >= 0) & (image < images)).all()):
        raise ValueError(
            f'roi_align: image index {float(image.min()):g}..{float(image.max()):g} of the regions '
            f'is not in 0..{images - 1}; column 0 of the regions must count the images of the batch'
        )
    # Step by step in the type of the regions, as the kernels do: ceil() must see the same number.
    shift = 0.5 if aligned else 0.0
    boxes = rois[:, 1:].detach() * scale - shift
    size = boxes[:, 2:] - boxes[:, :2]
    if not aligned:
        size = size.clamp_min(1)
    regions = torch.cat([image[:, None], boxes[:, [1, 0]], size[:, [1, 0]]], 1).double().numpy()
    # Outside of every map: such a region has no samples.
    regions[~np.isfinite(regions).all(1), 1:] = -2.0, -2.0, 0.0, 0.0
    return regions


def _numbers(values: Tensor) -> np.ndarray:
    """The memory of a contiguous tensor; bfloat16, which numpy has not, as its 16 bits."""
    values = values.detach()
    if values.dtype == torch.bfloat16:
        return values.view(torch.int16).numpy().view(np.uint16)
    return values.numpy()


def _split(run: Callable[[int, int], None], count: int, work: int, step: int = 1) -> None:
    """``run(begin, end)`` over 0..count, by as many threads as torch may use if that pays."""
    threads = min(torch.get_num_threads(), -(-count // step), work // LEAST_WORK)
    if threads <= 1:
        run(0, count)
        return
    share = -(-count // (threads * step)) * step
    begins = range(0, count, share)
    with ThreadPoolExecutor(len(begins)) as pool_of_threads:
        list(pool_of_threads.map(lambda begin: run(begin, min(begin + share, count)), begins))
