"""RoIAlign on the CPU as a product with a sparse matrix; :mod:`mmclarity.compat` uses it.

RoIAlign (He et al. 2017) is linear in the feature map, with weights that all channels share, and
the mean over a bin's grid of bilinear samples is a product of one weight per row and one per
column. So each bin reads a small window of cells: the forward pass is a weighted sum of rows of the
(N * H * W, C) feature map (``embedding_bag``), the backward pass the same with the matrix
transposed. torchvision's CPU kernels work through channels, bins and samples one number at a time;
in vectors over the channels the same takes 5 to 15 times less for 256 channels. CUDA has no need.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

# Above this many samples per bin and axis (regions far larger than the map) the tables of this
# file would be larger than the work they save.
MAX_SAMPLES = 128
# Entries of one block's table of cells: 4 + 4 bytes each.
BLOCK_ENTRIES = 4_000_000


@dataclass(frozen=True)
class Axis:
    """One axis of R regions with B bins: the window of cells that each bin reads, and weights.

    Attributes:
        first: (R, B) int64 first cell of the window.
        weight: (R, B, T) float64 weights of T cells from there; zero beyond the window.
        width: (R,) int64 widest window of the region's bins, in cells, 1 <= width <= T.
    """

    first: Tensor
    weight: Tensor
    width: Tensor


def _axis(start: Tensor, size: Tensor, bins: int, cells: int, ratio: int) -> Axis | None:
    """Reduce the samples of one axis to weights of cells.

    Args:
        start: (R,) where the regions begin, in cells.
        size: (R,) how long they are, in cells.
        bins: number of bins, B.
        cells: length of the feature map on this axis.
        ratio: samples per bin; 0 means ``ceil(size / bins)``.

    Returns:
        The windows, or None if a bin has more than :data:`MAX_SAMPLES` samples.
    """
    step = size / bins
    # A region that is not finite gets no samples (pooled to zero) and not an arbitrary place.
    finite = torch.isfinite(start) & torch.isfinite(step)
    start, step = start.where(finite, 0), step.where(finite, 0)
    count = torch.full_like(step, ratio) if ratio > 0 else step.ceil().clamp_min(0)
    count = count.where(finite, 0)
    most = float(count.max())
    if most > MAX_SAMPLES:
        return None
    samples = max(int(most), 1)
    # Places in double precision: at cell 300 single precision is off by 1e-5 of a cell.
    start, step, count = start.double(), step.double(), count.double()
    share = 1 / count.clamp_min(1)
    number = torch.arange(samples, dtype=torch.float64, device=start.device)
    inside = (number + 0.5) * share[:, None]  # (R, S) place within the bin, in bins
    bin_ = torch.arange(bins, dtype=torch.float64, device=start.device)
    place = start[:, None, None] + (bin_[:, None] + inside[:, None, :]) * step[:, None, None]
    valid = (place >= -1) & (place <= cells) & (number < count[:, None])[:, None, :]

    place = place.clamp(0, cells - 1)
    low = place.floor()
    high_part = place - low
    low = low.long()
    # Samples beyond a region's count have no weight: they must not widen its window either.
    last = (count.long() - 1).clamp_min(0)[:, None, None].expand(-1, bins, 1)
    first = low[..., 0]
    end = (low.gather(2, last)[..., 0] + 1).clamp_max(cells - 1)
    width = (end - first + 1).amax(1)
    weight = place.new_zeros(*first.shape, int(width.max()))
    limit = weight.shape[2] - 1
    scale = valid * share[:, None, None]
    near = (low - first[..., None]).clamp_max(limit)
    far = ((low + 1).clamp_max(cells - 1) - first[..., None]).clamp_max(limit)
    weight.scatter_add_(2, near, (1 - high_part) * scale)
    weight.scatter_add_(2, far, high_part * scale)
    return Axis(first, weight, width)


def _axes(
    rois: Tensor, shape: torch.Size, bins: tuple[int, int], scale: float, ratio: int, aligned: bool
) -> tuple[Axis, Axis] | None:
    """Rows and columns of (R, 5) regions on an (N, C, H, W) map; None if there are too many."""
    shift = 0.5 if aligned else 0.0
    # Step by step in the type of the regions, as the kernels do: ceil() must see the same number.
    begin = rois[:, 1:3] * scale - shift
    size = (rois[:, 3:5] * scale - shift) - begin
    if not aligned:
        size = size.clamp_min(1)
    rows = _axis(begin[:, 1], size[:, 1], bins[0], shape[2], ratio)
    columns = _axis(begin[:, 0], size[:, 0], bins[1], shape[3], ratio)
    return None if rows is None or columns is None else (rows, columns)


def _blocks(
    rows: Axis, columns: Axis, image: Tensor, shape: torch.Size, dtype: torch.dtype
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Blocks of regions with windows of alike size.

    Yields:
        The regions' indices (r,), the cells (r * B, K) that their bins read, as rows of the
        (N * H * W, C) map, and the weights (r * B, K).
    """
    height, width = shape[2:]
    bins = rows.first.shape[1] * columns.first.shape[1]
    order = torch.argsort(rows.width * columns.width, stable=True)
    area = (rows.width * columns.width)[order].tolist()
    begin = 0
    while begin < len(area):
        end = begin + 1
        # One large region must not make the tables of all the small ones as large.
        while (
            end < len(area)
            and area[end] <= max(2 * area[begin], 16)
            and (end - begin) * bins * area[end] < BLOCK_ENTRIES
        ):
            end += 1
        region = order[begin:end]
        high, wide = int(rows.width[region].max()), int(columns.width[region].max())
        device = image.device
        y = rows.first[region, :, None] + torch.arange(high, device=device)
        x = columns.first[region, :, None] + torch.arange(wide, device=device)
        # Beyond the window the weight is zero; the index only has to exist.
        y, x = y.clamp_max(height - 1), x.clamp_max(width - 1)
        # 32 bits make the tables, which all the time goes into, half as large.
        y, x = (image[region, None, None] * height + y).int(), x.int()
        cells = y[:, :, None, :, None] * width + x[:, None, :, None, :]
        weight = rows.weight[region, :, None, :high, None].to(dtype) * columns.weight[
            region, None, :, None, :wide
        ].to(dtype)
        count = len(region) * bins
        yield region, cells.reshape(count, -1), weight.reshape(count, -1)
        begin = end


