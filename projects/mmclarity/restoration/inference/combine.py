"""Several scans of one field of view, registered and averaged before the restoration."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter

from mmclarity.errors import UsageError

from ..general.appraisal import LEAST_SIGMA
from ..general.appraising import appraise
from ..io.micrograph import SEMImage
from ..io.pairs import with_lines_of
from ..ops.registration import Registration, register, valid_region

if TYPE_CHECKING:
    from ..io.stack import SEMStack

__all__ = ['Combined', 'check_pages', 'combine']

# Correlation of two noisy scans of one field, smoothed, is lower than that of a noisy and a clean
# one; scans of different fields stay below (see ops.registration).
_LEAST = 0.3
# Scans of one field were seen above 0.98 (noise of 30 % of white added), others up to 0.6 where the
# pictures are small (256 pixels), below 0.25 where they have 470.
_SURE = 0.75
_CLEAR = 0.9  # nothing but noise differs
_SMOOTHINGS = (2.0, 4.0)  # pixels; the second for scans in whose noise the first finds nothing
_LARGEST_SHIFT = 0.125  # of the shorter side
_LEVELS = 4.0  # pixels of smoothing where grey levels of two scans are compared
_CONTRASTS = 2.0  # factor between the contrasts of two scans that is worth a word
_SIZES = 0.02  # share by which pixel sizes may differ: some makers round them
_NOISES = 1.25  # factor between the noises of two scans from which on they do not count alike
# Of the noise that two scans should differ by: what differs by less is a copy of the other, stored
# anew. JPEGs of quality 75 of real quick scans differ by 0.28 at most, scans of a rough surface,
# part of whose grain is taken for noise, by 0.62 at least.
_COPIED = 0.4


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
    Brightness and contrast of each are brought to those of the first; one with more noise than
    another counts for less, a copy of another not at all. Pixels are moved whole: half
    a pixel of blur at most, where interpolation would make neighbours share their noise, which the
    restorer is not trained for. One scan at a time is in memory. Where a moved scan shows nothing
    (its edges), the others are averaged.

    Args:
        scans: pictures of one size; the first is the one that the others are moved onto.
        tell: called with lines of plain words.

    Raises:
        UsageError: fewer than two scans, other sizes or magnifications, or one that shows another
            field of view.
    """
    first: SEMImage | None = None
    shifts: list[Registration] = []
    seen: dict[bytes, str] = {}
    for scan in scans:
        digest = _digest(scan)
        if digest in seen:
            warnings.warn(f'{scan.label}: is a copy of {seen[digest]}, left out', stacklevel=2)
            continue
        seen[digest] = scan.label
        if first is None:
            first, reference = scan, scan.unit
            total = reference.astype(np.float64)
            count = np.ones(total.shape, np.float32)
            continue
        scan = with_lines_of(first, scan)
        found = _registered(first, reference, scan)
        levelled = _levelled(first, scan, reference, found, tell)
        moved = found.move(levelled, order=0)
        part = found.region(moved.shape)
        weight = _weight(reference, levelled, found.confidence)
        total[part] += weight * moved[part]
        count[part] += weight
        shifts.append(found)
        if _is_copy(reference, moved, found):
            warnings.warn(
                f'{scan.label}: has the noise of {first.label}: a copy of it, stored anew? Then '
                'leave it out; it makes nothing better',
                stacklevel=2,
            )
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


def check_pages(stack: SEMStack) -> None:
    """Whether the pages of a file can be scans of one field.

    Raises:
        UsageError: they are of several detectors, which show one field differently.
    """
    if len(stack) > 1 and stack.channels > 1:
        raise UsageError(
            f'{stack.path}: its pages are of {stack.channels} channels (detectors), which are no '
            'scans of the same picture; save one of them as a file of its own (Fiji: Image > '
            'Color > Split Channels)'
        )
    if len(stack) > 1 and stack.perhaps_unlike:
        warnings.warn(
            f'{stack.path}: its pages are slices at several depths or channels, which are no scans '
            'of the same picture, unless the program that wrote them called scans so',
            stacklevel=3,
        )


