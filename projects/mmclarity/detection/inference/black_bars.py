"""Black bars around a picture, as of a film: cut off, or the picture is judged too small."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ['inside_bars']

#: A line of a bar: its mean, and its brightest pixel, as JPEG leaves something of the picture in
#: the blocks beside it, up to so many pixels far; how even it is farther out.
DARK, GLOW, RIM, EVEN = 8, 80, 16, 6
#: A bar's least and all bars' largest share of a side, and by how many lines two opposite
#: ones may differ.
LEAST, MOST, UNEVEN = 0.02, 0.8, 4
#: Of every so many pixels of a line the mean is taken.
SOME = 8


class _Lines(NamedTuple):
    """Mean, brightest and darkest of each line."""

    mean: np.ndarray
    brightest: np.ndarray
    darkest: np.ndarray


def inside_bars(image: np.ndarray, cut: bool = True) -> tuple[slice, slice]:
    """Rows and columns of a picture without the black bars above and below, left and right of it.

    Bars are evenly black, stand on both sides, and are equally wide; a night's sky or a lens cap is
    no bar.

    Args:
        image: (H, W, 3), 8 bit.
        cut: False takes bars for a part of the picture.

    Returns:
        All rows and columns where there are no bars.

    Examples:
        >>> import numpy as np
        >>> film = np.zeros((480, 640, 3), np.uint8)
        >>> film[60:420] = 128
        >>> inside_bars(film)
        (slice(60, 420, None), slice(0, 640, None))
    """
    if not cut:
        return slice(0, image.shape[0]), slice(0, image.shape[1])
    rows = _inside(_lines(image, 1))
    return rows, _inside(_lines(image[rows], 0))


def _lines(image: np.ndarray, axis: int) -> _Lines:
    """Of each row (axis 1) or column (axis 0)."""
    flat = image.reshape(len(image), -1)
    # of some pixels: the mean of eight bits is what numpy is slow at
    mean = (flat[:, ::SOME] if axis else flat[::SOME]).mean(axis, dtype=np.float32)
    lines = _Lines(mean, flat.max(axis), flat.min(axis))
    if axis:
        return lines
    whole = (part.reshape(-1, 3) for part in lines)
    return _Lines(*(how(part, axis=1) for how, part in zip((np.mean, np.max, np.min), whole)))


def _inside(lines: _Lines) -> slice:
    count = len(lines.mean)
    whole = slice(0, count)
    picture = np.flatnonzero((lines.mean > DARK) | (lines.brightest > GLOW))
    if not len(picture):
        return whole
    first, end = int(picture[0]), int(picture[-1]) + 1
    widths = first, count - end
    wide = min(widths) >= max(1, LEAST * count)
    alike = abs(widths[0] - widths[1]) <= UNEVEN
    if not (wide and alike) or sum(widths) > MOST * count:
        return whole
    rims = [min(RIM, 3 * width // 4) for width in widths]
    for bar in (slice(0, first - rims[0]), slice(end + rims[1], count)):
        if int(lines.brightest[bar].max()) - int(lines.darkest[bar].min()) > EVEN:
            return whole
    return slice(first, end)
