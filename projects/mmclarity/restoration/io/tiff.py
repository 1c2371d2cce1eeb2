"""TIFF: samples in and out, every other byte as it was."""

from __future__ import annotations

import logging
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import tifffile

from mmclarity.errors import said

from .layout import (
    Metadata,
    parse_fei,
    parse_phenom,
    parse_tescan,
    parse_zeiss,
)
from .stored import SEMImageError, Stored

__all__ = ['check_rewritable', 'load', 'rewrite']

_TESCAN = 50431
_VENDORS = {
    34682: parse_fei,
    34680: parse_fei,
    34118: parse_zeiss,
    _TESCAN: parse_tescan,
}
_UNCOMPRESSED, _LZW, _DEFLATE, _PACKBITS = 1, 5, (8, 32946), 32773
_WRITTEN = (_UNCOMPRESSED, _LZW, *_DEFLATE, _PACKBITS)


@contextmanager
def _opened(path: Path, source: Path, mode: str = 'rb') -> Iterator[tifffile.TiffFile]:
    """A TIFF file; whatever goes wrong in it is one message that names ``source``.

    The decoders raise whatever they run into on damaged data, and tifffile logs dozens of lines
    beside it, which are not shown.
    """
    logger = logging.getLogger('tifffile')
    before, logger.disabled = logger.disabled, True
    try:
        with tifffile.TiffFile(path, mode=mode) as tiff:
            yield tiff
    except (SEMImageError, FileNotFoundError):
        raise
    except MemoryError as error:
        raise SEMImageError(
            f'{source}: can not be read as TIFF: its header asks for more memory than there is; '
            'it is damaged, or too large for this machine'
        ) from error
    except Exception as error:
        if mode != 'rb' and isinstance(error, OSError):
            raise  # of the disk that is written to
        packed = 'imagecodecs' in str(error) and 'requires' in str(error)
        hint = '; pip install imagecodecs reads this compression' if packed else ''
        raise SEMImageError(f'{source}: can not be read as TIFF: {said(error)}{hint}') from error
    finally:
        logger.disabled = before


def load(path: Path) -> Stored:
    """Reads one page of 8 or 16 bit unsigned or 32 bit floating point samples."""
    with _opened(path, path) as tiff:
        if len(tiff.pages) != 1:
            raise ValueError(f'{len(tiff.pages)} pages; save the one to restore on its own')
        page = tiff.pages[0]
        _check(page, path.stat().st_size)
        samples = page.asarray()
        metadata = _vendor(page)
        palette = None
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
            # 16 bit entries; what writers put there is v * 256 or v * 257
            palette = (np.asarray(page.colormap).T >> 8).astype(np.uint8)
        inverted = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
        planar = page.planarconfig == tifffile.PLANARCONFIG.SEPARATE
    if samples.ndim not in (2, 3) or not samples.size:
        raise SEMImageError(
            f'{path}: can not be read as TIFF: damaged: its pixels come as an array of shape '
            f'{samples.shape}; copy it again'
        )
    if samples.ndim == 2:
        samples = samples[..., None]
    elif planar:
        samples = np.moveaxis(samples, 0, -1)
    return Stored(
        path, 'TIFF', samples, 3 if samples.shape[2] >= 3 else 1, palette, inverted, metadata
    )


def _check(page: tifffile.TiffPage, size: int) -> None:
    """Refuses what would be misread; the caller adds the file's name."""
    bits = page.tags['BitsPerSample'].value if 'BitsPerSample' in page.tags else 1
    if len(page.shape) not in (2, 3) or page.samplesperpixel > 4 or page.imagedepth > 1:
        raise ValueError(f'shape {page.shape}; one plane of one to four samples is needed')
    if (
        page.dtype is None
        or page.dtype.name not in ('uint8', 'uint16', 'int16', 'float32')
        or set(np.atleast_1d(bits)) != {page.dtype.itemsize * 8}
    ):
        raise ValueError(
            f'{bits} bits per pixel, type {page.dtype}; save it as 8 or 16 bit '
            'unsigned, 16 bit signed, or 32 bit float'
        )
    known = (
        tifffile.PHOTOMETRIC.MINISBLACK,
        tifffile.PHOTOMETRIC.MINISWHITE,
        tifffile.PHOTOMETRIC.RGB,
        tifffile.PHOTOMETRIC.PALETTE,
    )
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
    for code, parse in _VENDORS.items():
        tag = page.tags.get(code)
        if tag is not None:
            raw = page.parent.filehandle
            raw.seek(tag.valueoffset)
            data = raw.read(tag.valuebytecount)
            # TESCAN's text follows a header that may hold zeros
            text = data if code == _TESCAN else data.split(b'\0')[0]
            return parse(text.decode('latin-1'))
    if '<OME' in page.description:
        return parse_phenom(page.description)
    return Metadata()


