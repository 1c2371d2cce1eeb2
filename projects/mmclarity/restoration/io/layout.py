"""Where the picture lies in a micrograph file: data bar, border, and what the vendor says."""

from __future__ import annotations

import numpy as np

from .vendors import Metadata

MAX_BORDER = 4  # pixels
_MIN_BAR, _MAX_BAR = 8, 0.25  # rows; share of the height
_FLAT, _LIVELY = 0.5, 0.35  # share of the commonest value in a row of a data bar, of a picture
_CONTRAST = 0.25  # of the range: text against its ground
_SILENT = ('JEOL', 'Hitachi', 'Fibics')  # tell the size of the scan, not whether a bar is below it

Content = tuple[slice, slice]


def pixel_size(metadata: Metadata, shape: tuple[int, int]) -> float | None:
    """Metres per pixel; None where the file has been resampled since the tags were written."""
    if metadata.size is not None and metadata.size[1] != shape[1]:
        return None
    return metadata.pixel_size


def find_content(values: np.ndarray, metadata: Metadata) -> tuple[Content, str]:
    """Rows and columns of the picture.

    Args:
        values: (H, W, C), C = 1 or 3.
        metadata: of the same file; used where it agrees with the size.

    Returns:
        The slices, and 'metadata', 'detection' or 'nothing': what they rest on.
    """
    height, width = values.shape[:2]
    source, rows = 'nothing', height
    told = _told_rows(metadata, height, width)
    if told is not None:
        rows, source = told, 'metadata'
    if told is None or (told == height and metadata.vendor in _SILENT):
        bar = detect_bar(values)
        if bar:
            rows, source = height - bar, 'detection'
    border = detect_border(values[:rows])
    inner = values[border : rows - border, border : width - border]
    top, bottom, left, right = detect_rests(inner)
    if (border or any((top, bottom, left, right))) and source == 'nothing':
        source = 'detection'
    return (
        slice(border + top, rows - border - bottom),
        slice(border + left, width - border - right),
    ), source


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


def detect_rests(values: np.ndarray) -> tuple[int, int, int, int]:
    """Lines that a coloured frame has left on some sides of (H, W, C) only.

    Returns:
        How many at the top, bottom, left and right: outermost lines that are coloured in most of
        their pixels, up to 4.
    """
    if values.shape[2] == 1 or min(values.shape[:2]) <= 2 * MAX_BORDER:
        return 0, 0, 0, 0
    ends = (
        values[:MAX_BORDER],
        values[: -MAX_BORDER - 1 : -1],
        values[:, :MAX_BORDER].swapaxes(0, 1),
        values[:, : -MAX_BORDER - 1 : -1].swapaxes(0, 1),
    )
    counts = []
    for lines in ends:
        shares = (lines != lines[..., :1]).any(axis=2).mean(axis=1)
        coloured = shares > 0.5
        counts.append(len(coloured) if coloured.all() else int(np.argmin(coloured)))
    # a picture that is coloured all over has no frame
    return (0, 0, 0, 0) if MAX_BORDER in counts else (counts[0], counts[1], counts[2], counts[3])


def in_words(
    vendor: str | None, size: float | None, content: Content, shape: tuple[int, ...]
) -> str:
    """Maker, pixel size, and what of a file is no picture; '' where nothing is known."""
    words = [vendor] if vendor else []
    if size:
        words.append(f'pixels of {size * 1e9:.4g} nm')
    below = shape[0] - content[0].stop
    if below > MAX_BORDER:
        words.append(f'the data bar, {below} rows, stays as it is')
    elif (content[0].start, content[1].start, below, shape[1] - content[1].stop) != (0, 0, 0, 0):
        words.append('its border stays as it is')
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