@torch.no_grad()
def forward(
    features: Tensor, rois: Tensor, bins: tuple[int, int], scale: float, ratio: int, aligned: bool
) -> Tensor | None:
    """Pool regions.

    Args:
        features: (N, C, H, W) float32 or float64, any memory layout.
        rois: (R, 5) of the same type: image index, x1, y1, x2, y2 in pixels; R >= 1.
        bins: rows and columns of bins.
        scale: cells per pixel.
        ratio: samples per bin and axis, 0 for about one per cell.
        aligned: whether coordinates are shifted by half a cell.

    Returns:
        (R, C, \\*bins), in the memory layout channels_last; None if a region is so large that this
        way does not pay.

    Raises:
        ValueError: if an image index is not in [0, N).
    """
    axes = _axes(rois, features.shape, bins, scale, ratio, aligned)
    if axes is None:
        return None
    image = _image_index(rois, features.shape[0])
    channels = features.shape[1]
    # contiguous(): for a single image reshape() would give a strided view, slow to read by rows.
    table = features.permute(0, 2, 3, 1).reshape(-1, channels).contiguous()
    out = features.new_empty(len(rois), *bins, channels)
    for region, cells, weight in _blocks(*axes, image, features.shape, features.dtype):
        pooled = F.embedding_bag(cells, table, mode='sum', per_sample_weights=weight)
        out[region] = pooled.view(len(region), *bins, channels)
    return out.permute(0, 3, 1, 2)


@torch.no_grad()
def backward(
    grad: Tensor, rois: Tensor, shape: torch.Size, scale: float, ratio: int, aligned: bool
) -> Tensor | None:
    """Gradient of :func:`forward` with respect to the features.

    Args:
        grad: (R, C, rows, columns) float32 or float64; R >= 1.
        rois: as in :func:`forward`.
        shape: (N, C, H, W) of the features.
        scale: as in :func:`forward`.
        ratio: as in :func:`forward`.
        aligned: as in :func:`forward`.

    Returns:
        (N, C, H, W), in the memory layout channels_last; None where :func:`forward` gives None.

    Raises:
        ValueError: if an image index is not in [0, N).
    """
    axes = _axes(rois, shape, tuple(grad.shape[2:]), scale, ratio, aligned)
    if axes is None:
        return None
    batch, channels, height, width = shape
    image = _image_index(rois, batch)
    total = batch * height * width
    grad = grad.permute(0, 2, 3, 1)
    out = None
    for region, cells, weight in _blocks(*axes, image, shape, grad.dtype):
        table = grad[region].reshape(-1, channels)
        # Transpose: the entries in the order of the cells. A stable sort keeps the order of the
        # sums, so that the result is reproducible.
        entry = weight.flatten().nonzero().flatten()
        cell, by_cell = torch.sort(cells.flatten()[entry], stable=True)
        entry = entry[by_cell]
        start = torch.searchsorted(cell, torch.arange(total + 1, dtype=cell.dtype), out_int32=True)
        part = F.embedding_bag(
            torch.div(entry, cells.shape[1], rounding_mode='floor').int(),
            table,
            start,
            mode='sum',
            per_sample_weights=weight.flatten()[entry],
            include_last_offset=True,
        )
        out = part if out is None else out.add_(part)
    return out.view(batch, height, width, channels).permute(0, 3, 1, 2)


def _image_index(rois: Tensor, batch: int) -> Tensor:
    """The regions' image indices, checked: a wrong one would read another place of the memory."""
    image = rois[:, 0].long()
    if int(image.min()) < 0 or int(image.max()) >= batch:
        raise ValueError(
            f'roi_align: image index {int(image.min())}..{int(image.max())} of the regions is not '
            f'in 0..{batch - 1}; column 0 of the regions must count the images of the batch'
        )
    return image
