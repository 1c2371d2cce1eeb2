"""Restoring an image of any size in overlapping tiles, without seams.

Tiles start at multiples of the network's stride, so that its grid of pooled pixels is the same in
a tile as in the whole image, and an image's own edges are met by the network as they would be in
the whole. Only tiles inside the image see a false edge; what they say near it is not used.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

__all__ = ['restore_tiled', 'tile_weights']


@dataclass(frozen=True)
class _Tile:
    """A stretch of one axis with the weight of each of its pixels."""

    start: int
    stop: int
    weights: np.ndarray

    @property
    def spare(self) -> tuple[int, int]:
        """Pixels at its start and end that have no weight."""
        used = np.flatnonzero(self.weights)
        return int(used[0]), len(self.weights) - 1 - int(used[-1])


def tile_weights(length: int, tile: int, overlap: int, align: int = 1) -> list[_Tile]:
    """Cuts one axis into tiles whose weights sum to one at every pixel.

    Two neighbours share the central quarter of their overlap by a raised cosine; in the outer
    three eighths, next to a tile's false edge, only the other one counts.

    Args:
        length: pixels of the axis, at least 1.
        tile: pixels that a tile is there for, at most; it is longer by the overlap.
        overlap: pixels shared by neighbours, at most ``tile``; rounded up to ``align``.
        align: tiles start at multiples of it.

    Raises:
        ValueError: a size is out of range, or no tile fits between two multiples of ``align``.
    """
    if length < 1 or tile < 1 or align < 1:
        raise ValueError(
            f'length, tile and align must be at least 1, got {length}, {tile}, {align}'
        )
    if not 0 <= overlap <= tile:
        raise ValueError(f'overlap must be 0 to a tile, {tile}, got {overlap}')
    if tile < align:
        raise ValueError(f'tile={tile} is below the stride of the network, {align}')
    overlap, step = -(-overlap // align) * align, tile // align * align
    if length <= step + overlap:
        return [_Tile(0, length, np.ones(length, np.float32))]
    # As few tiles as reach the end, all of about one size: none that mostly repeats another one.
    count = -(-(length - overlap) // step)
    step = -(-(length - overlap) // (count * align)) * align
    starts = range(0, length - overlap, step)
    stops = [*(start + step + overlap for start in starts[:-1]), length]
    ramp = min(overlap // 4, step // 2)
    tiles = []
    for i, (start, stop) in enumerate(zip(starts, stops)):
        weights = np.ones(stop - start, np.float64)
        if i > 0:
            weights *= _rise(start, stop, start, stops[i - 1], ramp)
        if i < len(starts) - 1:
            weights *= 1 - _rise(start, stop, starts[i + 1], stop, ramp)
        tiles.append(_Tile(start, stop, weights.astype(np.float32)))
    return tiles


def _rise(start: int, stop: int, first: int, end: int, ramp: int) -> np.ndarray:
    """0 to 1 over ``ramp`` pixels in the middle of [first, end), at the pixels [start, stop)."""
    begin = (first + end - ramp) // 2
    phase = (np.arange(start, stop) - begin + 0.5) / max(ramp, 1)
    if not ramp:
        return (np.arange(start, stop) >= begin).astype(np.float64)
    return 0.5 - 0.5 * np.cos(np.pi * np.clip(phase, 0, 1))


def restore_tiled(
    function: Callable[..., Tensor],
    image: np.ndarray,
    tile: int = 512,
    overlap: int = 64,
    batch_size: int = 4,
    out: np.ndarray | None = None,
    progress: Callable[[int, int], None] | None = None,
    align: int = 32,
    scale: float = 1.0,
    trims: bool = False,
) -> np.ndarray:
    """Restores (H, W) in tiles; beside input and output it needs memory for one row of tiles.

    Farther from the edges than the network sees, the result is that of the whole image where
    ``overlap`` is at least the width the network sees; networks that normalise with statistics of
    the image itself (instance norm) differ a little from tile to tile.

    Args:
        function: (N, 1, h, w) float32 to the same shape, any h, w.
        image: (H, W), an array or a memory map; ``image / scale`` is passed to ``function``.
        tile: side in pixels of what a tile is there for. It is larger by the overlap; an image no
            larger than that is restored as a whole.
        overlap: of neighbouring tiles in pixels, see :func:`tile_weights`.
        batch_size: tiles per call.
        out: (H, W) float32 array or memory map to fill; made if not given.
        progress: called with the number of tiles done and of all.
        align: the network's stride, or a multiple.
        scale: 255 for an 8 bit image, so that no float copy of all of it is needed.
        trims: ``function`` takes as well how many pixels above, below, left and right it need not
            restore, and returns the others.

    Returns:
        ``out``, (H, W) float32.

    Raises:
        ValueError: a shape or size is wrong, or ``function`` changed the shape of a tile or
            returned NaN or infinite values.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.restoration.inference import restore_tiled
        >>> image = np.random.default_rng(0).random((300, 200)).astype(np.float32)
        >>> same = restore_tiled(lambda batch: batch, image, tile=128, overlap=32)
        >>> bool(np.allclose(same, image, atol=1e-6))
        True
    """
    if image.ndim != 2 or not image.size:
        raise ValueError(f'image must be (H, W) with at least one pixel, got {image.shape}')
    if batch_size < 1:
        raise ValueError(f'batch_size must be at least 1, got {batch_size}')
    if out is None:
        out = np.empty(image.shape, np.float32)
    elif out.shape != image.shape or out.dtype != np.float32:
        raise ValueError(
            f'out must be float32 of shape {image.shape}, got {out.dtype} of {out.shape}'
        )
    rows = tile_weights(image.shape[0], tile, overlap, align)
    columns = tile_weights(image.shape[1], tile, overlap, align)
    total, filled = len(rows) * len(columns), 0
    for i, row in enumerate(rows):

        def report(done: int, before: int = i * len(columns)) -> None:
            if progress is not None:
                progress(before + done, total)

        band = _restore_band(function, image, row, columns, batch_size, scale, report, trims)
        band *= row.weights[:, None]
        # what the row of tiles above has begun is completed, the rest is begun
        shared = filled - row.start
        if shared:
            out[row.start : filled] += band[:shared]
        out[filled : row.stop] = band[shared:]
        filled = row.stop
    return out


def _restore_band(
    function: Callable[..., Tensor],
    image: np.ndarray,
    row: _Tile,
    columns: list[_Tile],
    batch_size: int,
    scale: float,
    report: Callable[[int], None],
    trims: bool,
) -> np.ndarray:
    """One row of tiles, blended along the row: (row.stop - row.start, W) float32."""
    band = np.zeros((row.stop - row.start, image.shape[1]), np.float32)
    done = 0
    for group, spare in _batches(row, columns, batch_size, trims):
        pixels = np.stack([image[row.start : row.stop, t.start : t.stop] for t in group])
        pixels = pixels.astype(np.float32)
        if scale != 1:
            pixels /= np.float32(scale)
        batch = torch.from_numpy(pixels[:, None])
        restored = function(batch, spare) if trims else function(batch)
        top, bottom, left, right = spare
        height, width = batch.shape[2] - top - bottom, batch.shape[3] - left - right
        if restored.shape != (len(batch), 1, height, width):
            raise ValueError(
                f'the network made {tuple(restored.shape)} of tiles of '
                f'{tuple(batch.shape)}; a restorer keeps the size'
            )
        values = restored.detach().float().cpu().numpy()[:, 0]
        for t, value in zip(group, values):
            if not np.isfinite(value).all():
                raise ValueError(
                    f'the network returned NaN or infinite values for rows '
                    f'{row.start}-{row.stop - 1}, columns {t.start}-{t.stop - 1}; '
                    'try dtype=None (float32), or another checkpoint'
                )
            across = slice(t.start + left, t.stop - right)
            band[top : top + height, across] += value * t.weights[left : left + width]
        done += len(group)
        report(done)
    return band


def _batches(
    row: _Tile, columns: Sequence[_Tile], batch_size: int, trims: bool
) -> Iterator[tuple[list[_Tile], tuple[int, int, int, int]]]:
    """Tiles of one size, and what they have to spare above, below, left and right."""

    def alike(t: _Tile) -> tuple[int, tuple[int, int]]:
        # the first and the last one have an edge of the image; the last one may be shorter
        return t.stop - t.start, t.spare if trims else (0, 0)

    for (_, spare), tiles in itertools.groupby(columns, alike):
        same = list(tiles)
        for i in range(0, len(same), batch_size):
            yield same[i : i + batch_size], (*(row.spare if trims else (0, 0)), *spare)