def check_rewritable(source: Path) -> None:
    """Refuses packings that :func:`rewrite` does not write."""
    with _opened(source, source) as tiff:
        page = tiff.pages[0]
        if page.predictor not in (1, 2) or page.compression not in _WRITTEN:
            raise SEMImageError(
                f'{source}: {page.compression.name} compression (predictor {page.predictor}) '
                'can not be written back without changing the rest of the image; save it '
                'uncompressed or with deflate'
            )
        if page.compression in (_LZW, _PACKBITS) and find_spec('imagecodecs') is None:
            raise SEMImageError(
                f'{source}: {page.compression.name} compression is written '
                'with a further package: pip install imagecodecs'
            )


def rewrite(source: Path, samples: np.ndarray, path: Path) -> None:
    """Copies the file, then puts new strips or tiles into the copy; no other tag is touched."""
    shutil.copyfile(source, path)
    with _opened(path, source, 'r+b') as tiff:
        page = tiff.pages[0]
        offsets, counts = list(page.dataoffsets), list(page.databytecounts)
        encoded = (_encode(page, segment) for segment in _segments(page, samples))
        file, moved = tiff.filehandle, False
        for i, data in enumerate(encoded):
            if len(data) > counts[i]:
                file.seek(0, 2)
                if file.tell() % 2:
                    file.write(b'\0')
                offsets[i] = file.tell()
                if offsets[i] + len(data) >= 2**32 and not tiff.is_bigtiff:
                    raise SEMImageError(
                        f'{source}: its copy would be larger than TIFF allows; save '
                        'it without compression first'
                    )
            else:
                file.seek(offsets[i])
            file.write(data)
            moved |= len(data) != counts[i]
            counts[i] = len(data)
        if moved:
            kind = 'Tile' if page.is_tiled else 'Strip'
            for name, value in ((f'{kind}Offsets', offsets), (f'{kind}ByteCounts', counts)):
                tag = page.tags[name]
                # 16 bit entries may be too small for what was moved
                tag.overwrite(tuple(value), dtype='Q' if tiff.is_bigtiff else 'I')


def _segments(page: tifffile.TiffPage, samples: np.ndarray):
    """The strips or tiles of (H, W, S) in file order, each (rows, columns, samples)."""
    height, width, count = samples.shape
    tiled = page.is_tiled
    rows = page.tilelength if tiled else min(page.rowsperstrip, height)
    columns = page.tilewidth if tiled else width
    planes = [samples]
    if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
        planes = [samples[..., i : i + 1] for i in range(count)]
    for plane in planes:
        for top in range(0, height, rows):
            for left in range(0, width, columns):
                segment = plane[top : top + rows, left : left + columns]
                if tiled:
                    segment = np.pad(
                        segment,
                        ((0, rows - segment.shape[0]), (0, columns - segment.shape[1]), (0, 0)),
                    )
                yield segment


def _encode(page: tifffile.TiffPage, segment: np.ndarray) -> bytes:
    """A segment as the file stores it: predictor, byte order, compression."""
    if page.predictor == 2:
        segment = np.diff(segment, axis=1, prepend=segment.dtype.type(0))  # wraps, as it should
    order = segment.dtype.newbyteorder(page.parent.byteorder)
    data = np.ascontiguousarray(segment, dtype=order).tobytes()
    if page.compression == _UNCOMPRESSED:
        return data
    if page.compression in _DEFLATE:
        return zlib.compress(data)
    import imagecodecs  # reading the file took it as well

    if page.compression == _LZW:
        return imagecodecs.lzw_encode(data)
    size = len(data) // segment.shape[0]  # PackBits may not run across rows
    return b''.join(
        imagecodecs.packbits_encode(data[i : i + size]) for i in range(0, len(data), size)
    )
