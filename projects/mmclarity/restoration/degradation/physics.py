"""What makes a quick image of a cheap microscope worse, step by step; units are grey levels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter1d, map_coordinates
from scipy.signal import oaconvolve

from ..ops.registration import move

# Samples of the power spectrum from which the taps of a line filter are made.
SPECTRUM = 512


def beam_blur(
    image: np.ndarray, sigma: float, astigmatism: float = 0.0, angle: float = 0.0
) -> np.ndarray:
    """Blur by a Gaussian beam, elongated by astigmatism.

    Args:
        image: (H, W).
        sigma: Geometric mean of the two standard deviations, in pixels; 0 is none.
        astigmatism: They are ``sigma * exp(+-astigmatism / 2)``. Defaults to 0.
        angle: Of the longer one, in radians from the scan line. Defaults to 0.

    Returns:
        (H, W), of the input's type.
    """
    if sigma <= 0:
        return image.copy()
    long, short = sigma * np.exp(astigmatism / 2), sigma * np.exp(-astigmatism / 2)
    if astigmatism == 0 or np.isclose(np.sin(2 * angle), 0):
        across = abs(np.cos(angle)) > 0.5
        image = gaussian_filter1d(image, long if across else short, axis=1, mode='reflect')
        return gaussian_filter1d(image, short if across else long, axis=0, mode='reflect')
    radius = int(np.ceil(4 * max(long, short)))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float64)
    along, beside = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    kernel = np.exp(-((along / long) ** 2) / 2 - (beside / short) ** 2 / 2)
    kernel = (kernel / kernel.sum()).astype(image.dtype)
    return oaconvolve(np.pad(image, radius, mode='symmetric'), kernel, mode='valid')


def line_filter(correlation: Sequence[float]) -> np.ndarray:
    """Taps that give white noise these correlations along the scan line.

    The zero-phase square root of the power spectrum :math:`1 + 2 \\sum_k \\rho_k \\cos k\\omega`.
    Correlations measured with noise may be those of no process: a spectrum that is negative
    somewhere is set to zero there, which changes the correlations a little.

    Args:
        correlation: At lags 1, 2, ...; empty is white noise.

    Returns:
        (2 K + 1,) float64, K = four lags more than given (at least 8), of unit energy,
        so that the variance stays.

    Raises:
        ValueError: If a correlation is not within (-1, 1).
    """
    rho = np.asarray(correlation, np.float64).ravel()
    if not (np.abs(rho) < 1).all():
        raise ValueError(
            'correlations along the line (lags 1, 2, ...) must lie within (-1, 1), '
            f'got {list(correlation)}'
        )
    if not len(rho):
        return np.ones(1)
    omega = 2 * np.pi * np.arange(SPECTRUM) / SPECTRUM
    power = 1 + 2 * np.cos(np.outer(omega, np.arange(1, len(rho) + 1))) @ rho
    taps = np.fft.ifft(np.sqrt(np.maximum(power, 0))).real
    half = max(len(rho) + 4, 8)
    taps = np.concatenate([taps[-half:], taps[: half + 1]])
    return taps / np.sqrt(np.square(taps).sum())


def detector_noise(
    image: np.ndarray,
    variance: np.ndarray,
    taps: np.ndarray,
    rng: np.random.Generator,
    shot: np.ndarray | None = None,
) -> np.ndarray:
    """Poisson-Gaussian noise that the detector's limited bandwidth smears along the scan line.

    Shot noise is ``shot / I`` times a count of ``I**2 / shot`` electrons; what is left of the
    variance is Gaussian noise of the electronics (Foi et al., IEEE TIP 2008). Both pass the
    filter.

    Args:
        image: (H, W) grey levels.
        variance: (H, W), of the noise, in squared grey levels.
        taps: (T,), of unit energy, see :func:`line_filter`.
        rng: Where the noise comes from.
        shot: (H, W), what of the variance is shot noise. Defaults to
            None: nothing.

    Returns:
        (H, W) float32, the noisy image.
    """
    half, width = len(taps) // 2, image.shape[1]
    sides = ((0, 0), (half, half))
    noise = rng.standard_normal((len(image), width + 2 * half), np.float32)
    if shot is None:
        noise *= np.sqrt(np.pad(variance, sides, mode='symmetric'))
    else:
        # Where nothing is seen there are no electrons to count.
        seen = (image > 0) & (shot > 0)
        noise *= np.sqrt(np.pad(np.where(seen, variance - shot, variance), sides, mode='symmetric'))
        unit = np.where(seen, shot, 1) / np.where(seen, image, 1)
        count = np.pad(np.where(seen, image / unit, 0), sides, mode='symmetric')
        noise += np.pad(unit, sides, mode='symmetric') * (rng.poisson(count) - count)
    # A sum of shifted rows: a few taps are cheaper this way than any convolution routine.
    out = image.astype(np.float32)
    for offset, tap in enumerate(taps):
        out += np.float32(tap) * noise[:, offset : offset + width]
    return out


def displace_lines(image: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Every line moved along itself by its own distance, in pixels (H,); cubic interpolation."""
    if not np.any(shifts):
        return image.copy()
    height, width = image.shape
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64)
    return map_coordinates(
        image, [rows, columns - shifts[:, None]], order=3, mode='nearest'
    ).astype(image.dtype)


def stretch_lines(image: np.ndarray, drift_y: float, drift_x: float) -> np.ndarray:
    """The sample moves while the lines are written: ``drift`` pixels in each direction a frame."""
    return move(image, (0.0, 0.0), (drift_y, drift_x), order=3, mode='nearest')
