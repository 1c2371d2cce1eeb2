"""What a restoration took away and cannot have been noise is put back.

Noise has its power spread evenly over all frequencies of a block of pixels (along the line, as it
is smeared). What a network takes for noise though it is none (a grating, a lattice, small print)
has some frequencies many times stronger. Those are put back as they were recorded; the rest of
what was taken away is not.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import maximum_filter

from .appraisal import LEAST_SIDE, MOST_ACROSS, WINDOW, Appraisal
from .spectrum import SIDE, noise_along

__all__ = ['put_back']

STEP = SIDE // 2
# Power over that of the noise from which a frequency is none (noise is so at one of 160,000), also
# beside such a one, and where more structure than noise was taken away.
SURE, BESIDE, LIKELY = 12.0, 3.0, 6.0
# Power of all that is put back in a block, over the noise's: a lone frequency may be chance.
SOME = 0.1
# Quantile of a block's power by which uneven noise is followed, and what it is for even noise.
QUIET, AT_QUIET = 0.25, 0.2877
# Cycles a block up to which there are grey levels only, which are the network's, and from which
# lines take turns, as where they are interlaced.
SMOOTH, TURNS = 1, 15
TINY = 1e-12


def put_back(
    noisy: np.ndarray, restored: np.ndarray, like: Appraisal, strength: float = 1.0
) -> tuple[np.ndarray, float]:
    """Puts structure back that a restoration has taken for noise.

    Args:
        noisy: (H, W), levels 0 black and 1 white.
        restored: (H, W) float32, the same levels.
        like: of the noisy image.
        strength: factor on the deviation of the noise that may be taken away; below 1 it is 1.

    Returns:
        The restored image, and the share of it where more structure than noise was taken away.
        Images too small to tell stay as they are, and those whose noise is shared by lines or
        made of spikes.
    """
    shared = like.across > MOST_ACROSS and not like.structure  # smoothed noise
    empty = like.high - like.low <= 1e-6 or like.is_noise_alone
    if min(noisy.shape) < LEAST_SIDE or shared or like.spikes or empty:
        return restored, 0.0
    if like.upright:
        laid, share = _put_back(noisy.T, restored.T, like, strength)
        return np.ascontiguousarray(laid.T), share
    return _put_back(noisy, restored, like, strength)


def _put_back(
    noisy: np.ndarray, restored: np.ndarray, like: Appraisal, strength: float
) -> tuple[np.ndarray, float]:
    around = [(STEP, STEP + -length % STEP) for length in noisy.shape]
    taken = np.pad(np.asarray(noisy, np.float32) - restored, around, 'reflect')
    middle = tuple(slice(max(0, (n - WINDOW) // 2), (n + WINDOW) // 2) for n in noisy.shape)
    sure = like.structure in ('fine', 'all')
    slope, intercept, _ = like.told(max(strength, 1.0))
    window = np.sin(np.pi * (np.arange(SIDE) + 0.5) / SIDE)
    window = np.outer(window, window).astype(np.float32)
    power = noise_along(noisy[middle], not sure) * np.square(window).sum()
    back = np.zeros_like(taken)
    found = total = 0
    for top in range(0, len(taken) - STEP, STEP):
        rows = slice(top, top + SIDE)
        level = np.clip(np.arange(top, top + SIDE) - STEP, 0, len(restored) - 1)
        level = np.pad(restored[level].mean(0), around[1], 'reflect')[None]
        level = _blocks(level).mean((1, 2)) * like.gain + like.offset
        variance = (slope * level.clip(0) + intercept) / like.gain**2
        spectrum = np.fft.rfft2(_blocks(taken[rows]) * window)
        ratio = np.square(np.abs(spectrum)) / power / (variance[:, None, None] + TINY)
        if not sure:  # noise may be uneven
            quiet = np.quantile(ratio, QUIET, (1, 2), keepdims=True) / AT_QUIET
            ratio /= np.maximum(quiet, 1)
        kept, mistaken = _structure(ratio)
        some = kept.any((1, 2))
        found, total = found + int(mistaken.sum()), total + len(some)
        if some.any():
            blocks = np.fft.irfft2(spectrum * kept, s=(SIDE, SIDE)).astype(np.float32) * window
            for index in np.flatnonzero(some):
                back[rows, index * STEP : index * STEP + SIDE] += blocks[index]
    inside = tuple(slice(STEP, STEP + length) for length in noisy.shape)
    return np.clip(restored + back[inside], 0, 1), found / total


def _blocks(band: np.ndarray) -> np.ndarray:
    """(blocks, rows, SIDE) of (rows, width): half of each is the next one's."""
    views = np.lib.stride_tricks.sliding_window_view(band, SIDE, axis=1)[:, ::STEP]
    return views.transpose(1, 0, 2)


def _structure(ratio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is structure of (blocks, SIDE, SIDE // 2 + 1) powers over the noise's.

    Returns:
        Which frequencies; and which blocks were mistaken altogether, having lost more structure
        than noise: of these, all that is strong is put back, grey levels and the finest as well.
    """
    sure = ratio >= SURE
    smooth = np.zeros(sure.shape[1:], bool)
    smooth[np.r_[: SMOOTH + 1, -SMOOTH:0], : SMOOTH + 1] = True
    other = ~smooth
    other[TURNS : SIDE + 1 - TURNS] = False
    beside = maximum_filter(sure & other, (1, 3, 3), mode=('nearest', 'wrap', 'nearest'))
    kept = beside & (ratio >= BESIDE) & other
    power = (ratio * kept).mean((1, 2))
    mistaken = power > 1
    kept &= (power > SOME)[:, None, None]
    return kept | (mistaken[:, None, None] & np.where(other, ratio >= LIKELY, sure)), mistaken
