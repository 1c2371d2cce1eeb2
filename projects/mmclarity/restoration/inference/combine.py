"""Several scans of one field of view, registered and averaged before the restoration."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter

from mmclarity.errors import UsageError

from ..general.appraisal import appraise
from ..io.micrograph import SEMImage
from ..io.pairs import with_lines_of
from ..ops.registration import Registration, register, valid_region

__all__ = ['Combined', 'combine']

# Correlation of two noisy scans of one field, smoothed, is lower than that of a noisy and a clean
# one; scans of different fields stay below (see ops.registration).
_LEAST = 0.3
# Scans of one field were seen above 0.98 (noise of 30 % of white added), others up to 0.6 where the
# pictures are small (256 pixels), below 0.25 where they have 470.
_SURE = 0.75
_SMOOTHINGS = (2.0, 4.0)  # pixels; the second for scans in whose noise the first finds nothing
_LARGEST_SHIFT = 0.125  # of the shorter side
_LEVELS = 4.0  # pixels of smoothing where grey levels of two scans are compared


@dataclass(frozen=True)
class Combined:
    """What became of several scans.

    Attributes:
        image: the mean, (H, W) float32 on the scale of the first scan, whose data bar it has.
        shifts: where each further scan lay.
    """

    image: SEMImage
    shifts: list[Registration]


def combine(scans: Iterable[SEMImage], tell: Callable[[str], object] | None = None) -> Combined:
    """Averages scans of one field, moved onto the first one, drift included.

    The mean of n scans has 1 / n of the noise's variance, and the restorer measures what is left.
    Brightness and contrast of each are brought to those of the first. Pixels are moved whole: half
    a pixel of blur at most, where interpolation would make neighbours share their noise, which the
    restorer is not trained for. One scan at a time is in memory. Where a moved scan shows nothing
    (its edges), the others are averaged.

    Args:
        scans: pictures of one size; the first is the one that the others are moved onto.
        tell: called with lines of plain words.

    Raises:
        UsageError: fewer than two scans, other sizes, or one that shows another field of view.
    """
    first: SEMImage | None = None
    shifts: list[Registration] = []
    for scan in scans:
        if first is None:
            first, reference = scan, scan.unit
            total = reference.astype(np.float64)
            count = np.ones(total.shape, np.float32)
            continue
        scan = with_lines_of(first, scan)
        found = _registered(first, reference, scan)
        moved = found.move(_levelled(scan.unit, reference, found), order=0)
        part = found.region(moved.shape)
        total[part] += moved[part]
        count[part] += 1
        shifts.append(found)
    if first is None or not shifts:
        raise UsageError('one scan cannot be combined; name at least two of the same field')
    mean = np.clip(total / count, 0, 1)
    if tell is not None:
        farthest = max(float(np.hypot(*found.shift)) for found in shifts)
        noise = 100 * appraise(reference).sigma
        tell(
            f'{len(shifts) + 1} scans combined, moved by up to {farthest:.1f} pixels; one alone '
            f'has noise of {noise:.2g} % of the contrast'
        )
    span = first.data_range - first.black
    pixels = first.pixels.astype(np.float32)
    pixels[first.content] = (first.black + mean * span).astype(np.float32)
    # rounding must not leave the range that the picture is checked against
    pixels[first.content] = pixels[first.content].clip(first.black, first.data_range)
    return Combined(replace(first, pixels=pixels), shifts)


def _registered(first: SEMImage, reference: np.ndarray, scan: SEMImage) -> Registration:
    if scan.image.shape != first.image.shape:
        raise UsageError(
            f'{scan.label}: is {scan.image.shape[1]} x {scan.image.shape[0]} pixels, '
            f'{first.label} {first.image.shape[1]} x {first.image.shape[0]}: scans that are '
            'combined have one size'
        )
    farthest = max(32.0, _LARGEST_SHIFT * min(reference.shape))
    best: Registration | None = None
    try:
        for smooth in _SMOOTHINGS:
            found = register(reference, scan.unit, farthest, smooth)
            if best is None or found.confidence > best.confidence:
                best = found
            if best.confidence > 2 * _LEAST:
                break
    except ValueError as error:  # too small, or nothing to see
        raise UsageError(f'{scan.label}: cannot be laid on {first.label}: {error}') from error
    if best is None or best.confidence < _LEAST:
        raise UsageError(
            f'{scan.label}: does not show what {first.label} shows (best correlation '
            f'{best.confidence if best else 0:.2f}, {_LEAST} is needed); leave it out'
        )
    if best.confidence < _SURE:
        warnings.warn(
            f'{scan.label}: shows little of what {first.label} shows (correlation '
            f'{best.confidence:.2f}; scans of one field have more than {_SURE} as a rule). Is it '
            'of the same field? Else leave it out',
            stacklevel=3,
        )
    return best


def _levelled(picture: np.ndarray, reference: np.ndarray, found: Registration) -> np.ndarray:
    """The picture with the brightness and contrast of the reference, where both show the field."""
    rows, columns = (round(distance) for distance in found.shift)
    fixed = valid_region(picture.shape, (rows, columns))
    moving = tuple(
        slice(part.start - by, part.stop - by) for part, by in zip(fixed, (rows, columns))
    )
    ours, theirs = (
        gaussian_filter(image, _LEVELS)
        for image in (picture[moving].astype(np.float64), reference[fixed].astype(np.float64))
    )
    spread = float(ours.std())
    gain = float(theirs.std()) / spread if spread > 0 else 1.0
    if not 0.5 < gain < 2:
        gain = 1.0
    return (picture - ours.mean()) * gain + theirs.mean()
