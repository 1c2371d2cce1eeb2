"""One image is measured."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter, median_filter

from ..degradation.measure import fit_noise, measure_noise
from .appraisal import MOST_ACROSS, Appraisal, before_smoothing
from .spectrum import Floor, floor_of_flat_places, measure_floor, periodic_share
from .texture_noise import CORRELATIONS, TextureNoise, noise_among_texture

__all__ = ['appraise']

# Pixels of the middle of a large image on which noise is measured, a side.
WINDOW = 1536
# Pixels a side from which noise is measured by grey level and lines; deviation of the Gaussian
# beyond which grey levels are no detail.
LEAST_SIDE, LARGE = 48, 12.0
# What lines share may be structure. It is, where flat places have no more than this (deviations)
# of what the spectrum leaves, or periods hold this share, or noise that was smoothed so much would
# be this share of all there is. It can be either where the spectrum leaves as much as the last.
FLAT, PERIODIC, ALL, KNOWN = 0.97, 0.1, 0.75, 0.8
# Beyond this correlation between lines a picture was smoothed, and has no finest detail any more by
# which texture could be told from noise.
SHARP = 0.7
# Texture of more kurtosis than STRONG has even places, where noise was measured: if it leaves less
# than LEAST_BESIDE of that variance, a filter or JPEG has left the noise uneven.
STRONG, LEAST_BESIDE = 1.2, 0.25
# Variance that the flattest tenth of a picture of nothing but noise has of it (0.77 where it is
# smeared along the line, 0.85 where it is not).
FLATTEST = 0.8
# Edges have been measured along with the noise where it is this much more (deviations) than both
# the spectrum and flat places leave.
EDGES = 1.5
# Noise is smeared along the columns where it is this much more (deviations) when the picture lies
# on its side, and its pixels share so much then.
UPRIGHT, UPRIGHT_SHARED = 2.5, 0.15
# A range of grey levels is widened where averaging four pixels has narrowed it by this factor, and
# two deviations of what is finer are this share of it.
NARROWED, FINER = 1.25, 0.5
# Deviations of the noise by which it moves the darkest and brightest thousandth of a fine pattern.
OUTER = 2.9
# Spikes are most of the noise where the spectrum has this factor more (deviations) than typical
# differences of lines; they are this many deviations off the median of nine.
SPIKED, SPIKE = 2.0, 5.0


def appraise(image: np.ndarray, scale: float = 1.0, black: float = 0.0) -> Appraisal:
    """Measures one image.

    Args:
        image: (H, W), an array or a memory map.
        scale: levels are ``(image - black) / scale``.
        black: grey level of black.

    Returns:
        What it is like. Images that are too small or too even to measure are taken to be free of
        noise that grows with the grey level or is smeared.
    """
    height, width = image.shape
    top, left = max(0, (height - WINDOW) // 2), max(0, (width - WINDOW) // 2)
    part = image[top : top + WINDOW, left : left + WINDOW].astype(np.float64)
    part = (part - black) / scale
    low, high = _range(image, scale, black)
    if min(part.shape) < LEAST_SIDE or np.ptp(part) == 0:
        flat = Appraisal(0.0, 0.0, 0.0, 0.0, low, high)
        intercept = (flat.gain * _spread(part)) ** 2
        return replace(flat, intercept=intercept, measured=min(part.shape) >= 3)
    floor = measure_floor(part)
    flat = Appraisal(0.0, 0.0, 0.0, 0.0, *_widened(low, high, part, floor))
    straight = _measured(flat, part, floor)
    if straight.across <= MOST_ACROSS:
        return _without_edges(straight, part, floor.variance)
    side = measure_floor(part.T)
    upright = side.variance > UPRIGHT**2 * floor.variance
    if upright and side.correlation > UPRIGHT_SHARED:
        laid = _measured(replace(flat, upright=True), part.T, side)
        return laid if laid.across < straight.across else straight
    return _without_structure(straight, part, floor.variance)


def _measured(flat: Appraisal, part: np.ndarray, floor: Floor) -> Appraisal:
    """With the noise of a part of the image, whose lines are rows."""
    # measured in grey levels of 8 bits, where clipped ones are known; fitted in the network's
    sample = measure_noise(part * 255)
    correlation, across = float(sample.correlation[0]), _shared_by_lines(sample.down)
    sample = replace(
        sample,
        level=flat.gain * sample.level / 255 + flat.offset,
        variance=sample.variance * (flat.gain / 255) ** 2,
    )
    spikes = 0.0
    try:
        slope, intercept = fit_noise([sample])
    except ValueError:  # nearly all levels are clipped
        typical = _spread(part)
        slope, intercept = 0.0, flat.gain**2 * floor.variance
        if 0 < typical < math.sqrt(floor.variance) / SPIKED:
            intercept = (flat.gain * typical) ** 2
            off = np.abs(part - median_filter(part, 3)) > SPIKE * typical
            spikes = float(off.mean())
    if not math.isfinite(correlation + across):
        correlation = across = 0.0
    return replace(
        flat,
        slope=slope,
        intercept=intercept,
        correlation=correlation,
        across=across,
        lines=floor.lines,
        spikes=spikes,
    )


def _without_edges(found: Appraisal, part: np.ndarray, least: float) -> Appraisal:
    """With less noise, where edges all over the picture have been taken for some of it."""
    level = found.gain * float(np.median(part)) + found.offset
    variance = found.slope * level + found.intercept
    known = EDGES**2 * found.gain**2
    if not variance > known * least:  # most pictures: flat places need not be sought
        return found
    least = max(least, floor_of_flat_places(part)[0] / FLATTEST)
    if not variance > known * least:
        return found
    share = found.gain**2 * least / variance
    return replace(found, slope=share * found.slope, intercept=share * found.intercept)


def _without_structure(found: Appraisal, part: np.ndarray, least: float) -> Appraisal:
    """With no more noise than there is beside texture, or than the spectrum leaves.

    ``least`` is that of the spectrum.
    """
    level = found.gain * part.mean() + found.offset
    variance = max(found.slope * level + found.intercept, 1e-12)
    even, at = floor_of_flat_places(part)
    even /= FLATTEST
    # What noise of even places would be there by their grey level, if it is shot noise.
    shot = min(max((found.gain * at + found.offset) / max(level, 1e-6), 1e-6), 1.0)
    texture = _texture(found, part)
    if texture is not None:
        return replace(
            found,
            slope=0.0,  # that which was measured may be of the texture
            intercept=min(variance * min(texture.variance, 1.0), found.gain**2 * even / shot),
            correlation=texture.correlation,
            across=0.0,
            structure='fine',
            lines=0.0,
        )
    fine = FLATTEST * even <= FLAT**2 * least or periodic_share(part) >= PERIODIC
    smoothed = math.sqrt(variance * before_smoothing(found.across)) / found.gain
    if not fine and smoothed <= ALL * float((part - gaussian_filter(part, LARGE)).std()):
        known = found.gain**2 * least >= KNOWN**2 * variance
        return replace(found, structure='mixed') if known else found
    floor = measure_floor(part, whole_lines=False)
    least = min(least, floor.variance)
    # As between letters or pores, if there is less than shot noise of that grey level would be:
    # what is left even there is noise.
    if even < shot * least:
        least = even
    return replace(
        found,
        slope=0.0,
        intercept=min(variance, found.gain**2 * least),
        correlation=floor.correlation,
        across=0.0 if fine else found.across,
        structure='fine' if fine else 'all',
        lines=0.0,
    )


def _texture(found: Appraisal, part: np.ndarray) -> TextureNoise | None:
    """What of it is noise, if there is texture all over and no program has made the noise uneven.

    Filters of medians, filters that keep edges, and JPEG do so.
    """
    if found.across > SHARP:
        return None
    texture = noise_among_texture(part, found.variance)
    if texture is None:
        return None
    uneven = texture.kurtosis > STRONG and texture.variance < LEAST_BESIDE
    # of the greatest correlation there may well be more: no line smears so much, filters do
    return None if uneven or texture.correlation == CORRELATIONS[-1] else texture


def _widened(low: float, high: float, part: np.ndarray, floor: Floor) -> tuple[float, float]:
    """The range of a picture whose pattern is so fine that averaging four pixels has lost it."""
    if 2 * math.sqrt(floor.fine) < FINER * (high - low):
        return low, high
    margin = OUTER * math.sqrt(floor.mean_variance)
    darkest, brightest = np.quantile(part, (0.001, 0.999)) + np.array([margin, -margin])
    if brightest - darkest < NARROWED * (high - low):
        return low, high
    return min(low, float(darkest)), max(high, float(brightest))


def _shared_by_lines(down: float) -> float:
    """Correlation of the noise of neighbouring lines, by that of their second differences.

    For noise smoothed by a Gaussian, whose correlations fall as r, r^4, r^9.
    """
    r = np.linspace(0, 0.95, 96)
    second = (-4 + 7 * r - 4 * r**4 + r**9) / (6 - 8 * r + 2 * r**4)
    return float(np.interp(down, second, r))


def _range(image: np.ndarray, scale: float, black: float) -> tuple[float, float]:
    """Levels of the darkest and brightest thousandth of the image, reduced four times if it can."""
    step = max(1, min(image.shape) // 4096)  # of a huge image, some of the pixels
    some = np.ascontiguousarray(image[::step, ::step]).astype(np.float32)
    factor = 4 if min(some.shape) >= 16 or max(some.shape) >= 64 else 1
    size = tuple(max(1, length // factor) for length in some.shape[::-1])
    small = cv2.resize(some, size, interpolation=cv2.INTER_AREA)
    low, high = np.quantile((small - black) / scale, (0.001, 0.999))
    return float(low), float(high)


def _spread(image: np.ndarray) -> float:
    """Standard deviation of white noise, from the median second difference down the columns."""
    if min(image.shape) < 3:
        return 0.0
    second = image[:-2] - 2 * image[1:-1] + image[2:]
    return float(np.median(np.abs(second)) / 0.6745 / math.sqrt(6))
