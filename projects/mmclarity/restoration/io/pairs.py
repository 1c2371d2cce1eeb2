"""Images of one field of view, whose borders and data bars may have been found differently."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from pathlib import Path

from .layout import MAX_BORDER, including, without
from .micrograph import SEMImage

__all__ = ['shared_name', 'shared_parts', 'with_lines_of']


def shared_name(path: Path) -> str:
    """What files of a pair are both called: the name without ending.

    macOS may have written an "ä" as two characters, "a" and its dots, in one of the folders.

    Examples:
        >>> import unicodedata
        >>> from pathlib import Path
        >>> names = [unicodedata.normalize(form, 'Präparat.tif') for form in ('NFC', 'NFD')]
        >>> len(set(names)), {shared_name(Path(name)) for name in names}
        (2, {'Präparat'})
    """
    return unicodedata.normalize('NFC', path.stem)


def shared_parts(low: SEMImage, high: SEMImage) -> tuple[SEMImage, SEMImage]:
    """Both images, their pictures cropped to what they share.

    Files of one width hold one frame from their first line on: what one side has cropped off is no
    picture in the other. Files of other widths, whose pictures differ by a border at most, are
    taken to share their middle; registration finds what is left. Pictures that differ by more come
    back as they are.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.restoration.io import from_array
        >>> from mmclarity.restoration.io import shared_parts
        >>> low, high = (from_array(np.zeros((48, 64), np.uint8)) for _ in range(2))
        >>> low, high = shared_parts(low, high)
        >>> low.image.shape == high.image.shape
        True
    """
    if low.pixels.shape[1] == high.pixels.shape[1]:
        rows, columns = (
            slice(max(a.start, b.start), min(a.stop, b.stop))
            for a, b in zip(low.content, high.content)
        )
        contents = [(rows, columns)] * 2
    else:
        shape = tuple(min(sides) for sides in zip(low.image.shape, high.image.shape))
        contents = [_middle(image, shape) for image in (low, high)]
    return tuple(
        replace(image, content=content, annotations=None)
        for image, content in zip((low, high), contents)
    )


def with_lines_of(first: SEMImage, scan: SEMImage) -> SEMImage:
    """A scan without the empty lines of the first one, and with all others.

    Scans that are laid on one another have one size, and what is a line of one value in one may
    hold a pixel of another in the next.

    Args:
        first: what the others are laid on.
        scan: comes back as it is where its file has another size.
    """
    if first.pixels.shape != scan.pixels.shape or first.lines == scan.lines:
        return scan
    content = without(including(scan.content, scan.lines), first.lines)
    return replace(scan, content=content, lines=first.lines, annotations=None)


def _middle(image: SEMImage, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns of the middle of a picture; all of it where a border does not explain it."""
    if max(ours - wanted for ours, wanted in zip(image.image.shape, shape)) > 2 * MAX_BORDER:
        return image.content
    rows, columns = (
        slice(part.start + (part.stop - part.start - wanted) // 2, part.stop)
        for part, wanted in zip(image.content, shape)
    )
    return (
        slice(rows.start, rows.start + shape[0]),
        slice(columns.start, columns.start + shape[1]),
    )