def _digest(scan: SEMImage) -> bytes:
    """Of the picture's levels: equal for one picture in files of several kinds."""
    return hashlib.sha256(np.ascontiguousarray(scan.unit)).digest()


def _registered(first: SEMImage, reference: np.ndarray, scan: SEMImage) -> Registration:
    if scan.image.shape != first.image.shape:
        raise UsageError(
            f'{scan.label}: is {scan.image.shape[1]} x {scan.image.shape[0]} pixels, '
            f'{first.label} {first.image.shape[1]} x {first.image.shape[0]}: scans that are '
            'combined have one size'
        )
    sizes = first.pixel_size, scan.pixel_size
    if None not in sizes and abs(sizes[0] - sizes[1]) > _SIZES * sizes[0]:
        raise UsageError(
            f'{scan.label}: has pixels of {sizes[1] * 1e9:.4g} nm, {first.label} of '
            f'{sizes[0] * 1e9:.4g} nm: scans that are combined have one magnification'
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
            f'{scan.label}: does not show what {first.label} shows (best correlation within '
            f'{farthest:.0f} pixels {best.confidence if best else 0:.2f}, {_LEAST} is needed); '
            'leave it out'
        )
    if best.confidence < _SURE:
        warnings.warn(
            f'{scan.label}: shows little of what {first.label} shows (correlation '
            f'{best.confidence:.2f}; scans of one field have more than {_SURE} as a rule). Is it '
            'of the same field? Else leave it out',
            stacklevel=3,
        )
    return best


def _levelled(
    first: SEMImage,
    scan: SEMImage,
    reference: np.ndarray,
    found: Registration,
    tell: Callable[[str], object] | None,
) -> np.ndarray:
    """A scan with the brightness and contrast of the reference, where both show the field."""
    picture = scan.unit
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
    if not 1 / _CONTRASTS < gain < _CONTRASTS:
        if found.confidence < _SURE:  # of something else, perhaps
            gain = 1.0
        elif tell is not None:
            tell(
                f'{scan.label}: has {1 / gain:.2g} of the contrast of {first.label}, and is '
                'brought to it'
            )
    return (picture - ours.mean()) * gain + theirs.mean()


def _weight(reference: np.ndarray, levelled: np.ndarray, confidence: float) -> float:
    """How much a scan counts against the first one: less where it has more noise.

    Scans alike count alike, as far as the steps between their lines tell; one that fits badly, so
    that its contrast is not sure, counts for no more than the first.
    """
    ours, theirs = (float(np.abs(np.diff(image, axis=0)).mean()) for image in (levelled, reference))
    if 1 / _NOISES < ours / max(theirs, 1e-9) < _NOISES:
        return 1.0
    noises = [_noise(image) for image in (levelled, reference)]
    most = 1.0 if confidence < _CLEAR else 1e3
    return float(np.clip((noises[1] / noises[0]) ** 2, 1e-3, most))


def _noise(picture: np.ndarray) -> float:
    """Standard deviation of the noise, in the units of the picture."""
    low, high = float(picture.min()), float(picture.max())
    like = appraise(((picture - low) / (high - low)).astype(np.float32))
    return max(like.sigma * (like.high - like.low) * (high - low), 1e-4)


def _is_copy(reference: np.ndarray, moved: np.ndarray, found: Registration) -> bool:
    """Whether a scan differs from the first one by less than their noise."""
    if max(map(abs, (*found.shift, *found.drift))) > 0.05:
        return False
    like = appraise(reference)
    noise = like.sigma * (like.high - like.low)
    differing = 1.4826 * float(np.median(np.abs(moved - reference)))
    return like.sigma > LEAST_SIGMA and differing < _COPIED * np.sqrt(2) * noise
