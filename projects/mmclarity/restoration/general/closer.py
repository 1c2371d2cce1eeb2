"""Where non-local means are closer to the truth than the network, they take its place.

The network was trained on soft edges. Beside sharp ones (print, wires, cut edges, pores, coins) it
takes more than noise away, and non-local means (Buades et al., CVPR 2005), which look for other
places that are alike, are closer by up to ten decibels. Which of two is closer can be told without
the truth, where the noise is known: for noise ``n`` of covariance ``C``,

    E |f(y) - x|^2 = E |f(y) - y|^2 - tr C + 2 tr(J C),

with the Jacobian ``J`` of ``f`` (Stein 1981), whose trace is probed by a little more such noise
(Ramani, Blu and Unser 2008). Of the network the last term, which is positive, is left out: its
error is at least the rest, and no second restoration is needed. It yields only where that is more
than all of the means' error. What noise there is, is known to a tenth or two of its variance; so
there must be places where the network is worse by more, and around them all is taken where it is
worse. Means take longer than the network: they are tried in the worst places first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_propagation, gaussian_filter, map_coordinates

from .appraisal import Appraisal
from .lost import BAND, TINY, can_be_told, levels_of, non_local_means, variance_at
from .spectrum import noise_along

__all__ = ['take_closer']

# Deviation in pixels of the Gaussian over which errors are averaged, and of what of them is kept.
WIDE, STEP = 10.0, 4
# Of the noise's variance: what the network is worse by where it yields altogether, and what it must
# be worse by somewhere near; in how many places, the worst first, that is looked for.
WORSE, BY_FAR, SPOTS = 0.08, 0.12, 4
# Residuals count up to so many deviations: a lone pixel far off is noise, an edge has many.
FAR = 4.0
# Blocks in which it is asked whether noise is stronger than elsewhere, pixels a side; and the noise
# above which it is not, as few electrons have no even spread, in units of the contrast.
BLOCK, MOST_SIGMA = 64, 0.15
# Noise may be stronger than was measured: what this share of all places has, is no structure.
QUIET = 0.25
PROBE = 0.1  # its strength, of the noise's
_MARGIN = 48  # rows, as BAND a multiple of STEP: three deviations, and what means look at


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
    if not (can_be_told(image, like) and 0 < like.sigma < MOST_SIGMA):
        return 0.0
    if like.upright:
        image, restored = image.T, restored.T
    uneven = np.ones([-(-side // BLOCK) for side in image.shape], np.float32)
    bands = [
        _Band(image, restored, like, scale, black, top, uneven)
        for top in range(0, len(image), BAND)
    ]
    spread = np.concatenate([band.spread() for band in bands])
    uneven[:] = np.maximum(np.square(spread / max(np.median(spread), TINY)), 1)
    errors = [band.least_error() for band in bands]
    quiet = np.concatenate([error[::2, ::2].ravel() for error in errors])
    more = max(0.0, float(np.quantile(quiet, QUIET)))
    for error in errors:
        error -= more
    along = _along(image, like, scale, black)
    if not _worth_it(bands, np.concatenate(errors), along, 1 + more):
        return 0.0
    for band, error in zip(bands, errors):
        near = np.flatnonzero(_around(error).any(0))
        part = slice(near[0], near[-1] + 1) if len(near) else slice(0, 0)
        theirs = np.full_like(error, np.inf)
        if len(near):
            theirs[:, part] = band.error_of_means(part, along, 1 + more)
        error -= theirs
    worse = np.concatenate(errors)
    share = np.clip(worse / WORSE, 0, 1) * _around(worse)
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
    uneven: np.ndarray

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
        return levels_of(self.image[self.rows], self.scale, self.black)

    def variance(self) -> np.ndarray:
        """Of the noise, at the restored levels."""
        even = variance_at(self.restored[self.rows], self.like, 1.0)
        rows = np.arange(self.rows.start, self.rows.stop) // BLOCK
        return even * np.repeat(self.uneven[rows], BLOCK, 1)[:, : even.shape[1]]

    def spread(self) -> np.ndarray:
        """(blocks of :attr:`own`) how far pixels lie off those above and below, over the noise."""
        noisy = self.noisy()
        off = np.abs(noisy - (np.roll(noisy, 1, 0) + np.roll(noisy, -1, 0)) / 2)
        off = (off / np.sqrt(self.variance()))[self.own]
        pad = [(0, -side % BLOCK) for side in off.shape]
        off = np.pad(off, pad, 'reflect')
        high, wide = (side // BLOCK for side in off.shape)
        blocks = off.reshape(high, BLOCK, wide, BLOCK).transpose(0, 2, 1, 3)
        return np.median(blocks.reshape(high, wide, -1), -1)

    def least_error(self) -> np.ndarray:
        """What the network's error is at least, in units of the noise's variance."""
        variance = self.variance()
        return self._mean(_power(self.noisy() - self.restored[self.rows], variance) / variance) - 1

    def columns(self, part: slice) -> tuple[slice, slice]:
        """Of every :data:`STEP` th column, all pixels, and those with what is looked at."""
        width = self.image.shape[1]
        own = slice(part.start * STEP, min(part.stop * STEP, width))
        return own, slice(max(0, own.start - _MARGIN), min(own.stop + _MARGIN, width))

    def error_of_means(self, part: slice, along: np.ndarray, stronger: float) -> np.ndarray:
        """The error of non-local means, in these units; the noise as strong as it is."""
        own, columns = self.columns(part)
        noisy, variance = self.noisy()[:, columns], stronger * self.variance()[:, columns]
        risk = _risk_of_means(noisy, variance, along, self.top)
        return self._mean(risk, own.start - columns.start)[:, : part.stop - part.start] - 1

    def error_at(self, y: int, x: int, along: np.ndarray, stronger: float) -> float:
        """The same in one place of the image."""
        rows, columns = (
            slice(max(0, at - _MARGIN), at + _MARGIN) for at in (y - self.rows.start, x)
        )
        noisy = self.noisy()[rows, columns]
        variance = stronger * self.variance()[rows, columns]
        risk = _risk_of_means(noisy, variance, along, self.top)
        wide = gaussian_filter(risk, WIDE, mode='reflect', truncate=3)
        return float(wide[y - self.rows.start - rows.start, x - columns.start]) - 1

    def take_means(self, share: np.ndarray, stronger: float) -> None:
        """Writes them by their share, (H / STEP, W / STEP) of the image."""
        first, last = max(0, self.top // STEP - 1), (self.top + BAND) // STEP + 1
        near = share[first:last]
        some = np.flatnonzero(near.any(0))
        if not len(some):
            return
        part = slice(max(0, some[0] - 1), some[-1] + 2)
        own, columns = self.columns(part)
        target = self.restored[self.top : self.top + BAND, own]
        y, x = (np.arange(n, dtype=np.float32) / STEP for n in target.shape)
        places = np.meshgrid(y + self.top // STEP - first, x, indexing='ij')
        weight = map_coordinates(near[:, part].astype(np.float32), places, order=1, mode='nearest')
        means = _means(self.noisy()[:, columns], stronger * self.variance()[:, columns])
        inside = slice(own.start - columns.start, own.stop - columns.start)
        target += weight * (np.clip(means[self.own, inside], 0, 1) - target)

    def _mean(self, values: np.ndarray, left: int = 0) -> np.ndarray:
        """Means over :data:`WIDE` pixels, of the band from a column on, every :data:`STEP`."""
        wide = gaussian_filter(values, WIDE, mode='reflect', truncate=3)
        return wide[self.own][::STEP, left::STEP]


def _worth_it(
    bands: Sequence[_Band], worse: np.ndarray, along: np.ndarray, stronger: float
) -> bool:
    """Whether means are closer by far in one of the places where the network is worst."""
    left, reach = worse.copy(), 3 * int(WIDE) // STEP
    for _ in range(SPOTS):
        y, x = np.unravel_index(left.argmax(), left.shape)
        if left[y, x] <= BY_FAR:
            return False
        band = bands[y * STEP // BAND]
        if worse[y, x] - band.error_at(y * STEP, x * STEP, along, stronger) > BY_FAR:
            return True
        left[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1] = -np.inf
    return False


def _around(worse: np.ndarray) -> np.ndarray:
    """Where it is worse, around places where it is worse by far."""
    return binary_propagation(worse > BY_FAR, mask=worse > 0)


def _along(image: np.ndarray, like: Appraisal, scale: float, black: float) -> np.ndarray:
    """Amplitude of the noise at frequencies along the line, from the image's middle."""
    middle = tuple(slice(max(0, (n - BAND) // 2), (n + BAND) // 2) for n in image.shape)
    power = noise_along((image[middle] - black) / scale, like.structure not in ('fine', 'all'))
    return np.sqrt(np.maximum(power, 0))


def _resampled(values: np.ndarray, count: int) -> np.ndarray:
    return np.interp(np.linspace(0, 1, count), np.linspace(0, 1, len(values)), values)


def _power(residual: np.ndarray, variance: np.ndarray) -> np.ndarray:
    return np.minimum(np.square(residual), FAR**2 * variance)


def _risk_of_means(
    noisy: np.ndarray, variance: np.ndarray, along: np.ndarray, seed: int
) -> np.ndarray:
    """Stein's estimate for every pixel, over the variance; less one it is the error."""
    probe = np.random.default_rng(seed).standard_normal(noisy.shape)
    amplitude = _resampled(along, noisy.shape[1] // 2 + 1)
    probe = np.fft.irfft(np.fft.rfft(probe, axis=1) * amplitude, noisy.shape[1], axis=1)
    probe = (probe / probe.std() * np.sqrt(variance)).astype(np.float32)
    answer = _means(noisy, variance)
    change = (_means(noisy + np.float32(PROBE) * probe, variance) - answer) / PROBE
    return (_power(noisy - answer, variance) + 2 * probe * change) / variance


def _means(levels: np.ndarray, variance: np.ndarray) -> np.ndarray:
    return non_local_means(levels, float(np.sqrt(variance.mean())))
