"""The degradation's parameters, measured on a user's own images; units are grey levels of 8 bits.

Noise is measured on low-quality images alone. Blur, jitter, gain and offset need pairs of one
field of view, which need not be registered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from ..ops.registration import Registration, register

LAGS = 5
# Second difference down a column: zero for any linear slope, noise variance times one.
STENCIL = np.array([1.0, -2.0, 1.0]) / np.sqrt(6)
# Smoothing of the estimate of the signal; wide, so that its own noise is small.
SMOOTH = 3.0
LEVELS = 24
# Grey levels whose noise the converter's range has cut.
CLIPPED = 0.002
# Jitter of lines: smoothing of slopes along the line, and width of the stripes, in pixels.
JITTER_SMOOTH, STRIPE = 1.0, 16
# Least share of its slopes that a blurred image is taken to have kept.
LEAST_LEFT = 0.2
# Spatial frequencies (cycles per pixel) over which the transfer function is fitted.
FREQUENCIES = (0.03, 0.16)


@dataclass(frozen=True)
class NoiseSample:
    """What one image says about noise.

    Args:
        level, variance, pixels: (LEVELS,) mean grey level, variance of the noise and
            number of pixels of bins of grey level; NaN where a bin is empty.
        correlation: (LAGS,) of the noise along the line, lags 1, 2, ...
        across: Of the noise between neighbouring lines. The estimates assume none.
        down: Correlation of second differences of neighbouring lines: -2/3 for noise that
            is independent from line to line, more where it is not.
    """

    level: np.ndarray
    variance: np.ndarray
    pixels: np.ndarray
    correlation: np.ndarray
    across: float
    down: float = -2 / 3


@dataclass(frozen=True)
class PairSample:
    """What a pair says about everything else.

    Args:
        gain, offset: low = gain * high + offset.
        frequency: (F,) cycles per pixel.
        along, across: (F,) modulation transfer of the low image beyond the high
            one's, along the scan line and across it.
        weight_along, weight_across: (F,) power the ratios rest on.
        drift: Pixels a frame.
        jitter: Variance of the lines' own displacements in squared pixels, see
            :func:`line_jitter`; around zero where there are none.
        place: Where the high image lies in the low one.
    """

    gain: float
    offset: float
    frequency: np.ndarray
    along: np.ndarray
    across: np.ndarray
    weight_along: np.ndarray
    weight_across: np.ndarray
    drift: float
    jitter: float
    place: Registration


def measure_noise(image: np.ndarray) -> NoiseSample:
    """Noise of one image, from differences between its lines.

    The noise of scanning microscopes is correlated along the line and independent between lines,
    so that second differences down the columns are noise of the same variance wherever the
    picture is flat. The flat half of every bin of grey level is used: the half whose smoothed
    second differences and gradients are smallest.

    Args:
        image: (H, W), at least 32 x 32, grey levels 0..255.

    Returns:
        Variance by grey level, and correlations.

    Raises:
        ValueError: If the image is too small, not finite, or constant.
    """
    image = np.asarray(image, np.float64)
    if image.ndim != 2 or min(image.shape) < 32:
        raise ValueError(f'noise is measured on (H, W) of at least 32 x 32, got {image.shape}')
    if not np.isfinite(image).all():
        raise ValueError('the image has NaN or infinite pixels')
    if np.ptp(image) == 0:
        raise ValueError('the image is constant: it has no noise to measure')
    smooth = gaussian_filter(image, SMOOTH)
    residual = STENCIL[0] * image[:-2] + STENCIL[1] * image[1:-1] + STENCIL[2] * image[2:]
    signal = smooth[1:-1]
    slope = np.hypot(*np.gradient(smooth))[1:-1]
    bend = np.abs(smooth[:-2] - 2 * signal + smooth[2:])
    rough = slope / (np.median(slope) + 1e-9) + bend / (np.median(bend) + 1e-9)
    edges = np.quantile(signal, np.linspace(0, 1, LEVELS + 1))
    bins = np.clip(np.searchsorted(edges, signal, side='right') - 1, 0, LEVELS - 1)
    flat = np.zeros(signal.shape, bool)
    level, variance, pixels = (np.full(LEVELS, np.nan) for _ in range(3))
    for index in range(LEVELS):
        mine = bins == index
        if mine.sum() < 64:
            continue
        chosen = mine & (rough <= np.median(rough[mine]))
        clipped = np.mean((image[1:-1][chosen] <= 0) | (image[1:-1][chosen] >= 255))
        pixels[index], level[index] = chosen.sum(), signal[chosen].mean()
        if clipped <= CLIPPED:
            variance[index] = np.square(residual[chosen]).mean()
        flat |= chosen
    power = np.square(residual[flat]).mean()
    if not power:  # no noise at all, as in drawings
        return NoiseSample(level, variance, pixels, np.zeros(LAGS), 0.0)
    correlation = np.array([_lagged(residual, flat, lag) for lag in range(1, LAGS + 1)]) / power
    # Noise that is shared by neighbouring lines shows at lag two of the second differences.
    both = flat[3:] & flat[:-3]
    across = float((residual[3:] * residual[:-3])[both].mean() / power) if both.any() else 0.0
    both = flat[1:] & flat[:-1]
    down = float((residual[1:] * residual[:-1])[both].mean() / power) if both.any() else -2 / 3
    return NoiseSample(level, variance, pixels, correlation, across, down)


def _lagged(residual: np.ndarray, flat: np.ndarray, lag: int) -> float:
    both = flat[:, lag:] & flat[:, :-lag]
    return float((residual[:, lag:] * residual[:, :-lag])[both].mean()) if both.any() else np.nan


def fit_noise(samples: Sequence[NoiseSample]) -> tuple[float, float]:
    """Slope and intercept of variance against grey level, by weighted least squares.

    The variance of a variance grows with its square: weights are pixels / variance**2, from a
    first fit. Neither may be negative: a negative one is set to zero and the other fitted alone.

    Raises:
        ValueError: If fewer than two bins of grey level are left.
    """
    level, variance, pixels = (
        np.concatenate([getattr(s, name) for s in samples])
        for name in ('level', 'variance', 'pixels')
    )
    good = np.isfinite(level) & np.isfinite(variance)
    level, variance, pixels = level[good], variance[good], pixels[good]
    if len(level) < 2:
        raise ValueError(
            'fewer than two grey levels have noise that is not cut off at 0 or 255: '
            'give more images, or less contrast'
        )
    expected = np.maximum(variance, 1e-6)
    for _ in range(4):
        root = np.sqrt(pixels) / expected
        design = np.stack([level, np.ones_like(level)], 1)
        slope, intercept = np.linalg.lstsq(design * root[:, None], variance * root, rcond=None)[0]
        if slope < 0 or intercept < 0:
            column = 1 if slope < 0 else 0
            only = design[:, column]
            best = np.sum(only * variance * root**2) / np.sum(np.square(only * root))
            slope, intercept = (0.0, best) if column == 1 else (best, 0.0)
        expected = np.maximum(slope * level + intercept, 1e-6)
    return float(slope), float(intercept)


def measure_pair(low: np.ndarray, high: np.ndarray) -> PairSample:
    """Gain, offset, blur, drift and jitter of a low image against the high one of the same field.

    The high image is registered onto the low one. Gain and offset are a regression of the
    smoothed images; the modulation transfer is the ratio of cross- to auto-spectrum (noise of the
    low image averages out of it).

    Raises:
        ValueError: If shapes differ or the two do not register; see :func:`register`.
    """
    found = register(low, high)
    part = found.region(low.shape, margin=4)
    moved = found.move(high)[part].astype(np.float64)
    low = np.asarray(low, np.float64)[part]
    a, b = (gaussian_filter(image, 2)[8:-8, 8:-8].ravel() for image in (moved, low))
    gain, offset = np.polyfit(a, b, 1)
    window = np.outer(np.hanning(low.shape[0]), np.hanning(low.shape[1]))
    first, second = (np.fft.fft2((image - image.mean()) * window) for image in (moved, low))
    cross, power = (second * first.conj()).real, np.square(np.abs(first))
    rows, columns = np.fft.fftfreq(low.shape[0]), np.fft.fftfreq(low.shape[1])
    # A wedge around each axis: the transfer there is that of the axis alone.
    angle = np.abs(np.arctan2(rows[:, None], columns))
    angle = np.minimum(angle, np.pi - angle)
    radius = np.hypot(rows[:, None], columns)
    edges = np.linspace(*FREQUENCIES, 12)
    out = {}
    for name, wedge in (('along', angle < np.pi / 8), ('across', angle > 3 * np.pi / 8)):
        index = np.digitize(radius, edges)
        sums = [
            np.bincount(index[wedge], weights=w[wedge], minlength=len(edges) + 1)[1:-1]
            for w in (cross, power)
        ]
        out[name], out[f'weight_{name}'] = sums[0] / np.maximum(sums[1], 1e-12) / gain, sums[1]
    return PairSample(
        float(gain),
        float(offset),
        (edges[1:] + edges[:-1]) / 2,
        out['along'],
        out['across'],
        out['weight_along'],
        out['weight_across'],
        float(np.hypot(*found.drift)),
        line_jitter((low - offset) / gain, moved),
        found,
    )


def line_jitter(low: np.ndarray, high: np.ndarray) -> float:
    """Variance of the lines' own displacements along themselves, in squared pixels.

    A line that lies ``d`` pixels further right differs from the registered one by ``-d`` times its
    slope: least squares. This is done on two halves of the line, stripes that take turns. Jitter is
    common to both, noise is not: the mean product of the two is the variance of the displacements,
    with nothing assumed of the noise but that it does not reach from one stripe to the next but
    one. Second differences from line to line come first: slow motion has none, and of independent
    displacements they have the variance 3/2.

    Args:
        low: (H, W), with the gain and offset of ``high``.
        high: (H, W), registered. Its own jitter counts too.
    """
    slope = gaussian_filter1d(np.asarray(high, np.float64), JITTER_SMOOTH, axis=1, order=1)
    residual = gaussian_filter1d(np.asarray(low, np.float64) - high, JITTER_SMOOTH, axis=1)
    # What blur has left of the slopes of the low image: its noise averages out over the image.
    left = gaussian_filter1d(np.asarray(low, np.float64), JITTER_SMOOTH, axis=1, order=1)
    left = float((left * slope).sum() / max(np.square(slope).sum(), 1e-9))
    stripe = np.arange(low.shape[1]) // STRIPE % 4
    displacements, weights = [], []
    for half in (0, 2):  # stripes 1 and 3 keep the halves apart
        mine = stripe == half
        power = np.square(slope[:, mine]).sum(1)
        displacements.append(-(residual * slope)[:, mine].sum(1) / np.maximum(power, 1e-9))
        weights.append(power)
    # A line is worth what its neighbours and its poorer half can tell.
    weight = np.minimum(*weights)
    weight = np.min([weight[:-2], weight[1:-1], weight[2:]], axis=0)
    first, second = (d[1:-1] - (d[:-2] + d[2:]) / 2 for d in displacements)
    variance = (weight * first * second).sum() / max(weight.sum(), 1e-9) / 1.5
    return float(variance / max(left, LEAST_LEFT) ** 2)


def fit_blur(samples: Sequence[PairSample]) -> tuple[float, float]:
    """Standard deviations (along, across the scan line) of a Gaussian, from transfer functions.

    Least squares of the transfer against :math:`c \\exp(-2 \\pi^2 \\sigma^2 f^2)`, weighted by the
    power it was measured with; c takes up what glow of the whole picture leaves.
    """
    sigmas = []
    for name in ('along', 'across'):
        frequency = samples[0].frequency
        weight = np.sum([getattr(s, f'weight_{name}') for s in samples], 0)
        ratio = np.sum([getattr(s, name) * getattr(s, f'weight_{name}') for s in samples], 0)
        ratio = np.maximum(ratio / np.maximum(weight, 1e-12), 0.05)
        # log ratio = log c - 2 pi^2 sigma^2 f^2, its error growing as 1 / ratio.
        root = np.sqrt(weight * frequency) * ratio
        design = np.stack([np.ones_like(frequency), -2 * np.pi**2 * frequency**2], 1)
        fit = np.linalg.lstsq(design * root[:, None], np.log(ratio) * root, rcond=None)[0]
        sigmas.append(float(np.sqrt(max(fit[1], 0))))
    return sigmas[0], sigmas[1]
