"""Stored samples of TIFF, PNG and BMP files, and copies of the files with other samples.

Copies are made by patching: everything that is not a sample (tags, chunks, headers) is copied
byte for byte, because no library writes back every private tag that it can read.
"""

from __future__ import annotations

import shutil
import struct
import zlib
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import tifffile
from PIL import Image

from .layout import Content, Metadata, parse_fei, parse_zeiss

_FORMATS = {'.tif': 'TIFF', '.tiff': 'TIFF', '.png': 'PNG', '.bmp': 'BMP'}
_PNG_MAGIC = b'\x89PNG\r\n\x1a\n'
_FEI_TAGS, _ZEISS_TAG = (34682, 34680), 34118
_UNCOMPRESSED, _LZW, _DEFLATE, _PACKBITS = 1, 5, (8, 32946), 32773
_WRITTEN = (_UNCOMPRESSED, _LZW, *_DEFLATE, _PACKBITS)


class SEMImageError(ValueError):
    """An image that can not be used; the message names the file and the remedy."""


@dataclass
class Stored:
    """What a file stores.

    Attributes:
        path: the file.
        format: 'TIFF', 'PNG' or 'BMP'.
        samples: (H, W, S) as stored; S = 1 or 3, one more with transparency. With ``palette``
            they are indices.
        colours: how many of the S are colours, 1 or 3.
        palette: (n, 3) uint8, or None.
        inverted: 0 is white.
        metadata: what the vendor's tags tell.
    """

    path: Path
    format: str
    samples: np.ndarray
    colours: int
    palette: np.ndarray | None = None
    inverted: bool = False
    metadata: Metadata = field(default_factory=Metadata)

    def values(self) -> np.ndarray:
        """(H, W, C) grey values or colours, C = 1 or 3, 0 is black; a view where possible."""
        if self.palette is not None:
            if int(self.samples.max()) >= len(self.palette):
                raise SEMImageError(f'{self.path}: damaged: pixels point outside the palette')
            if (self.palette == self.palette[:, :1]).all():
                return self.palette[:, 0][self.samples]
            return self.palette[self.samples[..., 0]]
        values = self.samples[..., : self.colours]
        return np.iinfo(values.dtype).max - values if self.inverted else values

    def replaced(self, grey: np.ndarray, content: Content) -> np.ndarray:
        """A copy of ``samples`` with the (h, w) values ``grey`` at ``content``."""
        samples = self.samples.copy()
        if self.palette is not None:
            greys = np.flatnonzero((self.palette == self.palette[:, :1]).all(axis=1))
            if len(greys) < 2:
                raise SEMImageError(f'{self.path}: its palette has no grey scale; save it in grey')
            wanted = np.arange(256)[:, None] - self.palette[greys, 0].astype(int)[None]
            grey = greys[np.abs(wanted).argmin(axis=1)].astype(samples.dtype)[grey]
        elif self.inverted:
            grey = np.iinfo(samples.dtype).max - grey
        samples[content][..., : self.colours] = grey[..., None]
        return samples


