"""Where non-local means are closer to the truth than the network, they take its place.

The network was trained on soft edges. Beside sharp ones (print, wires, cut edges, pores, coins) it
takes more than noise away, and non-local means (Buades et al., CVPR 2005), which look for other
places that are alike, are closer by up to ten decibels. Which of two is closer can be told without
the truth, where the noise is known: for noise ``n`` of covariance ``C``,

    E |f(y) - x|^2 = E |f(y) - y|^2 - tr C + 2 tr(J C),

with the Jacobian ``J`` of ``f`` (Stein 1981), whose trace is probed by a little more such noise
(Ramani, Blu and Unser 2008). Of the network the last term, which is positive, is left out: its
error is at least the rest, and no second restoration is needed. It yields only where that is more
than all of the means' error. What noise there is, is known to some tenths of its variance; so there
must be a place where the network is worse by far, and around it all is taken where it is worse.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_propagation, gaussian_filter, map_coordinates

from .appraisal import LEAST_SIDE, MOST_ACROSS, WINDOW, Appraisal
from .spectrum import noise_along

__all__ = ['take_closer']

# Deviation in pixels of the Gaussian over which errors are averaged, and of what of them is kept.
WIDE, STEP = 10.0, 4
# Of the noise's variance: what the network is worse by where it yields altogether, and what it must
# be worse by somewhere near.
WORSE, BY_FAR = 0.08, 0.12
# Residuals count up to so many deviations: a lone pixel far off is noise, an edge has many.
FAR = 4.0
# Noise may be stronger than was measured: what this share of all places has, is no structure.
QUIET = 0.25
# Sides of their patches and of where they look, factor on the deviation; the probe's strength.
PATCH, REACH, DAMPING, PROBE = 5, 6, 0.8, 0.1
BAND = 256  # rows, a multiple of STEP
_MARGIN = 48  # the same: three deviations, and what means look at
TINY = 1e-12


def take_closer(
    image: np.ndarray,
    restored: np.ndarray,
    like: Appraisal,
    scale: float = 1.0,
    black: float = 0.0,
) -> float:
    """Writes non-local means where they are closer.

    Memory for some rows is taken, and for a sixteenth of the image.

    Args:
        image: (H, W), noisy; levels, 0 black and 1 white, are ``(image - black) / scale``.
        restored: (H, W) float32, levels; written into.
        like: of the noisy image.
        scale: what a level of one is in the image.
        black: what a level of zero is in it.

    Returns:
        Share of the image where they took the network's place. Images too small to tell stay as
        they are, and those whose noise is shared by lines or made of spikes.
    """
    shared = like.across > MOST_ACROSS and not like.structure  # smoothed noise
    empty = like.high - like.low <= 1e-6 or like.is_noise_alone
    if min(image.shape) < LEAST_SIDE or shared or like.spikes or empty or not like.sigma > 0:
        return 0.0
    if like.upright:
        image, restored = image.T, restored.T
    bands = [_Band(image, restored, like, scale, black, top) for top in range(0, len(image), BAND)]
    errors = [band.least_error() for band in bands]
    quiet = np.concatenate([error[::2, ::2].ravel() for error in errors])
    more = max(0.0, float(np.quantile(quiet, QUIET)))
    if max(error.max() for error in errors) - more < BY_FAR:
        return 0.0
    along = _along(image, like, scale, black)
    for band, error in zip(bands, errors):
        error -= more
        if error.max() >= BY_FAR:
            error -= band.error_of_means(along, 1 + more)
        else:
            error[:] = np.minimum(error, 0)
    worse = np.concatenate(errors)
    share = np.clip(worse / WORSE, 0, 1) * binary_propagation(worse > BY_FAR, mask=worse > 0)
    for band in bands:
        band.take_means(share, 1 + more)
    return float(share.mean())


@dataclass(frozen=True)
class _Band:
    """Some rows of an image, and those around them that errors and means look at."""

    image: np.ndarray
    restored: np.ndarray
    like: Appraisal
    scale: float
    black: float
    top: int

    @property
    def rows(self) -> slice:
        """All that is read."""
        bottom = min(self.top + BAND + _MARGIN, len(self.image))
        return slice(max(0, self.top - _MARGIN), bottom)

    @property
    def own(self) -> slice:
        """The band among :attr:`rows`."""
        first = self.top - self.rows.start
        return slice(first, first + min(BAND, len(self.image) - self.top))

    def noisy(self) -> np.ndarray:
        """Levels, as recorded."""
        rows = self.image[self.rows].astype(np.float32)
        return (rows - np.float32(self.black)) / np.float32(self.scale)

    def variance(self) -> np.ndarray:
        """Of the noise, at the restored levels."""
        slope, intercept, _ = self.like.told()
        level = np.maximum(self.restored[self.rows] * self.like.gain + self.like.offset, 0)
        return ((slope * level + intercept) / self.like.gain**2 + TINY).astype(np.float32)

    def least_error(self) -> np.ndarray:
        """What the network's error is at least, in units of the noise's variance."""
        variance = self.variance()
        return self._mean(_power(self.noisy() - self.restored[self.rows], variance) / variance) - 1

    def error_of_means(self, along: np.ndarray, stronger: float) -> np.ndarray:
        """The error of non-local means, in these units; the noise as strong as it is."""
        noisy, variance = self.noisy(), stronger * self.variance()
        probe = np.random.default_rng(self.top).standard_normal(noisy.shape)
        amplitude = _resampled(along, noisy.shape[1] // 2 + 1)
        probe = np.fft.irfft(np.fft.rfft(probe, axis=1) * amplitude, noisy.shape[1], axis=1)
        probe = (probe / probe.std() * np.sqrt(variance)).astype(np.float32)
        answer = _means(noisy, variance)
        change = (_means(noisy + np.float32(PROBE) * probe, variance) - answer) / PROBE
        risk = (_power(noisy - answer, variance) + 2 * probe * change) / variance
        return self._mean(risk) - 1

    def take_means(self, share: np.ndarray, stronger: float) -> None:
        """Writes them by their share, (H / STEP, W / STEP) of the image."""
        if not share[self.top // STEP : (self.top + BAND) // STEP].any():
            return
        height, width = self.restored[self.top : self.top + BAND].shape
        y, x = (np.arange(n, dtype=np.float32) / STEP for n in (height, width))
        first = max(0, self.top // STEP - 1)
        near = share[first : (self.top + BAND) // STEP + 2].astype(np.float32)
        places = np.meshgrid(y + self.top // STEP - first, x, indexing='ij')
        weight = map_coordinates(near, places, order=1, mode='nearest')
        means = _means(self.noisy(), stronger * self.variance())[self.own]
        target = self.restored[self.top : self.top + BAND]
        target += weight * (np.clip(means, 0, 1) - target)

    def _mean(self, values: np.ndarray) -> np.ndarray:
        """Means over :data:`WIDE` pixels, of the band, every :data:`STEP` pixels."""
        wide = gaussian_filter(values, WIDE, mode='reflect', truncate=3)
        return wide[self.own][::STEP, ::STEP]


def _along(image: np.ndarray, like: Appraisal, scale: float, black: float) -> np.ndarray:
    """Amplitude of the noise at frequencies along the line, from the image's middle."""
    middle = tuple(slice(max(0, (n - WINDOW) // 2), (n + WINDOW) // 2) for n in image.shape)
    power = noise_along((image[middle] - black) / scale, like.structure not in ('fine', 'all'))
    return np.sqrt(np.maximum(power, 0))


def _resampled(values: np.ndarray, count: int) -> np.ndarray:
    return np.interp(np.linspace(0, 1, count), np.linspace(0, 1, len(values)), values)


def _power(residual: np.ndarray, variance: np.ndarray) -> np.ndarray:
    return np.minimum(np.square(residual), FAR**2 * variance)


def _means(levels: np.ndarray, variance: np.ndarray) -> np.ndarray:
    from skimage.restoration import denoise_nl_means

    sigma = float(np.sqrt(variance.mean()))
    return denoise_nl_means(levels, PATCH, REACH, DAMPING * sigma, sigma=sigma)
