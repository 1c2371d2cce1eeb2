"""Electron micrographs in files: read the picture out of them, put a restored one back.

A micrograph file holds more than the picture: a data bar, a border, vendor tags with the pixel
size. :func:`read_sem` finds the picture among them; :func:`write_sem` replaces its grey values and
leaves every other byte of meaning alone, so that the microscope's own software still reads the
file. TIFF, PNG and BMP, 8 and 16 bit, and signed and 32 bit floating point (TIFF). JPEG and the
formats that RosettaSciIO knows are read too; their restorations are TIFF files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmclarity.utils.files import listing, replacing

from . import files, layout
from .annotations import coloured, fill
from .files import SEMImageError
from .foreign import SUFFIXES as FOREIGN
from .levels import check_values, ends
from .stored import ColourImageError
from .writing import check_writable, write_map, write_sem

SUFFIXES = ('.tif', '.tiff', '.png', '.bmp')  # of images that nothing has changed
READABLE = (*SUFFIXES, '.jpg', '.jpeg', '.webp', *FOREIGN)
_MOST_COLOURED = 0.25  # share of a picture: what has more is a coloured picture
_OF_A_STACK = (
    ' If these are pages of a stack, as Python programs write three or four, write them anew with '
    "tifffile.imwrite(..., photometric='minisblack')"
)


__all__ = [
    'SEMImage',
    'SEMImageError',
    'check_writable',
    'from_array',
    'list_images',
    'read_sem',
    'replacing',
    'write_map',
    'write_sem',
]


@dataclass
class SEMImage:
    """One micrograph.

    Attributes:
        pixels: (H, W) of the whole file, of its type, one channel.
        data_range: the value that means white: 255, 65535, or as given to :func:`read_sem`.
        pixel_size: metres per pixel, where the file tells.
        vendor: see :class:`.vendors.Metadata`.
        content: rows and columns of the picture itself, without data bar and border.
        path: the file, None for an image made in memory.
        cropped_by: 'metadata', 'detection' or 'nothing': what ``content`` rests on.
        lines: how many empty lines at the top, bottom, left and right are left out of ``content``.
        black: the value that means black.
        measured_range: black and white are the picture's darkest and brightest pixels.
        annotations: (h, w) bool, coloured pixels of the picture: there ``pixels`` are filled from
            around, and a copy keeps what the file shows. None where there are none.
        page, pages: number of the picture, from 0, and how many the file holds.
        lossy: its compression has changed grey values.
        sidecar: a text file of the microscope beside the image that tells of it.
        channel: the colour that was taken of a coloured picture, and stands for all in a copy.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.restoration import SEMImage
        >>> from mmclarity.restoration.io import from_array
        >>> micrograph = from_array(np.zeros((48, 64), np.uint8), pixel_size=5e-9)
        >>> isinstance(micrograph, SEMImage), micrograph.image.shape, micrograph.data_range
        (True, (48, 64), 255.0)
    """

    pixels: np.ndarray
    data_range: float
    pixel_size: float | None
    vendor: str | None
    content: tuple[slice, slice]
    path: Path | None
    cropped_by: str = 'nothing'
    black: float = 0.0
    measured_range: bool = False
    annotations: np.ndarray | None = None
    page: int = 0
    pages: int = 1
    lossy: bool = False
    sidecar: Path | None = None
    lines: layout.Lines = layout.NO_LINES
    channel: int | None = None

    @property
    def label(self) -> str:
        """The file, and which of its pictures, for messages to people."""
        if self.path is None:
            return 'the image'
        return (
            f'{self.path} (page {self.page + 1} of {self.pages})'
            if self.pages > 1
            else str(self.path)
        )

    def origin(self) -> str:
        """Maker, pixel size, and what is left out, in plain words; '' where nothing is known."""
        return layout.in_words(
            self.vendor, self.pixel_size, self.content, self.pixels.shape, self.lines
        )

    @property
    def image(self) -> np.ndarray:
        """The picture, a view of ``pixels``: (h, w), values 0 to ``data_range``."""
        return self.pixels[self.content]

    @property
    def unit(self) -> np.ndarray:
        """The picture as (h, w) float32 in [0, 1]."""
        if self.is_wide:
            levels = (self.image - np.float64(self.black)) / (self.data_range - self.black)
            return levels.astype(np.float32)
        levels = self.image.astype(np.float32)
        return (levels - np.float32(self.black)) / np.float32(self.data_range - self.black)

    @property
    def own_white(self) -> float | None:
        """What means white, where that is not the largest value that its type can hold."""
        kind = self.pixels.dtype
        if kind.kind in 'iu' and self.data_range == np.iinfo(kind).max:
            return None
        return float(self.data_range)

    @property
    def is_blank(self) -> bool:
        """Whether all pixels of the picture have one value, as with the beam off."""
        return bool(self.image.min() == self.image.max())

    @property
    def is_wide(self) -> bool:
        """Whether 32 bit floating point may not hold the pixels' values."""
        return self.pixels.dtype.name in ('int32', 'uint32', 'float64')


