"""TIFF: the pictures of a file, their samples, and what the vendor's tags tell."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import tifffile

from mmclarity.errors import said

from . import ome, vendors
from .stored import SEMImageError, Stored
from .vendors import Metadata

__all__ = ['Place', 'TiffPictures', 'explained', 'pictures']

_TESCAN, _DESCRIPTION, _EXIF, _MAKER_NOTE = 50431, 270, 34665, 37500
_VENDORS = {
    34682: vendors.parse_fei,
    34680: vendors.parse_fei,
    34683: vendors.parse_feixml,
    34118: vendors.parse_zeiss,
    _TESCAN: vendors.parse_tescan,
    51023: vendors.parse_fibics,
    _MAKER_NOTE: vendors.parse_jeol,
}
_UNCOMPRESSED, _JPEG = 1, (6, 7)
_REDUCED, _MASK = 1, 4
_TYPES = ('uint8', 'int8', 'uint16', 'int16', 'uint32', 'int32', 'float32', 'float64')


@contextmanager
def explained(source: Path, written: bool = False) -> Iterator[None]:
    """Whatever goes wrong in a TIFF file is one message that names ``source``.

    The decoders raise whatever they run into on damaged data, and tifffile logs dozens of lines
    beside it, which are not shown. ``written``: errors of the disk pass as they are.
    """
    logger = logging.getLogger('tifffile')
    before, logger.disabled = logger.disabled, True
    try:
        yield
    except (SEMImageError, FileNotFoundError):
        raise
    except MemoryError as error:
        raise SEMImageError(
            f'{source}: can not be read as TIFF: its header asks for more memory than there is; '
            'it is damaged, or too large for this machine'
        ) from error
    except Exception as error:
        if written and isinstance(error, OSError):
            raise  # of the disk that is written to
        packed = 'imagecodecs' in str(error) and 'requires' in str(error)
        hint = '; pip install imagecodecs reads this compression' if packed else ''
        raise SEMImageError(f'{source}: can not be read as TIFF: {said(error)}{hint}') from error
    finally:
        logger.disabled = before


@dataclass(frozen=True)
class Place:
    """Where a picture of a file lies.

    Attributes:
        page: number of its directory.
        plane: how many pictures come before it in the same run of bytes: ImageJ describes large
            stacks by their first picture only.
    """

    page: int
    plane: int = 0


def pictures(tiff: tifffile.TiffFile) -> list[Place]:
    """The pictures of a file in their order, without thumbnails and masks."""
    count = len(tiff.pages)
    if not count:
        raise ValueError('truncated: it ends before its first page; copy it again')
    _check_chain(tiff, count)
    if count == 1 and (planes := _planes(tiff)) > 1:
        page = tiff.pages[0]
        end = page.dataoffsets[0] + planes * page.nbytes
        if end <= tiff.filehandle.size:
            return [Place(0, plane) for plane in range(planes)]
        raise ValueError(
            f'truncated: {planes} pictures should end at byte {end}, the file has '
            f'{tiff.filehandle.size}; copy it again'
        )
    places = [
        Place(i) for i in range(count) if not int(tiff.pages[i].subfiletype) & (_REDUCED | _MASK)
    ]
    for place in places or [Place(0)]:
        _check_below(tiff.pages[place.page])
    return places or [Place(0)]


def _check_below(page: tifffile.TiffPage) -> None:
    """Refuses a file whose pictures lie below a thumbnail, or below one another."""
    for below in page.pages if page.subifds else ():
        smaller = below.imagewidth <= page.imagewidth and below.imagelength <= page.imagelength
        same = (below.imagewidth, below.imagelength) == (page.imagewidth, page.imagelength)
        if not smaller or (same and not int(below.subfiletype) & _REDUCED):
            raise ValueError(
                'pictures lie below others in it (SubIFDs), which are no smaller copies; save them '
                'as the pages of a stack'
            )


def _planes(tiff: tifffile.TiffFile) -> int:
    """Pictures behind the only directory of a file: ImageJ and others describe the first only."""
    page = tiff.pages[0]
    if page.compression != _UNCOMPRESSED or not page.nbytes:
        return 1
    if tiff.is_imagej:
        return int((tiff.imagej_metadata or {}).get('images', 1))
    shaped = (tiff.shaped_metadata or ({},))[0] if tiff.is_shaped else {}
    if shaped.get('truncated'):
        return int(np.prod(shaped['shape'])) // int(np.prod(page.shape))
    if tiff.is_stk or tiff.is_nih:
        return int(np.prod(tiff.series[0].shape)) // int(np.prod(page.shape))
    return 1


def _check_chain(tiff: tifffile.TiffFile, count: int) -> None:
    """Refuses a file whose last directory tells of another one beyond its end.

    tifffile takes that for the end of the chain, and the pages that are missing for none.
    """
    layout, last, file = tiff.tiff, tiff.pages[count - 1], tiff.filehandle
    file.seek(last.offset)
    (tags,) = struct.unpack(layout.tagnoformat, file.read(layout.tagnosize))
    file.seek(last.offset + layout.tagnosize + tags * layout.tagsize)
    data = file.read(layout.offsetsize)
    following = struct.unpack(layout.offsetformat, data)[0] if len(data) == layout.offsetsize else 0
    if following >= file.size:
        raise ValueError(
            f'truncated: page {count + 1} should begin at byte {following}, the file has '
            f'{file.size}; copy it again'
        )


class TiffPictures:
    """The pictures of an open file, read one at a time.

    Args:
        path: the file.

    Raises:
        SEMImageError: it cannot be read as TIFF.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with explained(path):
            self._tiff = tifffile.TiffFile(path)
            try:
                self.places = pictures(self._tiff)
            except BaseException:
                self._tiff.close()
                raise

    def __len__(self) -> int:
        return len(self.places)

    @property
    def channels(self) -> int:
        """How many channels (detectors) the pictures are of, as ImageJ and OME tell."""
        return self._axes[0]

    @property
    def perhaps_unlike(self) -> bool:
        """Whether they are called slices or channels, as some programs call scans."""
        return self._axes[1]

    @cached_property
    def _axes(self) -> tuple[int, bool]:
        with explained(self.path):
            if self._tiff.is_ome:
                text = _text(self._tiff.pages[0], _DESCRIPTION)
                return ome.axes_ome(text, self.path.name)
            told = (self._tiff.imagej_metadata or {}) if self._tiff.is_imagej else {}
            channels = int(told.get('channels', 1))
            # without a spacing, slices are what ImageJ calls the pages of any stack
            deep = int(told.get('slices', 1)) > 1 and 'spacing' in told
            # grey channels and nothing else are what tifffile makes of a stack without axes
            grey = channels == len(self) and told.get('mode') in (None, 'grayscale')
            return (1, channels > 1) if grey else (channels, deep)

    @cached_property
    def coloured(self) -> bool:
        """Whether some of the pictures are stored in colours."""
        with explained(self.path):
            return any(self._tiff.pages[place.page].samplesperpixel > 2 for place in self.places)

    def close(self) -> None:
        """Closes the file."""
        self._tiff.close()

    def load(self, index: int) -> Stored:
        """Reads one picture of whole numbers of 8 to 32 bit, or floating point of 32 or 64."""
        place = self.places[index]
        with explained(self.path):
            page = self._tiff.pages[place.page]
            _check(page, self._tiff.filehandle.size)
            samples = _samples(page, place)
            palette, separate = None, page.planarconfig == tifffile.PLANARCONFIG.SEPARATE
            if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
                palette = _palette(page)
            if samples.ndim not in (2, 3) or not samples.size:
                raise ValueError(
                    f'damaged: its pixels come as an array of shape {samples.shape}; copy it again'
                )
            if samples.ndim == 2:
                samples = samples[..., None]
            elif separate:
                samples = np.moveaxis(samples, 0, -1)
            colours = 3 if samples.shape[2] >= 3 else 1
            _check_channels(page, samples, colours)
            return Stored(
                self.path,
                'TIFF',
                samples,
                colours,
                palette,
                page.photometric == tifffile.PHOTOMETRIC.MINISWHITE,
                _vendor(page),
                index,
                len(self),
                lossy=page.compression in _JPEG,
                separate=separate and samples.shape[2] > 2,
            )


