"""Coloured scale bars, arrows and texts that a program has drawn into a grey picture."""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ['coloured', 'fill']

# Of 255: what JPEG makes of the colours of an edge spreads over its blocks of 8 pixels.
_LOSSY_TOLERANCE, _LOSSY_MARGIN = 12, 1


def coloured(values: np.ndarray, lossy: bool = False) -> np.ndarray | None:
    """The coloured pixels of a picture.

    Args:
        values: (h, w, C), C = 1 or 3.
        lossy: from JPEG: differences of a few levels are no colour, and colours have bled into
            their neighbours.

    Returns:
        (h, w) bool, or None where no pixel is coloured.
    """
    if values.shape[2] == 1 or not values.size:
        return None
    if not lossy:
        marked = (values[..., 1:] != values[..., :1]).any(axis=2)
    else:
        tolerance = _LOSSY_TOLERANCE * (np.iinfo(values.dtype).max / 255)
        marked = values.max(axis=2).astype(np.int64) - values.min(axis=2) > tolerance
        side = 2 * _LOSSY_MARGIN + 1
        marked = cv2.dilate(marked.astype(np.uint8), np.ones((side, side), np.uint8)) > 0
    return marked if marked.any() else None


def fill(picture: np.ndarray, marked: np.ndarray) -> np.ndarray:
    """Replaces marked pixels by their surroundings, so that the rest is restored as without them.

    Small scales first: a pixel gets the mean of the unmarked ones around it, in the smallest
    neighbourhood that is not all marked.

    Args:
        picture: (h, w), any type.
        marked: (h, w) bool.

    Returns:
        A copy; the picture itself where all of it is marked.
    """
    if marked.all():
        return picture
    known = (~marked).astype(np.float32)
    filled = np.where(marked, 0, picture).astype(np.float32)
    levels = [(filled, known)]
    while (known == 0).any() and min(known.shape) > 1:  # a pyramid of weighted means
        size = (-(-known.shape[1] // 2), -(-known.shape[0] // 2))
        weight = cv2.resize(known, size, interpolation=cv2.INTER_AREA)
        total = cv2.resize(filled * known, size, interpolation=cv2.INTER_AREA)
        filled = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
        known = weight
        levels.append((filled, known))
    coarse = levels[-1][0]
    for filled, known in levels[-2::-1]:
        size = (known.shape[1], known.shape[0])
        coarse = np.where(known > 0, filled, cv2.resize(coarse, size))
    result = picture.copy()
    values = coarse[marked]
    result[marked] = np.rint(values) if picture.dtype.kind in 'ui' else values
    return result