def list_images(
    folder: str | Path, suffixes: Sequence[str] = SUFFIXES, recursive: bool = False
) -> list[Path]:
    """The TIFF, PNG and BMP files of a folder, sorted by name, hidden ones left out.

    Args:
        folder: where to look.
        suffixes: endings to look for; ``READABLE`` for all that :func:`read_sem` reads.
        recursive: also in the folders below.

    Raises:
        FileNotFoundError: no such folder, or no such file in it.
        NotADirectoryError: ``folder`` is a file.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from mmclarity.restoration import list_images
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ('b.tif', 'a.PNG', '.hidden.tif', 'notes.txt'):
        ...         Path(folder, name).touch()
        ...     [path.name for path in list_images(folder)]
        ['a.PNG', 'b.tif']
    """
    found = listing(folder, suffixes, recursive)
    if not found:
        below = ', nor do the folders below' if recursive else _where_else(folder, suffixes)
        raise FileNotFoundError(f'{folder}: holds no images ({", ".join(suffixes)}){below}')
    return found


def _where_else(folder: str | Path, suffixes: Sequence[str]) -> str:
    """What to do about images that lie in folders below."""
    count = len(listing(folder, suffixes, recursive=True))
    return f'; {count} lie in folders below it: --recursive takes those' if count else ''


def read_sem(
    path: str | Path,
    *,
    data_range: float | str | None = None,
    crop: str = 'auto',
    channel: int | None = None,
    allow_black: bool = False,
    page: int | None = None,
    annotations: str = 'refuse',
) -> SEMImage:
    """Reads one micrograph.

    Args:
        path: TIFF, PNG, BMP or JPEG file, or one of a format of RosettaSciIO.
        data_range: the value that means white. By default 255 for 8 bit and 65535 for 16 bit;
            give 4095 for 12 bit data in a 16 bit file. Floating point and signed images need it;
            'measured' takes black and white from their darkest and brightest pixels.
        crop: 'auto' leaves data bar, border and empty lines at the edge out (the vendor's metadata,
            else detection, which crops only when sure); 'none' takes the whole file as picture.
        channel: which channel of a colour image to take; needed only where they differ.
        allow_black: accept a picture whose pixels are all 0.
        page: which picture of a file that holds several, counted from 0.
        annotations: 'keep' accepts a grey picture with coloured scale bars or texts in it, see
            :class:`SEMImage`; 'refuse' does not.

    Raises:
        FileNotFoundError: no such file.
        SEMImageError: unreadable, truncated, several pages without ``page``, colour without
            ``channel``, fewer than 8 bits, float without ``data_range``, values outside 0 to
            ``data_range``, NaN or Inf, or all black; the message names the file and the remedy.

    Examples:
        >>> import tempfile
        >>> import numpy as np
        >>> import tifffile
        >>> from mmclarity.restoration import read_sem
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tifffile.imwrite(f'{folder}/a.tif', np.full((48, 64), 90, np.uint16))
        ...     micrograph = read_sem(f'{folder}/a.tif', data_range=4095)
        >>> micrograph.image.shape, micrograph.image.dtype, micrograph.data_range
        ((48, 64), dtype('uint16'), 4095.0)
    """
    path = Path(path)
    _check_choices(crop, annotations)
    return as_image(
        files.load(path, page),
        data_range=data_range,
        crop=crop,
        channel=channel,
        allow_black=allow_black,
        annotations=annotations,
    )


def _check_choices(crop: str, annotations: str) -> None:
    if crop not in ('auto', 'none'):
        raise ValueError(f"crop must be 'auto' or 'none', not {crop!r}")
    if annotations not in ('keep', 'refuse'):
        raise ValueError(f"annotations must be 'keep' or 'refuse', not {annotations!r}")