def load(path: Path) -> Stored:
    """Reads a file, whose first bytes tell the format.

    Raises:
        FileNotFoundError: no such file.
        SEMImageError: not one of the formats, damaged, or stored in a way that is not supported.
    """
    if path.is_dir():
        raise SEMImageError(f'{path}: is a folder; an image file is needed')
    if not path.exists():
        raise FileNotFoundError(f'{path}: no such file')
    with path.open('rb') as file:
        magic = file.read(8)
    if magic[:4] in (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+'):
        return _load_tiff(path)
    if magic == _PNG_MAGIC:
        return _load_png(path)
    if magic[:2] == b'BM':
        return _load_bmp(path)
    if magic[:2] == b'\xff\xd8':
        raise SEMImageError(
            f'{path}: JPEG changes the grey values it stores; export the image as TIFF or PNG'
        )
    what = 'an empty file' if not magic else 'not a TIFF, PNG or BMP file, or a damaged one'
    raise SEMImageError(f'{path}: {what}; export it again from the microscope')


def rewrite(stored: Stored, grey: np.ndarray, content: Content, path: Path, suffix: str) -> None:
    """Copies the file of ``stored`` to ``path`` with ``grey`` (h, w) at ``content``.

    Args:
        stored: from :func:`load`.
        grey: values of the type of ``stored.values()``.
        content: rows and columns to replace.
        path: is overwritten.
        suffix: of the final name; must belong to the format of the original.
    """
    check_rewritable(stored.path, suffix)
    samples = stored.replaced(grey, content)
    {'TIFF': _rewrite_tiff, 'PNG': _rewrite_png, 'BMP': _rewrite_bmp}[stored.format](
        stored.path, samples, path
    )


def check_rewritable(source: Path, suffix: str) -> None:
    """Refuses the ending of another format, and packings that :func:`rewrite` does not write."""
    with source.open('rb') as file:
        magic = file.read(2)
    form = {b'II': 'TIFF', b'MM': 'TIFF', b'BM': 'BMP'}.get(magic, 'PNG')
    if _FORMATS.get(suffix.lower()) != form:
        raise SEMImageError(
            f'{source} is a {form} file, so the restored one must be too, not '
            f'"{suffix}": other formats would lose its tags'
        )
    if form == 'TIFF':
        with tifffile.TiffFile(source) as tiff:
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


# TIFF ------------------------------------------------------------------------------------------
def _load_tiff(path: Path) -> Stored:
    try:
        with tifffile.TiffFile(path) as tiff:
            if len(tiff.pages) != 1:
                raise ValueError(f'{len(tiff.pages)} pages; save the one to restore on its own')
            page = tiff.pages[0]
            _check_tiff(page, path.stat().st_size)
            samples = page.asarray()
            metadata = _vendor(page)
            palette = None
            if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
                # 16 bit entries; what writers put there is v * 256 or v * 257
                palette = (np.asarray(page.colormap).T >> 8).astype(np.uint8)
            inverted = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
            planar = page.planarconfig == tifffile.PLANARCONFIG.SEPARATE
    except FileNotFoundError:
        raise
    except (
        ValueError,
        tifffile.TiffFileError,
        struct.error,
        IndexError,
        KeyError,
        TypeError,
        RuntimeError,
        OSError,
        zlib.error,
        AttributeError,
    ) as error:
        # the decoders raise whatever their library does on damaged data
        hint = (
            '; pip install imagecodecs reads this compression'
            if 'imagecodecs' in str(error) and 'requires' in str(error)
            else ''
        )
        raise SEMImageError(f'{path}: can not be read as TIFF: {error}{hint}') from error
    if samples.ndim == 2:
        samples = samples[..., None]
    elif planar:
        samples = np.moveaxis(samples, 0, -1)
    return Stored(
        path, 'TIFF', samples, 3 if samples.shape[2] >= 3 else 1, palette, inverted, metadata
    )


def _check_tiff(page: tifffile.TiffPage, size: int) -> None:
    """Refuses what would be misread; the caller adds the file's name."""
    bits = page.tags['BitsPerSample'].value if 'BitsPerSample' in page.tags else 1
    if len(page.shape) not in (2, 3) or page.samplesperpixel > 4 or page.imagedepth > 1:
        raise ValueError(f'shape {page.shape}; one plane of one to four samples is needed')
    if (
        page.dtype is None
        or page.dtype.name not in ('uint8', 'uint16', 'float32')
        or set(np.atleast_1d(bits)) != {page.dtype.itemsize * 8}
    ):
        raise ValueError(
            f'{bits} bits per pixel, type {page.dtype}; save it as 8 or 16 bit '
            'unsigned, or 32 bit float'
        )
    known = (
        tifffile.PHOTOMETRIC.MINISBLACK,
        tifffile.PHOTOMETRIC.MINISWHITE,
        tifffile.PHOTOMETRIC.RGB,
        tifffile.PHOTOMETRIC.PALETTE,
    )
    if page.photometric not in known:
        raise ValueError(f'its colours are stored as {page.photometric!r}; save it in grey')
    if page.dtype.kind == 'f' and page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        raise ValueError('floating point with 0 as white; save it with 0 as black')
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
    for code in (*_FEI_TAGS, _ZEISS_TAG):
        tag = page.tags.get(code)
        if tag is not None:
            raw = page.parent.filehandle
            raw.seek(tag.valueoffset)
            text = raw.read(tag.valuebytecount).split(b'\0')[0].decode('latin-1')
            return parse_zeiss(text) if code == _ZEISS_TAG else parse_fei(text)
    return Metadata()


def _rewrite_tiff(source: Path, samples: np.ndarray, path: Path) -> None:
    """Copies the file, then puts new strips or tiles into the copy; no other tag is touched."""
    shutil.copyfile(source, path)
    with tifffile.TiffFile(path, mode='r+b') as tiff:
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


# PNG -------------------------------------------------------------------------------------------
def _chunks(path: Path) -> list[tuple[bytes, bytes]]:
    """(type, data) of every chunk, checksums verified."""
    data, at, chunks = path.read_bytes(), len(_PNG_MAGIC), []
    while at + 12 <= len(data):
        length, kind = struct.unpack('>I4s', data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        checksum = data[at + 8 + length : at + 12 + length]
        if len(checksum) < 4:
            break
        if struct.unpack('>I', checksum)[0] != zlib.crc32(kind + body):
            raise SEMImageError(f'{path}: damaged PNG: wrong checksum at byte {at}; copy it again')
        chunks.append((kind, body))
        if kind == b'IEND':
            return chunks
        at += 12 + length
    raise SEMImageError(f'{path}: truncated PNG ({len(data)} bytes, no end mark); copy it again')


def _load_png(path: Path) -> Stored:
    chunks = _chunks(path)
    kinds = [kind for kind, _ in chunks]
    if kinds[0] != b'IHDR' or b'IDAT' not in kinds:
        raise SEMImageError(f'{path}: damaged PNG: header or pixels are missing')
    if b'acTL' in kinds:
        raise SEMImageError(f'{path}: an animation; save the picture to restore on its own')
    depth, colour = chunks[0][1][8:10]
    if depth < 8:
        raise SEMImageError(f'{path}: only {depth} bit(s) per pixel; save it as 8 or 16 bit grey')
    if colour == 3:
        try:
            with Image.open(path) as image:
                samples = np.array(image)[..., None]
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise SEMImageError(f'{path}: can not be read as PNG: {error}') from error
        table = dict(chunks)[b'PLTE']
        return Stored(path, 'PNG', samples, 1, np.frombuffer(table, np.uint8).reshape(-1, 3))
    _check_png_data(path, chunks)
    samples = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if samples is None:
        raise SEMImageError(f'{path}: can not be read as PNG; save it with another program')
    if samples.ndim == 2:
        samples = samples[..., None]
    elif colour == 4:
        samples = samples[..., [0, 3]]
    else:
        samples = samples[..., [2, 1, 0, 3][: samples.shape[2]]]
    # a colour key (tRNS) is expanded by the decoder; the file's samples do not have it
    samples = samples[..., : {0: 1, 2: 3, 4: 2, 6: 4}[colour]]
    return Stored(path, 'PNG', samples, 3 if colour in (2, 6) else 1)


def _check_png_data(path: Path, chunks: list[tuple[bytes, bytes]]) -> None:
    """Decoders fill in what a broken stream lacks; this does not."""
    stream = zlib.decompressobj()
    try:
        for kind, body in chunks:
            if kind == b'IDAT':
                stream.decompress(body)
        stream.flush()
    except zlib.error as error:
        raise SEMImageError(f'{path}: damaged PNG: {error}; copy it again') from error
    if not stream.eof:
        raise SEMImageError(f'{path}: damaged PNG: pixel data ends early; copy it again')


def _rewrite_png(source: Path, samples: np.ndarray, path: Path) -> None:
    """All chunks of the original in their order, with a new pixel stream."""
    height, width, _ = samples.shape
    rows = np.ascontiguousarray(samples, samples.dtype.newbyteorder('>')).view(np.uint8)
    rows = rows.reshape(height, -1)
    step = rows.shape[1] // width  # filter 1: each byte minus that of the pixel before
    filtered = np.empty((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = 1
    filtered[:, 1 : 1 + step] = rows[:, :step]
    filtered[:, 1 + step :] = rows[:, step:] - rows[:, :-step]
    written = False
    with path.open('wb') as file:
        file.write(_PNG_MAGIC)
        for kind, body in _chunks(source):
            if kind == b'IDAT':
                if written:
                    continue
                body, written = zlib.compress(filtered.tobytes()), True
            elif kind == b'IHDR':
                body = body[:12] + b'\0'  # the new stream is not interlaced
            file.write(struct.pack('>I', len(body)) + kind + body)
            file.write(struct.pack('>I', zlib.crc32(kind + body)))


# BMP -------------------------------------------------------------------------------------------
def _bmp_pixels(path: Path, data: bytearray) -> tuple[np.ndarray, np.ndarray | None]:
    """(H, W, S) view into ``data``, S = 1, 3 or 4 as stored (blue first), and the palette."""
    if len(data) < 54:
        raise SEMImageError(f'{path}: truncated BMP; copy it again')
    start, header, width, height, _, bits, packing = struct.unpack_from('<IIiiHHI', data, 10)
    if header < 40 or width < 1 or height == 0:
        raise SEMImageError(f'{path}: damaged BMP header; save it with another program')
    if bits not in (8, 24, 32) or packing not in ((0, 3) if bits == 32 else (0,)):
        raise SEMImageError(
            f'{path}: BMP of {bits} bits, packing {packing}; save it as TIFF or PNG'
        )
    count, line = bits // 8, (width * bits + 31) // 32 * 4
    if start + line * abs(height) > len(data):
        raise SEMImageError(
            f'{path}: truncated BMP: {start + line * abs(height)} bytes needed, '
            f'{len(data)} there; copy it again'
        )
    rows = np.frombuffer(data, np.uint8, line * abs(height), start).reshape(abs(height), line)
    pixels = rows[:, : width * count].reshape(abs(height), width, count)
    palette = None
    if bits == 8:
        used = struct.unpack_from('<I', data, 46)[0] or 256
        table = np.frombuffer(data, np.uint8, 4 * used, 14 + header).reshape(-1, 4)
        palette = table[:, 2::-1].copy()
    return (pixels[::-1] if height > 0 else pixels), palette


def _load_bmp(path: Path) -> Stored:
    pixels, palette = _bmp_pixels(path, bytearray(path.read_bytes()))
    order = [0] if pixels.shape[2] == 1 else [2, 1, 0, 3][: pixels.shape[2]]
    return Stored(path, 'BMP', pixels[..., order], min(len(order), 3), palette)


def _rewrite_bmp(source: Path, samples: np.ndarray, path: Path) -> None:
    data = bytearray(source.read_bytes())
    pixels, _ = _bmp_pixels(source, data)
    order = [0] if pixels.shape[2] == 1 else [2, 1, 0, 3][: pixels.shape[2]]
    pixels[..., order] = samples
    path.write_bytes(data)
