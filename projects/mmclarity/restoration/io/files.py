"""Stored samples of image files, and copies of the files with other samples.

Copies of TIFF, PNG and BMP are made by patching: everything that is not a sample (tags, chunks,
headers) is copied byte for byte, because no library writes back every private tag that it can
read. Of other formats, TIFF files are made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import tifffile

from . import bmp, foreign, jpeg, png, tiff
from .layout import Content
from .sidecars import find_sidecar
from .stored import SEMImageError, Stored
from .tiff_write import rewriting

__all__ = [
    'OpenPictures',
    'SEMImageError',
    'Stored',
    'check_rewritable',
    'copy_suffix',
    'exceeds_tiff',
    'load',
    'open_pictures',
    'resolution_tags',
    'rewrite',
    'rewrite_pages',
]

_SUFFIXES = {'TIFF': ('.tif', '.tiff'), 'PNG': ('.png',), 'BMP': ('.bmp',)}
_PATCHED = {'PNG': png, 'BMP': bmp}
_TIFF_MAGIC = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')
_JPEG_MAGIC = b'\xff\xd8'
_ORIENTATION = 274
_MOST_OF_TIFF = 2**32 - 2**26  # bytes; the rest is for directories, and what deflate may add
_MOST_A_CENTIMETRE = 4e9  # of 32 bits
_WEBP_MAGIC = (b'RIFF', b'WEBP')


class OpenPictures(Protocol):
    """The pictures of an open file."""

    def __len__(self) -> int: ...

    def load(self, index: int) -> Stored:
        """Reads one of them."""

    def close(self) -> None:
        """Closes the file."""


class _One:
    """A file of one picture."""

    def __init__(self, read: Callable[[Path], Stored], path: Path) -> None:
        self.read, self.path = read, path

    def __len__(self) -> int:
        return 1

    def load(self, index: int) -> Stored:
        return self.read(self.path)

    def close(self) -> None:
        pass


class _WithSidecar:
    """Pictures whose vendor data may lie in a text file beside them."""

    def __init__(self, pictures: OpenPictures, path: Path) -> None:
        self.pictures, self.found = pictures, find_sidecar(path)
        self.channels = getattr(pictures, 'channels', 1)
        self.perhaps_unlike = getattr(pictures, 'perhaps_unlike', False)
        self.nbytes = getattr(pictures, 'nbytes', 0)

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def coloured(self) -> bool:
        return getattr(self.pictures, 'coloured', False)

    def load(self, index: int) -> Stored:
        stored = self.pictures.load(index)
        known = stored.metadata
        if self.found is None or known.bar or (known.size and known.pixel_size):
            return stored
        path, told = self.found
        height, width = stored.samples.shape[:2]
        if told.size is not None and (told.size[1] != width or told.size[0] > height):
            return stored  # of another image, or of this one before it was cut
        if known.vendor in ('ImageJ', 'OME') and _differ(known.pixel_size, told.pixel_size):
            return stored  # of this one before it was resampled
        return replace(stored, metadata=told, sidecar=path)

    def close(self) -> None:
        self.pictures.close()


def _differ(one: float | None, other: float | None) -> bool:
    """Whether two pixel sizes are known and differ by more than rounding."""
    return one is not None and other is not None and abs(one - other) > 0.02 * other


def _format(path: Path) -> str:
    """'TIFF', 'PNG', 'BMP', 'JPEG', 'WEBP' or 'foreign', by the first bytes."""
    if path.is_dir():
        raise SEMImageError(f'{path}: is a folder; an image file is needed')
    if not path.exists():
        raise FileNotFoundError(f'{path}: no such file')
    with path.open('rb') as file:
        magic = file.read(12)
    if magic[:4] in _TIFF_MAGIC:
        return 'TIFF'
    if magic[:8] == png.MAGIC:
        return 'PNG'
    if magic[:2] == b'BM':
        return 'BMP'
    if magic[:2] == _JPEG_MAGIC:
        return 'JPEG'
    if (magic[:4], magic[8:]) == _WEBP_MAGIC:
        return 'WEBP'
    if foreign.is_foreign(path):
        return 'foreign'
    what = 'an empty file' if not magic else 'not a TIFF, PNG or BMP file, or a damaged one'
    raise SEMImageError(f'{path}: {what}; export it again from the microscope')


@contextmanager
def open_pictures(path: Path) -> Iterator[OpenPictures]:
    """Opens a file, whose first bytes tell the format; its pictures are read one at a time.

    Raises:
        FileNotFoundError: no such file.
        SEMImageError: not one of the formats, damaged, or stored in a way that is not supported.
    """
    kind = _format(path)
    pictures: OpenPictures
    if kind == 'TIFF':
        pictures = tiff.TiffPictures(path)
    elif kind == 'foreign':
        pictures = foreign.ForeignPictures(path)
    else:
        pictures = _One({'PNG': png, 'BMP': bmp, 'JPEG': jpeg, 'WEBP': jpeg}[kind].load, path)
    try:
        yield _WithSidecar(pictures, path)
    finally:
        pictures.close()


def load(path: Path, page: int | None = None) -> Stored:
    """Reads one picture of a file; see :func:`open_pictures`.

    Args:
        path: the file.
        page: which of its pictures; None for the only one.
    """
    with open_pictures(path) as pictures:
        count = len(pictures)
        if page is None and count != 1:
            raise SEMImageError(
                f'{path}: {count} pages; choose one with page=0 to page={count - 1}, or save the '
                'one to use on its own'
            )
        if not 0 <= (page or 0) < count:
            raise SEMImageError(f'{path}: has no page {page}; it has {count}, counted from 0')
        return pictures.load(page or 0)


def copy_suffix(path: Path) -> str:
    """Ending of a copy: the file's own, or that of its format where the file has another.

    It is ``.tif`` where the format cannot be written back.
    """
    endings = _SUFFIXES.get(_format(path), _SUFFIXES['TIFF'])
    return path.suffix if path.suffix.lower() in endings else endings[0]


def check_rewritable(source: Path, suffix: str) -> None:
    """Refuses the ending of another format than the copy will have."""
    form = _format(source)
    if form in _SUFFIXES and suffix.lower() not in _SUFFIXES[form]:
        raise SEMImageError(
            f'{source} is a {form} file, so the restored one must be too, not '
            f'"{suffix}": other formats would lose its tags'
        )
    if form not in _SUFFIXES and suffix.lower() not in _SUFFIXES['TIFF']:
        reason = 'would change grey values again' if form in jpeg.FORMATS else 'cannot be written'
        raise SEMImageError(
            f'{source}: its restoration is written as TIFF; "{suffix}" {reason}. Use .tif'
        )


def rewrite(
    stored: Stored,
    grey: np.ndarray,
    content: Content,
    path: Path,
    name: str,
    kept: np.ndarray | None = None,
) -> None:
    """Copies the file of ``stored`` to ``path`` with ``grey`` (h, w) at ``content``.

    Args:
        stored: from :func:`load`.
        grey: values of the type of ``stored.values()``.
        content: rows and columns to replace.
        path: is overwritten.
        name: final name of the copy; its ending must belong to the format.
        kept: (h, w) bool, pixels of the content that stay as they are.
    """
    with rewrite_pages(stored.path, path, name) as put:
        put(stored, grey, content, kept)


@contextmanager
def rewrite_pages(source: Path, path: Path, name: str) -> Iterator[Callable[..., None]]:
    """Copies a file, and gives what replaces its pictures one by one.

    Yields:
        ``put(stored, grey, content, kept=None)``, see :func:`rewrite`.
    """
    check_rewritable(source, Path(name).suffix)
    form = _format(source)
    if form == 'TIFF':
        with rewriting(source, path, name) as replace_samples:
            yield lambda stored, *change: replace_samples(stored.page, stored.replaced(*change))
    elif form in _PATCHED:
        yield lambda stored, *change: _PATCHED[form].rewrite(source, stored.replaced(*change), path)
    else:
        with open_pictures(source) as pictures:
            large = exceeds_tiff(pictures.nbytes) if form == 'foreign' else False
        with tifffile.TiffWriter(path, bigtiff=large) as writer:

            def put(stored: Stored, *change: object) -> None:
                samples = stored.replaced(*change)
                coloured = samples.shape[2] >= 3
                turned = [(_ORIENTATION, 'H', 1, stored.orientation, True)]
                writer.write(
                    samples if coloured else samples[..., 0],
                    photometric='rgb' if coloured else 'minisblack',
                    compression='zlib',
                    contiguous=False,
                    metadata=None,
                    extratags=turned if stored.orientation != 1 else [],
                    **resolution_tags(stored.metadata.pixel_size, stored.metadata.pixel_height),
                )

            yield put


def exceeds_tiff(count: int) -> bool:
    """Whether so many bytes of pixels need BigTIFF, which not every program reads."""
    return count > _MOST_OF_TIFF


def resolution_tags(
    pixel_size: float | None, pixel_height: float | None = None
) -> dict[str, object]:
    """Arguments of ``tifffile.imwrite``; TIFF has no unit finer than the centimetre.

    Args:
        pixel_size: metres; finer ones than 2.5 pm cannot be told.
        pixel_height: metres, where it is another.
    """
    sizes = (pixel_size, pixel_height or pixel_size)
    if pixel_size is None or any(0.01 / size > _MOST_A_CENTIMETRE for size in sizes):
        return {}
    return {'resolution': tuple(0.01 / size for size in sizes), 'resolutionunit': 'CENTIMETER'}
