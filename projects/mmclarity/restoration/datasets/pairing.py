"""A quick and a slow scan of one field brought onto the same pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..io.micrograph import SEMImage
from ..io.pairs import shared_parts
from ..ops.registration import MIN_CONFIDENCE, Registration, register

MOST_OTHER_PIXEL = 0.01  # by which the pixel sizes of one field may differ


@dataclass(frozen=True)
class Pair:
    """Two images of one field, cropped to what they share; both (H, W) float32, black 0, white 255.

    Attributes:
        low: of the quick scan, as it was recorded.
        high: of the slow scan, moved onto the quick one.
        rows, columns: of the quick scan's file, where ``low`` lies in it.
        found: how the slow scan was moved; None if it was not.
    """

    low: np.ndarray
    high: np.ndarray
    rows: slice
    columns: slice
    found: Registration | None = None


def levels(image: SEMImage) -> np.ndarray:
    """Grey levels 0..255, float32, of the picture itself."""
    return image.unit * np.float32(255)


def pair_up(low: SEMImage, high: SEMImage, move: bool = True, margin: int = 4) -> Pair:
    """Crops, registers and moves.

    The *high* image is moved onto the low one to a fraction of a pixel, drift included:
    interpolating the noisy one would smooth its noise and make the task easier than it is.

    Args:
        low: quick scan.
        high: slow scan.
        move: False leaves the images where they are.
        margin: pixels taken off all around a moved pair.

    Raises:
        ValueError: sizes or pixel sizes differ, or it is not one field of view.
    """
    low, high = shared_parts(low, high)
    img, gt = levels(low), levels(high)
    if img.shape != gt.shape:
        raise ValueError(
            f'{low.path} is {img.shape[1]} x {img.shape[0]} pixels and '
            f'{high.path} {gt.shape[1]} x {gt.shape[0]}: a pair has one size'
        )
    one, other = low.pixel_size, high.pixel_size
    if one and other and abs(one / other - 1) > MOST_OTHER_PIXEL:
        raise ValueError(
            f'{low.path} has pixels of {one:.3g} m, {high.path} of {other:.3g} m: '
            'not one field of view'
        )
    rows, columns = low.content
    if not move:
        return Pair(img, gt, rows, columns)
    found = register(img, gt)
    if found.confidence < MIN_CONFIDENCE:
        raise ValueError(
            f'{low.path} and {high.path} do not show one field of view: best correlation '
            f'{found.confidence:.2f} at a shift of {found.shift[0]:.1f}, {found.shift[1]:.1f} '
            f'pixels, {MIN_CONFIDENCE} is wanted; remove the pair, or, to train on pairs '
            'that were registered by hand, set register_pairs=False of the data set'
        )
    part = found.region(img.shape, margin)
    lines, pixels = (
        range(*whole.indices(length))[cut]
        for whole, cut, length in zip((rows, columns), part, low.pixels.shape)
    )
    return Pair(
        np.ascontiguousarray(img[part]),
        np.ascontiguousarray(np.clip(found.move(gt), 0, 255)[part]),
        slice(lines.start, lines.stop),
        slice(pixels.start, pixels.stop),
        found,
    )
