"""What a restoration took away and cannot have been noise is put back.

Noise has its power spread evenly over all frequencies of a block of pixels (along the line, as it
is smeared). What a network takes for noise though it is none (a grating, a lattice, small print)
has some frequencies many times stronger. Those are put back as they were recorded; the rest of
what was taken away is not. Where so many frequencies are structure that noise would come back with
them (thin wires, print), non-local means (Buades et al., CVPR 2005) take the network's place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import scipy.fft
from scipy.ndimage import maximum_filter

from ...utils.cpus import side_by_side
from .appraisal import MOST_ACROSS, Appraisal
from .appraising import LEAST_SIDE, WINDOW
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
# Error of a block in units of the noise's variance from which non-local means are closer; theirs
# is a fifth of it. Among fine structure, they are closer from this power of what was taken away on,
# in units of the noise's.
FARTHER, ENOUGH = 0.25, 1.0
# Sides of their patches and of where they look, factor on the deviation, rows.
PATCH, REACH, DAMPING, BAND = 5, 6, 0.8, 256


def _frequencies() -> np.ndarray:
    """(SIDE, SIDE // 2 + 1) which frequencies of a block are neither grey levels nor turns."""
    other = np.ones((SIDE, SIDE // 2 + 1), bool)
    other[np.r_[: SMOOTH + 1, -SMOOTH:0], : SMOOTH + 1] = False
    other[TURNS : SIDE + 1 - TURNS] = False
    return other


_OTHER = _frequencies()
# Of a block before and after; where blocks overlap by half, their squares add up to one.
_TAPER = np.sin(np.pi * (np.arange(SIDE) + 0.5) / SIDE)
_TAPER = np.outer(_TAPER, _TAPER).astype(np.float32)


def put_back(
    image: np.ndarray,
    restored: np.ndarray,
    like: Appraisal,
    strength: float = 1.0,
    scale: float = 1.0,
    black: float = 0.0,
) -> float:
    """Puts structure back that a restoration has taken for noise.

    Memory for some rows is taken, whatever the image's size.

    Args:
        image: (H, W), noisy; levels, 0 black and 1 white, are ``(image - black) / scale``.
        restored: (H, W) float32, levels; written into.
        like: of the noisy image.
        strength: factor on the deviation of the noise that may be taken away; below 1 it is 1.
        scale: what a level of one is in the image.
        black: what a level of zero is in it.

    Returns:
        Share of the image where more structure than noise had been taken away. Images too small to
        tell stay as they are, and those whose noise is shared by lines or made of spikes.
    """
    if not can_be_told(image, like):
        return 0.0
    if like.upright:
        image, restored = image.T, restored.T
    sure = like.structure in ('fine', 'all')
    power = _expected(image, scale, black, not sure)
    width = image.shape[1]
    back = np.zeros((SIDE, _padded(width).size), np.float32)
    found = total = 0
    poor = []
    for bottom, taken, level in _strips(image, restored, scale, black):
        spectrum = scipy.fft.rfft2(taken * _TAPER)
        ratio = (np.square(spectrum.real) + np.square(spectrum.imag)) / power
        ratio /= variance_at(level, like, max(strength, 1.0))[:, None, None]
        total += len(ratio)
        # nothing is put back without a frequency that is sure
        some = np.flatnonzero((ratio * _OTHER).max((1, 2)) >= SURE)
        # more is gone than noise, but at no frequency in particular
        much = ratio[:, _OTHER].mean(1) > ENOUGH
        poor.append(much if like.structure == 'fine' else np.zeros(len(ratio), bool))
        if len(some):
            ratio = ratio[some] if sure else _evened(ratio[some])
            kept, mistaken = _structure(ratio)
            poor[-1][some] = _error(ratio, kept) > FARTHER
            found += int((mistaken & ~poor[-1][some]).sum())
            blocks = scipy.fft.irfft2(spectrum[some] * kept, s=(SIDE, SIDE)) * _TAPER
            for index, block in zip(some, blocks):
                back[:, index * STEP : index * STEP + SIDE] += block
        found += int(poor[-1].sum())
        if bottom > 0:
            rows = restored[bottom - STEP : bottom]
            rows[:] = np.clip(rows + back[: len(rows), STEP : STEP + width], 0, 1)
        back[:STEP], back[STEP:] = back[STEP:], 0
    if np.any(poor):
        _take_means(image, restored, np.array(poor), like, scale, black)
    return found / total


def can_be_told(image: np.ndarray, like: Appraisal) -> bool:
    """Whether structure can be told from noise; not in an image too small or of nothing else."""
    shared = like.across > MOST_ACROSS and not like.structure  # smoothed noise
    empty = like.high - like.low <= 1e-6 or like.is_noise_alone
    return not (min(image.shape) < LEAST_SIDE or shared or like.spikes or empty)


def _expected(image: np.ndarray, scale: float, black: float, whole_lines: bool) -> np.ndarray:
    """(SIDE // 2 + 1,) power of noise of variance 1 in a tapered block, from the image's middle."""
    middle = tuple(slice(max(0, (n - WINDOW) // 2), (n + WINDOW) // 2) for n in image.shape)
    power = noise_along((image[middle] - black) / scale, whole_lines)
    return (power * np.square(_TAPER).sum()).astype(np.float32)


def variance_at(level: np.ndarray, like: Appraisal, strength: float) -> np.ndarray:
    """Of the noise, as the network is told, at levels 0 black and 1 white; as float32."""
    return (like.variance(level, strength) + TINY).astype(np.float32)


def _take_means(
    image: np.ndarray,
    restored: np.ndarray,
    where: np.ndarray,
    like: Appraisal,
    scale: float,
    black: float,
) -> None:
    """Writes non-local means into ``restored``; ``where`` is (rows of blocks, blocks)."""
    width = image.shape[1]
    margin = PATCH + REACH
    square = np.square(_TAPER)
    bands: deque[tuple[slice, slice, np.ndarray]] = deque()

    def work() -> Iterator[Callable[[], np.ndarray]]:
        for rows, own, answer in bands_before(restored, BAND, margin):
            weight = np.zeros((len(answer), _padded(width).size), np.float32)
            for index, across in np.argwhere(where):
                first = index * STEP - STEP - rows.start
                inside = slice(max(0, first), min(len(weight), first + SIDE))
                if inside.start < inside.stop:
                    part = square[inside.start - first : inside.stop - first]
                    weight[inside, across * STEP : across * STEP + SIDE] += part
            weight = weight[:, STEP : STEP + width]
            if not weight.any():
                continue
            level = np.average(answer, weights=weight)
            sigma = float(np.sqrt(variance_at(level, like, 1.0)))
            bands.append((rows, own, weight[own]))
            yield partial(non_local_means, levels_of(image[rows], scale, black), sigma)

    for means in side_by_side(work()):
        rows, own, weight = bands.popleft()
        target = restored[rows][own]
        target += weight * (np.clip(means[own], 0, 1) - target)


def bands_before(
    restored: np.ndarray, height: int, margin: int
) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Bands of an image that is written into band by band, each as it was before all of that.

    A band may be written when its successor has been asked for, or before.

    Args:
        restored: (H, W).
        height: Of a band, rows; at least ``margin``.
        margin: Rows above and below that are seen along with it.

    Yields:
        Rows with the margins; the band's own among these; and (rows, W), a copy.
    """
    above = restored[:0]
    for top in range(0, len(restored), height):
        end = min(top + height, len(restored))
        rows = slice(max(0, top - margin), min(end + margin, len(restored)))
        own = slice(top - rows.start, end - rows.start)
        before = restored[rows].copy()
        before[: len(above)] = above
        above = before[own][-margin:]
        yield rows, own, before


def non_local_means(levels: np.ndarray, sigma: float) -> np.ndarray:
    """Of (H, W) levels whose noise has the deviation ``sigma``."""
    from skimage.restoration import denoise_nl_means

    return denoise_nl_means(levels, PATCH, REACH, DAMPING * sigma, sigma=sigma)


def _strips(
    image: np.ndarray, restored: np.ndarray, scale: float, black: float
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """What was taken away, in strips of blocks from the top, half of each the next one's.

    Rows of ``restored`` above ``bottom`` may be changed before the next strip is asked for.

    Yields:
        ``bottom``, the row where the upper half of the strip ends; (blocks, SIDE, SIDE); and
        (blocks,), levels of these.
    """
    rows, columns = (_padded(length) for length in image.shape)

    def taken(first: int, last: int) -> np.ndarray:
        at = rows[first:last]
        return (levels_of(image[at], scale, black) - restored[at])[:, columns]

    # what lies mirrored below the image, before it is changed
    end = taken(len(rows) - SIDE, len(rows))
    lower = taken(0, STEP)
    for top in range(0, len(rows) - STEP, STEP):
        upper, beyond = lower, top + SIDE - (len(rows) - SIDE)
        lower = end[beyond - STEP : beyond] if beyond > 0 else taken(top + STEP, top + SIDE)
        at = np.clip(np.arange(top - STEP, top + STEP), 0, len(image) - 1)
        level = _blocks(restored[at].mean(0)[columns][None]).mean((1, 2))
        yield top, _blocks(np.concatenate([upper, lower])), level


def levels_of(rows: np.ndarray, scale: float, black: float) -> np.ndarray:
    """Rows of an image as float32 levels, 0 black and 1 white."""
    return (rows.astype(np.float32) - np.float32(black)) / np.float32(scale)


def _padded(length: int) -> np.ndarray:
    """Places of the pixels of a row or column that is mirrored at its ends, to whole blocks."""
    return np.pad(np.arange(length), (STEP, STEP + -length % STEP), 'reflect')


def _blocks(band: np.ndarray) -> np.ndarray:
    """(blocks, rows, SIDE) of (rows, width): half of each is the next one's."""
    views = np.lib.stride_tricks.sliding_window_view(band, SIDE, axis=1)[:, ::STEP]
    return views.transpose(1, 0, 2)


def _evened(ratio: np.ndarray) -> np.ndarray:
    """Powers over those of a noise that is stronger in some blocks than what was measured."""
    quiet = np.quantile(ratio, QUIET, (1, 2), keepdims=True) / AT_QUIET
    return ratio / np.maximum(quiet, 1)


def _error(ratio: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """(blocks,) expected error where ``kept`` is put back: its noise, and structure that is not."""
    left = np.where(kept, 0, ratio)[:, _OTHER].mean(1) / np.maximum(
        (~kept)[:, _OTHER].mean(1), TINY
    )
    return kept.mean((1, 2)) + np.maximum(left - 1, 0)


def _structure(ratio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is structure of (blocks, SIDE, SIDE // 2 + 1) powers over the noise's.

    Returns:
        Which frequencies; and which blocks were mistaken altogether, having lost more structure
        than noise: of these, all that is strong is put back, grey levels and the finest as well.
    """
    sure = ratio >= SURE
    beside = maximum_filter(sure & _OTHER, (1, 3, 3), mode=('nearest', 'wrap', 'nearest'))
    kept = beside & (ratio >= BESIDE) & _OTHER
    power = (ratio * kept).mean((1, 2))
    mistaken = power > 1
    kept &= (power > SOME)[:, None, None]
    return kept | (mistaken[:, None, None] & np.where(_OTHER, ratio >= LIKELY, sure)), mistaken
