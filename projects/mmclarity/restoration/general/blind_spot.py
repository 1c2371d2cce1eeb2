"""Noisy images as their own teachers: blind spots as long as the noise is smeared.

A network that must say a pixel's value without having seen it can only say what its surroundings
tell: the signal (Krull et al., Noise2Void, CVPR 2019). Noise of a scanning microscope is shared by
neighbours along the line, so that the pixel's line segment is hidden with it (Broaddus et al.,
structN2V, ISBI 2020). What is put there comes from a neighbouring line, a segment as a whole: so it
is noise of the same kind.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from ..degradation.measure import LAGS, measure_noise
from ..io.micrograph import SEMImage
from .appraisal import Appraisal
from .appraising import WINDOW, appraise

__all__ = ['Batch', 'NoisyField', 'blinded', 'draw_batch', 'noisy_field']

# Correlations below this are taken for none.
SHARED = 0.06
# Correlation of neighbouring lines from which lines above and below are hidden too.
LINES_SHARED = 0.15
# Hidden pixels of a patch lie this far apart, beyond the segments' own size.
SPACING = 6
# Share of places that are even enough to compare a line with its neighbour.
EVEN = 0.7
# Lines further away than this are no neighbours.
REACH = 4


@dataclass(frozen=True)
class NoisyField:
    """One field of view in the network's grey levels.

    Attributes:
        levels: (H, W) float32.
        like: what was measured.
        along, across: pixels on each side of a hidden pixel that are hidden with it, along the scan
            line and across it.
        scans: other scans of the field, registered, (H, W) float32 each, NaN where they saw
            nothing.
        truth: a clean image of the field, likewise, where there is one.
        turned: the image's scan lines run along its columns; here they run along rows.
        name: for messages.
    """

    levels: np.ndarray
    like: Appraisal
    along: int
    across: int
    scans: tuple[np.ndarray, ...] = ()
    truth: np.ndarray | None = None
    turned: bool = False
    name: str = 'the image'


@dataclass
class Batch:
    """Patches; (N, S, S) float32 each.

    Attributes:
        shown: what the network gets.
        target: what it is asked for.
        asked: (N, S, S) bool, where it is asked.
        noise: (N, 3), what the network is told.
    """

    shown: np.ndarray
    target: np.ndarray
    asked: np.ndarray
    noise: np.ndarray = field(repr=False)


def noisy_field(image: SEMImage) -> NoisyField:
    """Measures an image and brings it to the network's grey levels, its scan lines along rows."""
    span = image.data_range - image.black
    like = appraise(image.image, span, image.black)
    levels = image.unit * np.float32(like.gain) + np.float32(like.offset)
    turned = like.upright
    if turned:
        levels, like = levels.T, replace(like, upright=False)
    along = _smeared(levels)
    across = 0 if like.across < LINES_SHARED else 1 if like.across < 0.5 else 2
    name = str(image.path or 'the image')
    return NoisyField(np.ascontiguousarray(levels), like, along, across, turned=turned, name=name)


def _smeared(levels: np.ndarray) -> int:
    """Pixels over which noise is shared along the line; 0 for white noise."""
    top, left = (max(0, (length - WINDOW) // 2) for length in levels.shape)
    part = levels[top : top + WINDOW, left : left + WINDOW]
    if min(part.shape) < 48 or np.ptp(part) == 0:
        return 1
    shared = measure_noise(part.astype(np.float64) * 255).correlation > SHARED
    lag = int(np.argmin(shared)) if not shared.all() else LAGS + 3  # further than was measured
    return lag


def blinded(
    levels: np.ndarray,
    along: int,
    across: int,
    rng: np.random.Generator,
    signal: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Hides pixels, each with its segment of the line.

    Args:
        levels: (H, W), larger than the segments.
        along: see :class:`NoisyField`.
        across: see :class:`NoisyField`.
        rng: places, and which neighbouring line fills them.
        signal: (H, W), roughly the levels without noise. Segments are then moved to the levels of
            where they come to, and middles where that is far are not asked.

    Returns:
        The levels with segments replaced, and (H, W) bool: the middle of each.
    """
    height, width = levels.shape
    rows, columns = 2 * across + SPACING, 2 * along + SPACING
    y = np.arange(rng.integers(rows), height, rows)
    x = np.arange(rng.integers(columns), width, columns)
    y, x = (places.ravel() for places in np.meshgrid(y, x, indexing='ij'))
    y = np.clip(y + rng.integers(-1, 2, y.size), 0, height - 1)
    x = np.clip(x + rng.integers(-2, 3, x.size), 0, width - 1)
    away = rng.integers(2 * across + 1, 2 * across + REACH, y.size) * rng.choice([-1, 1], y.size)
    away = np.where((y + away < across) | (y + away >= height - across), -away, away)
    aside = rng.integers(-1, 2, x.size)
    down, right = (
        offsets.ravel() for offsets in np.mgrid[-across : across + 1, -along : along + 1]
    )
    at_y, at_x = y[:, None] + down, x[:, None] + right
    inside = (at_y >= 0) & (at_y < height) & (at_x >= 0) & (at_x < width)
    from_y = np.clip(at_y + away[:, None], 0, height - 1)
    from_x = np.clip(at_x + aside[:, None], 0, width - 1)
    shown = levels.copy()
    filling = levels[from_y, from_x]
    asked = np.zeros(levels.shape, bool)
    asked[y, x] = True
    if signal is not None:
        rise = signal[np.where(inside, at_y, 0), np.where(inside, at_x, 0)] - signal[from_y, from_x]
        filling = filling + rise
        far = np.abs(rise[:, rise.shape[1] // 2])
        asked[y, x] = far <= np.quantile(far, EVEN)
    shown[at_y[inside], at_x[inside]] = filling[inside]
    return shown, asked


def draw_batch(fields: list[NoisyField], count: int, size: int, rng: np.random.Generator) -> Batch:
    """Patches of noisy fields: another scan as target where there is one, else blind spots.

    Args:
        fields: at least one.
        count: of patches.
        size: of patches in pixels; smaller fields are mirrored.
        rng: where all of it comes from.
    """
    drawn = [_draw(fields[rng.integers(len(fields))], size, rng) for _ in range(count)]
    return Batch(*(np.stack(part) for part in zip(*drawn)))


def _draw(
    source: NoisyField, size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    missing = [max(0, size - length) for length in source.levels.shape]
    top, left = (rng.integers(max(1, length - size + 1)) for length in source.levels.shape)
    window = (slice(top, top + size), slice(left, left + size))
    # The noise's line stays the line: no quarter turns.
    flips = tuple(axis for axis in (0, 1) if rng.integers(2))

    def cut(image: np.ndarray) -> np.ndarray:
        part = image[window]
        if any(missing):
            part = np.pad(part, [(0, missing[0]), (0, missing[1])], mode='symmetric')
        return np.ascontiguousarray(np.flip(part, flips))

    noise = np.array(source.like.told(), np.float32)
    if not source.scans:
        target = cut(source.levels)
        shown, asked = blinded(target, source.along, source.across, rng)
        return shown, target, asked, noise
    seen = np.stack([cut(scan) for scan in (source.levels, *source.scans)])
    one = rng.integers(len(seen))
    others = np.delete(seen, one, 0)
    known = np.isfinite(others)
    count = known.sum(0)
    target = np.where(known, others, 0).sum(0) / np.maximum(count, 1)
    shown = seen[one]
    asked = (count > 0) & np.isfinite(shown)
    shown = np.where(np.isfinite(shown), shown, target)
    return shown.astype(np.float32), target.astype(np.float32), asked, noise
