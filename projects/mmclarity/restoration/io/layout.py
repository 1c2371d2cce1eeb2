"""Where the picture lies in a micrograph file: vendor metadata, data bar and border."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

_METRES = {'m': 1.0, 'mm': 1e-3, 'um': 1e-6, 'nm': 1e-9, 'pm': 1e-12}
_MAX_BORDER = 4  # pixels
_MIN_BAR, _MAX_BAR = 8, 0.25  # rows; share of the height
_FLAT, _LIVELY = 0.5, 0.35  # share of the commonest value in a row of a data bar, of a picture
_CONTRAST = 0.25  # of the range: text against its ground

Content = tuple[slice, slice]


@dataclass(frozen=True)
class Metadata:
    """What a vendor's tags tell.

    Attributes:
        vendor: 'FEI', 'Zeiss', 'TESCAN', 'Phenom', 'OME' or None.
        size: rows and columns of the picture, without the data bar.
        bar: rows of the data bar.
        pixel_size: metres.
    """

    vendor: str | None = None
    size: tuple[int, int] | None = None
    bar: int | None = None
    pixel_size: float | None = None


def parse_fei(text: str) -> Metadata:
    """Reads the tags 34680 and 34682 of FEI and Thermo Fisher: sections of ``key=value``."""
    sections: dict[str, dict[str, str]] = {}
    section: dict[str, str] = {}
    for line in text.splitlines():
        line = line.strip()
        if line.startswith('[') and line.endswith(']'):
            section = sections.setdefault(line[1:-1], {})
        elif '=' in line:
            key, _, value = line.partition('=')
            section[key.strip()] = value.strip()
    image, scan = sections.get('Image', {}), sections.get('Scan', {})
    rows, columns = _whole(image.get('ResolutionY')), _whole(image.get('ResolutionX'))
    width = _number(scan.get('PixelWidth'))
    if width is None:
        # [Scan] is a copy of the section that [Beam] names; some versions leave the copy out
        name = sections.get('Beam', {}).get('Scan', 'EScan')
        width = _number(sections.get(name, {}).get('PixelWidth'))
    return Metadata(
        'FEI',
        (rows, columns) if rows and columns else None,
        _whole(sections.get('PrivateFei', {}).get('DatabarHeight')),
        width,
    )


def parse_zeiss(text: str) -> Metadata:
    """Reads the tag 34118 of Zeiss: a name in capitals, then a line such as ``Pixel Size = 5 nm``.

    It does not tell the height of the data bar.
    """
    lines = [line.strip() for line in text.splitlines()]
    for wanted in ('AP_IMAGE_PIXEL_SIZE', 'AP_PIXEL_SIZE'):
        for name, line in zip(lines, lines[1:]):
            if name == wanted and '=' in line:
                value, _, unit = line.partition('=')[2].strip().partition(' ')
                unit = unit.strip().replace('\xb5', 'u').replace('\u03bc', 'u')
                size = _number(value)
                if size is not None and unit in _METRES:
                    return Metadata('Zeiss', pixel_size=size * _METRES[unit])
    return Metadata('Zeiss')


def parse_tescan(text: str) -> Metadata:
    """Reads the tag 50431 of TESCAN: sections of ``key=value``, after some bytes of a header.

    The picture may have been cut to any size: ``ImageStripSize`` tells the data bar's rows only.
    """
    values = dict(re.findall(r'^\s*(\w+)\s*=\s*(.*?)\s*$', text, re.MULTILINE))
    return Metadata(
        'TESCAN',
        bar=_whole(values.get('ImageStripSize')),
        pixel_size=_number(values.get('PixelSizeX')),
    )


def parse_phenom(text: str) -> Metadata:
    """Reads OME-XML: ``PhysicalSizeX`` in micrometres, or in its ``PhysicalSizeXUnit``."""
    size = re.search(r'\bPhysicalSizeX="([^"]+)"', text)
    unit = re.search(r'\bPhysicalSizeXUnit="([^"]+)"', text)
    name = (unit.group(1) if unit else 'um').replace('\xb5', 'u').replace('\u03bc', 'u')
    value = _number(size.group(1)) if size else None
    known = value is not None and name in _METRES
    vendor = 'Phenom' if 'phenom' in text.lower() else 'OME'
    return Metadata(vendor, pixel_size=value * _METRES[name] if known else None)


def _number(text: str | None) -> float | None:
    """A positive finite number, or None."""
    try:
        value = float(text or '')
    except ValueError:
        return None
    return value if np.isfinite(value) and value > 0 else None


def _whole(text: str | None) -> int | None:
    """A whole number >= 0, or None."""
    return int(text) if text and text.isdecimal() else None


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
    source = 'nothing'
    rows = height
    if (
        metadata.size is not None
        and metadata.size[1] == width
        and height in (metadata.size[0], metadata.size[0] + (metadata.bar or 0))
    ):
        rows, source = metadata.size[0], 'metadata'
    elif metadata.size is None and metadata.bar and metadata.bar < height // 2:
        rows, source = height - metadata.bar, 'metadata'
    else:
        bar = detect_bar(values)
        if bar:
            rows, source = height - bar, 'detection'
    border = detect_border(values[:rows])
    if border and source == 'nothing':
        source = 'detection'
    return (slice(border, rows - border), slice(border, width - border)), source


def detect_border(values: np.ndarray) -> int:
    """Width in pixels, 0 to 4, of a frame of one colour around (H, W, C).

    A coloured frame is one at sight. A grey one must be black or white and stand out from the line
    inside it on every side: a picture's own dark ground is no frame.
    """
    width, colours = 0, []
    while width < _MAX_BORDER and min(values.shape[:2]) - 2 * (width + 1) >= 1:
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