def _check_channels(page: tifffile.TiffPage, samples: np.ndarray, colours: int) -> None:
    """Refuses detectors side by side in one page: one would be restored, and stand for all.

    Grey with transparency is told by its tag; where the tag is silent, a second channel of one
    value is taken for it.
    """
    if page.photometric not in (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.MINISWHITE):
        return
    count = samples.shape[2] - any(kind in (1, 2) for kind in page.extrasamples)
    others = samples[..., colours:count]
    differ = (samples[..., 1:colours] != samples[..., :1]).any()
    if differ or (others.size and np.ptp(others) > 0 and (others != samples[..., :1]).any()):
        raise ValueError(
            f'{count} channels side by side in one page, which are no colours; save them as the '
            'pages of a stack'
        )


def _palette(page: tifffile.TiffPage) -> np.ndarray:
    """(n, 3) uint8 of 16 bit entries: v * 256 or v * 257; some writers put v itself there."""
    entries = np.asarray(page.colormap).T
    return (entries if entries.max() < 256 else entries >> 8).astype(np.uint8)


def _samples(page: tifffile.TiffPage, place: Place) -> np.ndarray:
    if not place.plane:
        return page.asarray()
    file = page.parent.filehandle
    file.seek(page.dataoffsets[0] + place.plane * page.nbytes)
    order = page.dtype.newbyteorder(page.parent.byteorder)
    data = np.frombuffer(file.read(page.nbytes), order)
    return data.astype(page.dtype).reshape(page.shape)


