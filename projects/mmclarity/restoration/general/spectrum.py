"""Noise told from fine structure by its spectrum.

The noise of a scanning microscope is independent from line to line: along the frequency across the
lines its power is even, whatever smears it along them. Structure is not: gratings, lattices and
text have their power at some frequencies, and what the beam has blurred has little at the highest.
So the least power among the high frequencies is noise, even where no place of the picture is flat.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import median_filter

__all__ = ['Floor', 'floor_of_flat_places', 'measure_floor', 'noise_along', 'periodic_share']

SIDE = 32  # of the blocks of pixels that spectra are taken of
MOST_BLOCKS = 40  # a side; of a large picture, some of them
# Pixels of a line that have nothing in common but the line.
FAR = 8
# Share of the mean power that noise has at any frequency along the line.
LEAST_POWER = 0.25
# Blocks of second differences whose least tenth are flat places.
FLAT_SIDE, FLATTEST = 16, 0.1
# Share of differences that are nothing in a drawing, at least, also where it is not even.
DRAWN = 0.3
# Cycles a pixel across the lines; in one of these bands structure is least.
BANDS = ((0.25, 0.34), (0.34, 0.42), (0.42, 0.51))
# Cycles a pixel from which detail is lost where four pixels are averaged.
FINE = 0.125
# A period stands out of the power around it so many times; its share is sought in so many pixels.
STANDS_OUT, AROUND, PERIODIC_SIDE = 20.0, 9, 512


@dataclass(frozen=True)
class Floor:
    """What a picture has at the least, and beyond that.

    Attributes:
        variance: of the noise, by the median of the blocks.
        correlation: of the noise with the next pixel of the line.
        mean_variance: of the noise, by the mean of the blocks: more where it is uneven.
        fine: variance of what is finer than eight pixels and no noise.
        lines: share of the noise that is common to whole lines.
    """

    variance: float
    correlation: float
    mean_variance: float
    fine: float
    lines: float


def measure_floor(image: np.ndarray, whole_lines: bool = True) -> Floor:
    """Measures one picture.

    Args:
        image: (H, W), at least ``SIDE`` a side; lines are rows.
        whole_lines: what whole lines have in common may be noise; else it is structure.

    Returns:
        Variances in the square of the image's units.
    """
    power = _block_spectra(np.asarray(image, np.float64))
    mean, along, bands = power.mean(0), _along(power, whole_lines), _bands()
    even = np.min([np.median(mean[band], 0) for band in bands], 0)
    rows = np.abs(np.fft.fftfreq(SIDE))
    shared = np.fft.ifft(along).real
    window = np.square(np.abs(np.fft.fft(np.hanning(SIDE + 2)[1:-1])))
    seen = np.fft.ifft(window).real  # how much of what pixels share the window lets through
    correlation, lines = (
        float(shared[lag] / shared[0] / seen[lag] * seen[0]) if shared[0] > 0 else 0.0
        for lag in (1, FAR)
    )
    frequency = np.maximum(rows[:, None], rows)
    fine = np.where(frequency >= FINE, mean - even, 0.0).mean()
    return Floor(float(along.mean()), correlation, float(even.mean()), max(float(fine), 0.0), lines)


def noise_along(image: np.ndarray, whole_lines: bool = True) -> np.ndarray:
    """How the power of the noise lies over frequencies along the line.

    Args:
        image: (H, W), at least ``SIDE`` a side.
        whole_lines: see :func:`measure_floor`.

    Returns:
        (SIDE // 2 + 1,) as of :func:`numpy.fft.rfft`, of mean 1 over all ``SIDE`` frequencies.
    """
    along = _along(_block_spectra(np.asarray(image, np.float64)), whole_lines)
    along = np.maximum(along, LEAST_POWER * along.mean()) + np.finfo(float).tiny
    return along[: SIDE // 2 + 1] / along.mean()


def _bands() -> list[np.ndarray]:
    rows = np.abs(np.fft.fftfreq(SIDE))
    return [(rows >= low) & (rows < high) for low, high in BANDS]


def _along(power: np.ndarray, whole_lines: bool) -> np.ndarray:
    """(SIDE,) power of the noise at each frequency along the line."""
    # power is distributed exponentially: its mean is its median over ln 2
    along = np.min([np.median(power[:, band], (0, 1)) for band in _bands()], 0) / math.log(2)
    if not whole_lines:  # the window spreads them over three frequencies
        along[[-1, 0, 1]] = np.minimum(along[[-1, 0, 1]], along[[-2, 2]].max())
    return along


def _block_spectra(image: np.ndarray) -> np.ndarray:
    """(blocks, SIDE, SIDE): power of each frequency; its mean is the variance of the pixels."""
    window = np.hanning(SIDE + 2)[1:-1]
    window = np.outer(window, window)
    window /= math.sqrt(np.square(window).sum())
    views = np.lib.stride_tricks.sliding_window_view(image, (SIDE, SIDE))
    steps = (max(SIDE // 2, length // MOST_BLOCKS) for length in views.shape[:2])
    rows, columns = (slice(None, None, step) for step in steps)
    blocks = views[rows, columns].reshape(-1, SIDE, SIDE)
    blocks = (blocks - blocks.mean((1, 2), keepdims=True)) * window
    return np.square(np.abs(np.fft.fft2(blocks)))


def floor_of_flat_places(image: np.ndarray) -> tuple[float, float]:
    """Noise in the flattest tenth of a picture.

    Places without any noise (a black border, gaps of a mosaic, what is clipped) do not count,
    unless the rest is a drawing's.

    Args:
        image: (H, W), at least 18 x 16.

    Returns:
        Its variance, by second differences: of nothing but noise a little less than it has, since
        the tenth with the least is taken; and the mean grey level of these places.
    """
    image = np.asarray(image, np.float64)
    second = _in_blocks(np.diff(image, 2, axis=0) / math.sqrt(6))
    level = _in_blocks(image[: len(image) - 2]).mean((1, 3))
    variance = second.var((1, 3))
    noisy = variance > 0
    if noisy.any() and (second.swapaxes(1, 2)[noisy] == 0).mean() < DRAWN:
        level, variance = level[noisy], variance[noisy]
    least = float(np.quantile(variance, FLATTEST))
    return least, float(level[variance <= least].mean())


def _in_blocks(image: np.ndarray) -> np.ndarray:
    """(rows of blocks, FLAT_SIDE, columns of blocks, FLAT_SIDE)."""
    rows, columns = (length // FLAT_SIDE for length in image.shape)
    whole = image[: rows * FLAT_SIDE, : columns * FLAT_SIDE]
    return whole.reshape(rows, FLAT_SIDE, columns, FLAT_SIDE)


def periodic_share(image: np.ndarray) -> float:
    """Share of the second differences down the columns that belongs to periods.

    Args:
        image: (H, W).

    Returns:
        0 for noise of any kind, towards 1 for gratings and lattices.
    """
    middle = tuple(
        slice(max(0, (length - PERIODIC_SIDE) // 2), (length + PERIODIC_SIDE) // 2)
        for length in image.shape
    )
    part = np.asarray(image[middle], np.float64)
    residual = np.diff(part, 2, axis=0)
    window = np.outer(*(np.hanning(length + 2)[1:-1] for length in residual.shape))
    power = np.square(np.abs(np.fft.fft2((residual - residual.mean()) * window)))
    around = median_filter(power, AROUND, mode='wrap')
    total = power.sum()
    return float(power[power > STANDS_OUT * around].sum() / total) if total > 0 else 0.0
