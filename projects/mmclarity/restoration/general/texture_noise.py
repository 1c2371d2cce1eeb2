"""Noise told from texture that is as fine as the noise.

By power alone the two are one: grass, gravel or a fracture may be as strong as noise at every
frequency. But noise is Gaussian, and texture is not: its details are mostly weak and sometimes
strong. How far it is from Gaussian, by the kurtosis of a filter's responses, is much the same for
all filters of a small bank. Noise takes kurtosis away, the more the less of a filter's power is
texture. So noise follows from the power and the kurtosis of all filters together (Zoran and Weiss,
"Scale invariance and noise in natural images", ICCV 2009). Here it may be smeared along the line,
and be stronger where it is brighter. If noise that was smoothed in all directions explains the
kurtosis better, the picture was smoothed, and its noise is not measured in this way.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import scipy.fft
from scipy.linalg import toeplitz

__all__ = ['TextureNoise', 'noise_among_texture']

# Filters are the cosines of a patch; of a block, every second patch across and down.
PATCH, STRIDE, PATCHES = 8, 2, 16
BLOCK = STRIDE * (PATCHES - 1) + PATCH
# Blocks a side at most, pixels between them at least, and of how many in all something follows.
MOST_BLOCKS, STEP, LEAST_BLOCKS = 14, 16, 9
# Correlations of the noise with the next pixel, and shares of the least power, that are tried.
CORRELATIONS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.64, 0.665, 0.7, 0.75)
# Up to this one, noise is smeared over three pixels; beyond, by a Gaussian.
THREE = 0.68
SHARES = np.linspace(0, 1, 41)
# Medians over blocks of a Gaussian's variance and excess kurtosis (0.03 more or less by filter;
# patches overlap, and a block is small).
OF_VARIANCE, OF_KURTOSIS = 0.99, -0.14
# Correlations of noise that was smoothed in all directions, and how much less of the squares it has
# to leave.
SMOOTHED, BETTER = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7), 0.85
# A texture's kurtosis; letters and edges on even ground have more.
LEAST, MOST = 0.1, 3.0
# Squares that may be left of the kurtosis, as a share of them, and what chance leaves (JPEG leaves
# more); and the share of them from which on there is nothing but chance.
UNEXPLAINED, CHANCE, NOTHING = 0.15, 0.15, 0.5
# Of all noise that leaves hardly more than the least, the strongest is taken: too little would stay
# in the picture, and look like things.
HARDLY = 0.06
TINY, ROUNDING = 1e-12, 1e-12


@dataclass(frozen=True)
class TextureNoise:
    """What of a picture's finest detail is noise.

    Attributes:
        variance: of the noise, in units of what it was taken for.
        correlation: of the noise with the next pixel of the line, among
            :data:`CORRELATIONS`.
        kurtosis: of the texture, beyond a Gaussian's.
    """

    variance: float
    correlation: float
    kurtosis: float


def noise_among_texture(
    image: np.ndarray, variance: Callable[[np.ndarray], np.ndarray]
) -> TextureNoise | None:
    """Measures the noise of a picture that is texture all over.

    Args:
        image: (H, W); lines are rows.
        variance: what the noise was taken for: of grey levels of the image, in their square. It
            may be too much for the texture; how it grows with the grey level counts.

    Returns:
        The noise; None for a picture that is too small (less than three blocks of 38 pixels a
        side, half of each the next one's), or whose kurtosis is no such texture's.
    """
    responses = _responses(np.asarray(image, np.float64))
    # gaps of a mosaic, a black border: nothing but rounding
    blank = np.abs(responses[..., _FILTERS]).max(-1) <= ROUNDING * np.abs(responses).max(initial=0)
    responses = responses[~blank.any(1)]
    if len(responses) < LEAST_BLOCKS:
        return None
    level = responses[..., 0, 0] / PATCH  # the mean of the patch
    law = np.maximum(variance(level), TINY)
    responses = responses[..., _FILTERS] / np.sqrt(law)[..., None]
    responses -= responses.mean(1, keepdims=True)
    square = np.square(responses)
    power = square.mean(1)
    kurtosis = np.median(np.square(square).mean(1) / np.square(power + TINY) - 3, 0) - OF_KURTOSIS
    power = np.median(power, 0) / OF_VARIANCE + TINY
    return _fitted(power, kurtosis)


def _fitted(power: np.ndarray, kurtosis: np.ndarray) -> TextureNoise | None:
    """By power and excess kurtosis of the filters, each (filters,)."""
    left, found = _best(power, kurtosis, 0.0)
    squares = np.square(kurtosis).sum()
    known = left <= min(UNEXPLAINED * squares + CHANCE, NOTHING * squares)
    if not (known and LEAST <= found.kurtosis <= MOST):
        return None
    if any(_best(power, kurtosis, across)[0] < BETTER * left for across in SMOOTHED):
        return None
    return found


def _best(power: np.ndarray, kurtosis: np.ndarray, across: float) -> tuple[float, TextureNoise]:
    """The least that may be left of the kurtosis (squares), and the noise that leaves it.

    ``power`` and ``kurtosis`` are (filters,), ``across`` is what neighbouring lines share.
    """
    correlations, noise = _powers(across)
    tried = (power / noise).min(1)[:, None] * SHARES
    # what the texture's kurtosis is multiplied with: the square of its share of the power
    part = np.square(1 - tried[..., None] * noise[:, None] / power)
    own = (part * kurtosis).sum(-1) / np.maximum(np.square(part).sum(-1), TINY)
    own = np.maximum(own, 0)
    left = np.square(kurtosis - own[..., None] * part).sum(-1)
    least = float(left.min())
    best = np.unravel_index(np.where(left <= least + HARDLY, tried, -1).argmax(), left.shape)
    return least, TextureNoise(float(tried[best]), correlations[best[0]], float(own[best]))


def _responses(image: np.ndarray) -> np.ndarray:
    """(blocks, patches, PATCH, PATCH) cosine transforms of patches."""
    if min(image.shape) < BLOCK:
        return np.empty((0, PATCHES**2, PATCH, PATCH))
    starts = (
        range(0, length - BLOCK + 1, max(STEP, (length - BLOCK) // (MOST_BLOCKS - 1)))
        for length in image.shape
    )
    down, across = (
        (np.array(start)[:, None] + STRIDE * np.arange(PATCHES)).ravel() for start in starts
    )
    views = np.lib.stride_tricks.sliding_window_view(image, (PATCH, PATCH))
    patches = views[np.ix_(down, across)]
    rows, columns = len(down) // PATCHES, len(across) // PATCHES
    patches = patches.reshape(rows, PATCHES, columns, PATCHES, PATCH, PATCH).swapaxes(1, 2)
    cosines = scipy.fft.dctn(patches, axes=(-2, -1), norm='ortho')
    return cosines.reshape(rows * columns, PATCHES**2, PATCH, PATCH)


def _filters() -> np.ndarray:
    """(PATCH, PATCH): neither grey levels and shades, nor what whole lines have in common."""
    down, across = np.mgrid[:PATCH, :PATCH]
    return (down >= 2) & (down + across >= 3)


_FILTERS = _filters()


@cache
def _powers(across: float) -> tuple[tuple[float, ...], np.ndarray]:
    """Correlations along the line, and (correlations, filters): power of noise of variance one."""
    correlations = tuple(r for r in CORRELATIONS if r >= across)
    shared = [_of_gaussian(r) if across or r > THREE else _of_three(r) for r in correlations]
    along, down = np.array([_power(row) for row in shared]), _power(_of_gaussian(across))
    return correlations, (down[:, None] * along[:, None])[:, _FILTERS]


def _of_gaussian(correlation: float) -> np.ndarray:
    """(PATCH,): what pixels share with others farther and farther off, smoothed by a Gaussian."""
    return np.power(correlation, np.square(np.arange(PATCH)))


def _of_three(correlation: float) -> np.ndarray:
    """The same, smoothed by weights of a, 1 and a."""
    shared = np.zeros(PATCH)
    shared[:2] = 1, correlation
    if correlation:
        side = (1 - math.sqrt(1 - 2 * correlation**2)) / (2 * correlation)
        shared[2] = side**2 / (1 + 2 * side**2)
    return shared


def _power(shared: np.ndarray) -> np.ndarray:
    """(PATCH,) power that cosines have of noise of variance one."""
    cosines = scipy.fft.dct(np.eye(PATCH), axis=0, norm='ortho')
    return np.einsum('ja,ab,jb->j', cosines, toeplitz(shared), cosines)
