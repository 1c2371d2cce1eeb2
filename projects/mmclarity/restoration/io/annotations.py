"""Coloured scale bars, arrows and texts that a program has drawn into a grey picture."""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ['coloured', 'fill']

# Of 255, JPEG only: below the first a difference of channels is rounding, above the second it is a
# mark that somebody drew, and between them its colour has bled over the blocks of 8 pixels.
_ROUNDING, _DRAWN = 12, 48


def coloured(
    values: np.ndarray, lossy: bool = False
) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
    """The coloured pixels of a picture.

    Args:
        values: (h, w, C), C = 1 or 3.
        lossy: from JPEG, whose colours bleed into their neighbours.

    Returns:
        (h, w) bool: marks, and all that they have coloured; None twice where no pixel is.
    """
    if values.shape[2] == 1 or not values.size:
        return None, None
    if not lossy:
        marked = (values[..., 1:] != values[..., :1]).any(axis=2)
        return (marked, marked) if marked.any() else (None, None)
    spread = values.max(axis=2).astype(np.float64) - values.min(axis=2)
    spread *= 255 / np.iinfo(values.dtype).max
    drawn, touched = (_widened(spread > level) for level in (_DRAWN, _ROUNDING))
    return (drawn, touched) if touched.any() else (None, None)


def _widened(marked: np.ndarray) -> np.ndarray:
    """One pixel more on every side."""
    return cv2.dilate(marked.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0


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
