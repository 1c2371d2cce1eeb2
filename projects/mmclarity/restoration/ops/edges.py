"""Narrower edges, by moving what is beside them closer; nothing is made brighter or darker."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .gaussian import gaussian_taps, smooth

__all__ = ['REACH', 'narrow_edges']

# Deviations, in pixels, of the Gaussians under which slopes are taken, their height is followed
# across the edge, and it is asked how steep it is near by.
SLOPE, ACROSS, NEAR = 1.0, 0.7, 2.0
# Pixels that a grey level is moved by, at most.
MOST = 1.0
TINY = 1e-3  # slope, in units of the image a pixel, that counts as none
# Pixels beyond which nothing changes an output pixel.
REACH = 3 + 1 + 6 + 2


def narrow_edges(image: Tensor, variance: float, faint: float) -> Tensor:
    """Narrows edges as if a blur were taken off them, and leaves what is faint.

    With s the slope of the image x, smoothed, and n its direction, every pixel takes its grey level
    from ``d = -variance * w(s) * (n . grad s) / s`` pixels along n, farther away from the edge
    (warping: Arad and Gotsman, IEEE Trans. Image Processing 1999). At an edge blurred by a
    Gaussian of deviation e, grad s / s is minus the distance over e^2: the edge becomes
    ``variance / e`` narrower, as if a blur of twice the variance were taken off, whatever its
    contrast. A share ``w = r^4 / (r^4 + 1)``, r the slope near by over ``faint``, leaves alone
    what noise may have made.

    An unsharp mask raises what it steepens, and with it the faint blobs that noise makes. Here no
    pixel leaves the range of its eight neighbours and itself: a blob can not become stronger than
    its middle is.

    Args:
        image: (N, C, H, W).
        variance: of the blur, in square pixels; 0 gives the image back.
        faint: slope, in units of the image a pixel, below which little is done.

    Returns:
        (N, C, H, W). Borders repeat their last pixels.

    Raises:
        ValueError: a number is negative or not finite.

    Examples:
        >>> import torch
        >>> from mmclarity.restoration.ops import narrow_edges
        >>> edge = torch.sigmoid(torch.arange(-7.5, 8)).expand(1, 1, 16, 16)
        >>> steep = narrow_edges(edge, 1.0, 0.01)
        >>> bool(steep[..., 8].mean() > edge[..., 8].mean() + 0.03)
        True
    """
    if not (0 <= variance < float('inf') and 0 <= faint < float('inf')):
        raise ValueError(
            f'variance and faint must be at least 0 and finite, got {variance} and {faint}'
        )
    if not variance:
        return image
    shape = image.shape
    image = image.reshape(-1, 1, *shape[2:])
    rows, columns = _gradient(smooth(image, gaussian_taps(SLOPE).to(image)))
    slope = (rows**2 + columns**2).sqrt() + 1e-6
    near = smooth(slope**2, gaussian_taps(NEAR).to(image)).clamp(min=0).sqrt()
    down, along = _gradient(smooth(slope, gaussian_taps(ACROSS).to(image)))
    power = near**4
    share = power / (power + faint**4).clamp(min=1e-30)
    away = -variance * share / (near + TINY) * (down * rows + along * columns) / slope
    away = away.clamp(-MOST, MOST) / slope
    return _moved(image, away * rows, away * columns).reshape(shape)


def _gradient(image: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences along rows and columns; at the border over the repeated last pixel."""
    padded = F.pad(image, (1, 1, 1, 1), mode='replicate')
    down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    return down, (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2


def _moved(image: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(N, 1, H, W) read that many pixels away, within the range of the nine pixels around."""
    height, width = image.shape[2:]
    y = torch.arange(height, device=image.device, dtype=image.dtype)[:, None] + rows[:, 0]
    x = torch.arange(width, device=image.device, dtype=image.dtype) + columns[:, 0]
    size = image.new_tensor([max(width - 1, 1), max(height - 1, 1)])
    grid = 2 * torch.stack([x, y], -1) / size - 1
    moved = F.grid_sample(image, grid, 'bicubic', 'border', align_corners=True)
    most = F.max_pool2d(F.pad(image, (1,) * 4, mode='replicate'), 3, 1)
    least = -F.max_pool2d(F.pad(-image, (1,) * 4, mode='replicate'), 3, 1)
    return torch.minimum(torch.maximum(moved, least), most)