def as_image(
    stored: files.Stored,
    *,
    data_range: float | str | None = None,
    crop: str = 'auto',
    channel: int | None = None,
    allow_black: bool = False,
    annotations: str = 'refuse',
    found: layout.Found | None = None,
) -> SEMImage:
    """The picture among what a file stores.

    Args:
        stored: what :func:`.files.load` read.
        data_range: see :func:`read_sem`, as for all that follow.
        crop: 'auto' or 'none'.
        channel: of a colour image.
        allow_black: accept a picture whose pixels are all 0.
        annotations: 'keep' or 'refuse'.
        found: where the picture is, where another page of the file has told it.
    """
    _check_choices(crop, annotations)
    path, values, metadata = stored.path, stored.values(), stored.metadata
    if found is None and crop == 'auto':
        found = layout.find_content(values, metadata)
    elif found is None:
        whole = slice(0, values.shape[0]), slice(0, values.shape[1])
        found = layout.Found(whole, 'nothing')
    content = found.content
    keep = annotations == 'keep' and channel is None
    drawn, touched = coloured(values[content], stored.lossy) if keep else (None, None)
    if touched is not None and touched.mean() > _MOST_COLOURED:
        drawn = touched = None  # a coloured picture
    pixels = _one_channel(stored, values, content, channel, touched)
    if touched is not None:
        pixels[content] = fill(pixels[content], touched)
    black, white, measured = ends(path, pixels[content], data_range)
    check_values(path, pixels[content], black, white, allow_black)
    return SEMImage(
        pixels,
        white,
        layout.pixel_size(metadata, values.shape[:2]),
        metadata.vendor,
        content,
        path,
        found.cropped_by,
        black,
        measured,
        drawn,
        stored.page,
        stored.pages,
        stored.lossy,
        stored.sidecar,
        found.lines,
        channel if values.shape[2] > 1 and _coloured(values[content]) else None,
    )


def _coloured(picture: np.ndarray) -> bool:
    return bool((picture[..., 1:] != picture[..., :1]).any())


def from_array(
    pixels: np.ndarray, data_range: float | str | None = None, *, pixel_size: float | None = None
) -> SEMImage:
    """An image made in memory, held to the rules of :func:`read_sem`.

    Args:
        pixels: (H, W) uint8, uint16 or float; all of it is picture.
        data_range: as in :func:`read_sem`.
        pixel_size: metres.

    Raises:
        SEMImageError: as :func:`read_sem`; a black image is accepted.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.restoration.io import from_array
        >>> micrograph = from_array(np.full((48, 64), 90, np.uint8))
        >>> micrograph.data_range, micrograph.content
        (255.0, (slice(0, 48, None), slice(0, 64, None)))
    """
    if isinstance(pixels, str | Path):
        raise SEMImageError(
            f'{pixels}: is the name of a file; read it with read_sem, or give it to restore_file'
        )
    pixels = np.asarray(pixels)
    if pixels.ndim != 2 or not pixels.size:
        raise SEMImageError(f'an image is (H, W) with at least one pixel, not {pixels.shape}')
    if pixels.dtype.kind == 'f':
        pixels = pixels.astype(np.float32, copy=False)
    elif pixels.dtype.name not in ('uint8', 'uint16', 'int16'):
        raise SEMImageError(
            f'pixels are uint8, uint16, int16 or float, not {pixels.dtype}; '
            'image.astype(np.float32) makes them so'
        )
    black, white, measured = ends('the image', pixels, data_range)
    check_values('the image', pixels, black, white, allow_black=True)
    whole = (slice(0, pixels.shape[0]), slice(0, pixels.shape[1]))
    return SEMImage(
        pixels,
        white,
        pixel_size,
        None,
        whole,
        None,
        black=black,
        measured_range=measured,
    )


def _one_channel(
    stored: files.Stored,
    values: np.ndarray,
    content: tuple[slice, slice],
    channel: int | None,
    marked: np.ndarray | None,
) -> np.ndarray:
    """(H, W) of (H, W, C), a copy; outside of ``marked`` the picture's channels must be equal."""
    path, count = stored.path, values.shape[2]
    if channel is not None and not 0 <= channel < count:
        raise SEMImageError(f'{path}: channel={channel}, but the file has {count} channel(s)')
    if channel is None and count > 1 and marked is None:
        picture = values[content]
        differ = (picture[..., 1:] != picture[..., :1]).any(axis=-1)
        if differ.any():
            row, column = (int(i[0]) for i in np.nonzero(differ))
            row, column = row + content[0].start, column + content[1].start
            raise ColourImageError(
                f'{path}: a colour image: its channels differ in {int(differ.sum())} pixels of '
                f'the picture, the first at row {row}, column {column}. Take one of them by '
                '--channel 0 (red), 1 (green) or 2 (blue), in Python channel=0, or save '
                'it in grey',
                count,
                _OF_A_STACK if stored.separate else '',
            )
    pixels = values[..., channel or 0]
    return pixels.copy() if marked is not None else np.ascontiguousarray(pixels)