def _check(page: tifffile.TiffPage, size: int) -> None:
    """Refuses what would be misread; the caller adds the file's name."""
    bits = page.tags['BitsPerSample'].value if 'BitsPerSample' in page.tags else 1
    if len(page.shape) not in (2, 3) or page.samplesperpixel > 4 or page.imagedepth > 1:
        raise ValueError(f'shape {page.shape}; one plane of one to four samples is needed')
    if (
        page.dtype is None
        or page.dtype.name not in _TYPES
        or set(np.atleast_1d(bits)) != {page.dtype.itemsize * 8}
    ):
        raise ValueError(
            f'{bits} bits per pixel, type {page.dtype}; save it as 8 or 16 bit '
            'unsigned, 16 bit signed, or 32 bit float'
        )
    known = [
        tifffile.PHOTOMETRIC.MINISBLACK,
        tifffile.PHOTOMETRIC.MINISWHITE,
        tifffile.PHOTOMETRIC.RGB,
        tifffile.PHOTOMETRIC.PALETTE,
    ]
    if page.compression in _JPEG:  # its decoder makes red, green and blue of these
        known.append(tifffile.PHOTOMETRIC.YCBCR)
    if page.photometric not in known:
        raise ValueError(f'its colours are stored as {page.photometric!r}; save it in grey')
    if page.dtype.kind in 'fi' and page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        raise ValueError('floating point or signed with 0 as white; save it with 0 as black')
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE and page.dtype.name != 'uint8':
        raise ValueError('a palette of more than 8 bits; save it in grey')
    if page.fillorder != 1:
        raise ValueError('its bits are stored in reverse; save it again with another program')
    ends = [start + count for start, count in zip(page.dataoffsets, page.databytecounts)]
    if not ends or 0 in page.databytecounts:
        raise ValueError('damaged: pixel data is missing')
    if max(ends) > size:
        raise ValueError(
            f'truncated: pixel data should end at byte {max(ends)}, the file has '
            f'{size}; copy it again'
        )
    if page.compression == _UNCOMPRESSED and sum(page.databytecounts) < page.nbytes:
        raise ValueError(
            f'damaged: {sum(page.databytecounts)} bytes of pixels, {page.nbytes} needed'
        )


def _vendor(page: tifffile.TiffPage) -> Metadata:
    """What the tags tell: those of vendors, then the description, then the resolution."""
    first = page.parent.pages[0] if page.index else page  # of a stack, often the first one's only
    for source in (page, first) if first is not page else (page,):
        for code, parse in _VENDORS.items():
            text = _text(source, code)
            metadata = parse(text) if text else Metadata()
            if metadata.vendor is not None:
                return metadata
        found = _described(source, page)
        if found.vendor is not None:
            return found
    return Metadata(pixel_size=_resolution(page))


def _described(source: tifffile.TiffPage, page: tifffile.TiffPage) -> Metadata:
    """What the description of ``source`` tells of ``page``."""
    text = _text(source, _DESCRIPTION)
    if '<OME' in text or ':OME ' in text:
        return ome.parse_ome(text, page.index, page.imagewidth)
    if text.startswith('ImageJ='):
        return vendors.parse_imagej(text, _per_unit(source))
    if '$CM_' in text:
        return vendors.parse_jeol(text)
    return vendors.parse_fibsem(text) if text.lstrip().startswith('{') else Metadata()


def _text(page: tifffile.TiffPage, code: int) -> str:
    """A tag's bytes as text; '' if the tag is not there."""
    tag = page.tags.get(code)
    if tag is None:
        exif = page.tags.get(_EXIF) if code == _MAKER_NOTE else None
        value = exif.value.get('MakerNote') if exif and isinstance(exif.value, dict) else None
        return bytes(value).decode('latin-1') if isinstance(value, bytes) else value or ''
    file = page.parent.filehandle
    file.seek(tag.valueoffset)
    data = file.read(tag.valuebytecount)
    if wide := _of_two_bytes(data):
        return data.decode(wide, 'replace').split('\0')[0].removeprefix('\ufeff')
    # what TESCAN and JEOL write may follow a header that holds zeros
    data = data if code in (_TESCAN, _MAKER_NOTE) else data.split(b'\0')[0]
    try:
        return data.decode('utf-8-sig')
    except UnicodeDecodeError:
        return data.decode('latin-1')


def _of_two_bytes(data: bytes) -> str | None:
    """The encoding of a text of which every other byte is zero: UTF-16 of a western text."""
    first, second = (data[i:64:2].replace(b'\0', b'') for i in (0, 1))
    if data[:2] in (b'\xff\xfe', b'\xfe\xff'):
        return 'utf-16'
    if len(data) >= 8 and len(first) > 2 and not second:
        return 'utf-16-le'
    return 'utf-16-be' if len(data) >= 8 and len(second) > 2 and not first else None


def _per_unit(page: tifffile.TiffPage) -> float | None:
    """Pixels per unit of the tag XResolution."""
    tag = page.tags.get('XResolution')
    try:
        above, below = tag.value
        return above / below or None
    except (AttributeError, TypeError, ValueError, ZeroDivisionError):
        return None


def _resolution(page: tifffile.TiffPage) -> float | None:
    """Metres per pixel of the tags; None where they are those of a print or a screen."""
    unit = {2: 0.0254, 3: 0.01}.get(int(page.tags.valueof('ResolutionUnit', default=1)))
    per = _per_unit(page)
    size = unit / per if unit and per else None
    return size if size is not None and vendors.FINEST <= size < vendors.FINEST_PRINT else None
