"""Where the picture lies in a file: data bar, border, empty lines, and what the vendor says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from .vendors import Metadata

MAX_BORDER = 4  # pixels
_MIN_BAR, _MAX_BAR = 8, 0.25  # rows; share of the height
_FLAT, _LIVELY = 0.5, 0.35  # share of the commonest value in a row of a data bar, of a picture
_CONTRAST = 0.25  # of the range: text against its ground
_SILENT = (
    'JEOL',
    'Hitachi',
    'Fibics',
    'Zeiss',
)  # tell the size of the scan, not whether a bar is below it

# An empty line differs from the next one so many times as much as that from the one after it.
_LEAP = 3
_SIDES = ('top', 'bottom', 'left', 'right')

Content = tuple[slice, slice]
Lines = tuple[int, int, int, int]  # how many at the top, bottom, left and right
NO_LINES: Lines = (0, 0, 0, 0)


class Found(NamedTuple):
    """Where the picture is.

    Attributes:
        content: rows and columns.
        cropped_by: 'metadata', 'detection' or 'nothing': what they rest on.
        lines: empty lines among what is left out, see :func:`detect_lines`.
    """

    content: Content
    cropped_by: str
    lines: Lines = NO_LINES


def pixel_size(metadata: Metadata, shape: tuple[int, int]) -> float | None:
    """Metres per pixel; None where the file has been resampled since the tags were written."""
    if metadata.size is not None and metadata.size[1] != shape[1]:
        return None
    if metadata.pixel_size is None and metadata.field is not None:
        return metadata.field / shape[1]
    return metadata.pixel_size


def find_content(values: np.ndarray, metadata: Metadata) -> Found:
    """Rows and columns of the picture.

    Args:
        values: (H, W, C), C = 1 or 3.
        metadata: of the same file; used where it agrees with the size.
    """
    height, width = values.shape[:2]
    source, rows = 'nothing', height
    told = _told_rows(metadata, height, width)
    if told is not None and metadata.size is None and _runs_on(values, told):
        told = None  # the bar has been left out, or cut off
    if told is not None:
        rows, source = told, 'metadata'
    if told is None or (told == height and metadata.vendor in _SILENT):
        bar = detect_bar(values)
        if bar:
            rows, source = height - bar, 'detection'
    border = detect_border(values[:rows])
    content = slice(border, rows - border), slice(border, width - border)
    rests = detect_rests(values[content])
    content = without(content, rests)
    lines = detect_lines(values[content])
    if source == 'nothing' and (border or any(rests) or any(lines)):
        source = 'detection'
    return Found(without(content, lines), source, lines)


def has_bar_of(values: np.ndarray, found: Found) -> bool:
    """Whether (H, W, C) ends in a data bar of the height that was found elsewhere, or in none."""
    rest = values.shape[0] - including(found.content, found.lines)[0].stop  # with its border
    return abs(detect_bar(values) - rest) < 2 * MAX_BORDER


def without(content: Content, lines: Lines) -> Content:
    """Rows and columns with so many taken off at the top, bottom, left and right."""
    (rows, columns), (top, bottom, left, right) = content, lines
    return (
        slice(rows.start + top, rows.stop - bottom),
        slice(columns.start + left, columns.stop - right),
    )


def including(content: Content, lines: Lines) -> Content:
    """What :func:`without` has taken ``lines`` off."""
    top, bottom, left, right = lines
    return without(content, (-top, -bottom, -left, -right))


def _ends(values: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """The outermost lines of (H, W, C) at the top, bottom, left and right, from outside in."""
    turned = values.swapaxes(0, 1)
    for lines in (values, values[::-1], turned, turned[::-1]):
        yield lines[:count]


def _told_rows(metadata: Metadata, height: int, width: int) -> int | None:
    """Rows of the picture as the vendor tells them; None if it does not, or of another size."""
    if metadata.size is None:
        if metadata.bar and metadata.bar < height // 2:
            return height - metadata.bar
        return None
    rows, columns = metadata.size
    if columns != width:
        return None
    if height in (rows, rows + (metadata.bar or 0)):
        return rows
    if metadata.vendor in _SILENT and 0 < height - rows <= _MAX_BAR * height:
        return rows
    return None


def _runs_on(values: np.ndarray, row: int) -> bool:
    """Whether the picture goes on where a data bar of (H, W, C) is told to begin.

    The rows above and below the limit resemble each other as rows of a picture do, and what
    is below looks like no bar.
    """
    if row < 2 * MAX_BORDER or values.shape[0] - row < MAX_BORDER or values.shape[1] < 32:
        return False
    if np.median(_commonest(values[row:].max(axis=2))[1]) > _LIVELY:
        return False
    blocks = [values[at : at + MAX_BORDER] for at in (row - 2 * MAX_BORDER, row - MAX_BORDER, row)]
    means = [block.astype(np.float64).mean(axis=(0, 2)) for block in blocks]
    smooth = [np.convolve(line, np.ones(4) / 4, 'valid') for line in means]
    if min(np.ptp(line) for line in smooth) == 0:
        return False
    within, across = (float(np.corrcoef(a, b)[0, 1]) for a, b in zip(smooth, smooth[1:]))
    return across > 0.5 and across > 0.7 * within


def detect_lines(values: np.ndarray) -> Lines:
    """Empty lines that the scan or the frame grabber has left at some sides of (H, W, C).

    Returns:
        How many at the top, bottom, left and right, up to 4 each: outermost lines of which every
        pixel has the least value of the picture, where most of the next line is brighter. That
        line must also resemble the one after it more than the empty one: a picture may fade
        to black at its rim, or have its own dark ground there.
    """
    if min(values.shape[:2]) <= 4 * MAX_BORDER:
        return NO_LINES
    least = values.min()
    counts = []
    for lines in _ends(values, MAX_BORDER + 2):
        empty = (lines == least).all(axis=(1, 2))
        count = len(empty) if empty.all() else int(np.argmin(empty))
        if 0 < count <= MAX_BORDER:
            nearest, next_one = (line.astype(np.float64) for line in lines[count : count + 2])
            leap, step = nearest.mean() - float(least), nearest.mean() - next_one.mean()
            brighter = (nearest > least).any(axis=1).mean() > 0.5
            counts.append(count if brighter and leap > _LEAP * abs(step) else 0)
        else:
            counts.append(0)
    return counts[0], counts[1], counts[2], counts[3]


def detect_rests(values: np.ndarray) -> Lines:
    """Lines that a coloured frame has left on some sides of (H, W, C) only.

    Returns:
        How many at the top, bottom, left and right: outermost lines that are coloured in most of
        their pixels, up to 4.
    """
    if values.shape[2] == 1 or min(values.shape[:2]) <= 2 * MAX_BORDER:
        return NO_LINES
    counts = []
    for lines in _ends(values, MAX_BORDER):
        shares = (lines != lines[..., :1]).any(axis=2).mean(axis=1)
        coloured = shares > 0.5
        counts.append(len(coloured) if coloured.all() else int(np.argmin(coloured)))
    # a picture that is coloured all over has no frame
    return NO_LINES if MAX_BORDER in counts else (counts[0], counts[1], counts[2], counts[3])


def in_words(
    vendor: str | None,
    size: float | None,
    content: Content,
    shape: tuple[int, ...],
    lines: Lines = NO_LINES,
) -> str:
    """Maker, pixel size, and what of a file is no picture; '' where nothing is known."""
    words = [vendor] if vendor else []
    if size:
        words.append(f'pixels of {size * 1e9:.4g} nm')
    empty = [f'{side} {count}' for side, count in zip(_SIDES, lines) if count]
    content = including(content, lines)
    below = shape[0] - content[0].stop
    if below > MAX_BORDER:
        words.append(f'the data bar, {below} rows, stays as it is')
    elif (content[0].start, content[1].start, below, shape[1] - content[1].stop) != (0, 0, 0, 0):
        words.append('its border stays as it is')
    if empty:
        words.append(f'lines without picture at its edge stay as they are: {", ".join(empty)}')
    return '; '.join(words)


def detect_border(values: np.ndarray) -> int:
    """Width in pixels, 0 to 4, of a frame of one colour around (H, W, C).

    A coloured frame is one at sight. A grey one must be black or white and stand out from the line
    inside it on every side: a picture's own dark ground is no frame.
    """
    width, colours = 0, []
    while width < MAX_BORDER and min(values.shape[:2]) - 2 * (width + 1) >= 1:
        inner = values[width : values.shape[0] - width, width : values.shape[1] - width]
        sides = (inner[0], inner[-1], inner[:, 0], inner[:, -1])
        colour = inner[0, 0]
        if not all((side == colour).all() for side in sides):
            break
        colours.append(colour)
        width += 1
    while width and (colours[width - 1] == colours[width - 1][0]).all():
        outer = values[
            width - 1 : values.shape[0] - width + 1, width - 1 : values.shape[1] - width + 1
        ]
        if _stands_out(outer, float(colours[width - 1][0])):
            break
        width -= 1
    return width


def _stands_out(inner: np.ndarray, value: float) -> bool:
    if inner.dtype.kind == 'f' or min(inner.shape[:2]) < 3:
        return False
    top = float(np.iinfo(inner.dtype).max)
    if value not in (0.0, top):
        return False
    nearest = (inner[1, 1:-1], inner[-2, 1:-1], inner[1:-1, 1], inner[1:-1, -2])
    return all(
        (np.abs(line.astype(np.float64) - value) > top / 32).mean() > 0.5 for line in nearest
    )


def detect_bar(values: np.ndarray) -> int:
    """Rows of a data bar at the bottom of (H, W, C); 0 unless there is no doubt.

    Rows of a bar share one ground value (or a frame line) in most of their pixels, and the rest is
    text of strong contrast; the rows of the picture above it vary from pixel to pixel.
    """
    height = values.shape[0]
    if values.dtype.kind == 'f' or height < 4 * _MIN_BAR:
        return 0
    grey = values.max(axis=2)
    tallest = int(height * _MAX_BAR)
    tail = grey[height - tallest - _MIN_BAR :]
    modes, shares = _commonest(tail)
    line = _coloured_line(values[height - len(tail) :])  # of the picture's frame, not of the bar
    flat = (shares >= _FLAT) & ~line
    rows = len(tail) if flat.all() else int(np.argmin(flat[::-1]))
    if not _MIN_BAR <= rows <= tallest:
        return 0
    bar, over = tail[len(tail) - rows :], slice(len(tail) - rows - _MIN_BAR, len(tail) - rows)
    if (shares[over][~line[over]] > _LIVELY).any():
        return 0
    top = float(np.iinfo(values.dtype).max)
    ground = float(np.median(modes[len(tail) - rows :]))
    distance = np.abs(bar.astype(np.float64) - ground) / top
    text = float((distance > _CONTRAST).mean())
    between = float(((distance > 0.02) & (distance <= _CONTRAST)).mean())
    return rows if text < _FLAT and between <= 0.5 * text else 0


def _coloured_line(rows: np.ndarray) -> np.ndarray:
    """Which rows of (n, W, C) are of one colour that is not grey."""
    first = rows[:, :1]
    return (rows == first).all(axis=(1, 2)) & (first != first[..., :1]).any(axis=(1, 2))


def _commonest(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Commonest value of each row, and its share of the row."""
    modes, shares = np.empty(len(rows)), np.empty(len(rows))
    for i, row in enumerate(rows):
        found, counts = np.unique(row, return_counts=True)
        modes[i], shares[i] = found[counts.argmax()], counts.max() / len(row)
    return modes, shares
