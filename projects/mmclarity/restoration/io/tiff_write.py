"""Copies of TIFF files with other samples: every other byte stays as it was."""

from __future__ import annotations

import re
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import tifffile

from .stored import SEMImageError
from .tiff import Place, explained, pictures

__all__ = ['name_itself', 'rewriting']

_UNCOMPRESSED, _LZW, _DEFLATE, _PACKBITS = 1, 5, (8, 32946), 32773
_WRITTEN = (_UNCOMPRESSED, _LZW, *_DEFLATE, _PACKBITS)
_REDUCED = 1
_RESIZED = ('uint8', 'uint16', 'int16', 'float32', 'float64')  # types that OpenCV shrinks
_COMPARED = 1_000_000  # samples
_SHOWN = 0.3  # correlation of a smaller copy with its picture; less is another picture
# In OME-XML: identifier of the whole file; name and identifier of the one that a picture lies in.
_WHOLE = re.compile(rb'<(?:\w+:)?OME\b[^>]*\bUUID="([^"]+)"')
_PART = re.compile(rb'(<(?:\w+:)?UUID\b[^>]*\bFileName=")([^"]*)("[^>]*>)([^<]*)')


@contextmanager
def rewriting(
    source: Path, path: Path, name: str = ''
) -> Iterator[Callable[[int, np.ndarray], None]]:
    """Copies a file, and gives what replaces the samples of its pictures one by one.

    Samples that were compressed with a loss, or in a way that is not written here, are stored
    with deflate, which loses nothing. Smaller copies of a picture (a pyramid, a thumbnail) are
    made anew from it, where they are of its type.

    Args:
        source: the original.
        path: of the copy.
        name: the copy's final name, if it is another: OME-TIFF files name themselves.

    Yields:
        ``put(index, samples)``: samples (H, W, S) of one picture as the original has them.
    """
    shutil.copyfile(source, path)
    with explained(source, written=True):
        tiff = tifffile.TiffFile(path, mode='r+b')
    try:
        with explained(source, written=True):
            places = pictures(tiff)
            _rename(tiff, name, source.name)

        def put(index: int, samples: np.ndarray) -> None:
            with explained(source, written=True):
                _put(tiff, source, places[index], samples)

        yield put
    finally:
        tiff.close()


def _put(tiff: tifffile.TiffFile, source: Path, place: Place, samples: np.ndarray) -> None:
    page = tiff.pages[place.page]
    if place.plane:
        order = samples.dtype.newbyteorder(tiff.byteorder)
        tiff.filehandle.seek(page.dataoffsets[0] + place.plane * page.nbytes)
        tiff.filehandle.write(np.ascontiguousarray(samples, order).tobytes())
        return
    copies = [
        smaller
        for smaller in _smaller(tiff, place.page, page)
        if _is_copy(smaller, page, samples.shape[2])
    ]
    _replace(page, source, samples)
    for smaller in copies:
        reduced = _reduced(samples, smaller, page.photometric == tifffile.PHOTOMETRIC.PALETTE)
        _replace(smaller, source, reduced)


def _is_copy(smaller: tifffile.TiffPage, page: tifffile.TiffPage, count: int) -> bool:
    """Whether a directory shows in small what a page shows: others may be overviews or labels."""
    alike = smaller.dtype == page.dtype and smaller.samplesperpixel == count
    if not alike or len(smaller.shape) != len(page.shape):
        return False
    try:
        whole, shown = _samples_of(page), _samples_of(smaller)
    except Exception:  # decoders raise whatever they run into; what cannot be read stays
        return False
    for nearest in (False, True):  # means of several pixels, or one of them
        ours, theirs = (_some(image) for image in (_reduced(whole, smaller, nearest), shown))
        spread = ours.std() * theirs.std()
        if spread == 0:
            return bool(np.allclose(ours, theirs))
        if ((ours - ours.mean()) * (theirs - theirs.mean())).mean() > _SHOWN * spread:
            return True
    return False


def _some(samples: np.ndarray) -> np.ndarray:
    """Every nth row and column of (H, W, S), as many as suffice for a comparison."""
    step = max(1, int(np.sqrt(samples.size / _COMPARED)))
    return samples[::step, ::step].astype(np.float64)


def _samples_of(page: tifffile.TiffPage) -> np.ndarray:
    """(H, W, S)."""
    samples = page.asarray()
    if samples.ndim == 2:
        return samples[..., None]
    separate = page.planarconfig == tifffile.PLANARCONFIG.SEPARATE
    return np.moveaxis(samples, 0, -1) if separate else samples


def _reduced(samples: np.ndarray, smaller: tifffile.TiffPage, nearest: bool) -> np.ndarray:
    """Samples (H, W, S) in the size of a smaller copy."""
    size = (smaller.imagewidth, smaller.imagelength)
    exact = samples if samples.dtype.name in _RESIZED else samples.astype(np.float64)
    kind = cv2.INTER_NEAREST if nearest else cv2.INTER_AREA
    reduced = cv2.resize(exact, size, interpolation=kind)
    reduced = np.rint(reduced) if samples.dtype.kind in 'ui' else reduced
    return reduced.astype(samples.dtype).reshape(size[1], size[0], -1)


def _smaller(
    tiff: tifffile.TiffFile, number: int, page: tifffile.TiffPage
) -> Iterator[tifffile.TiffPage]:
    """The smaller copies of a picture: below its own directory, or in those that follow."""
    if page.subifds:
        yield from page.pages
    for i in range(number + 1, len(tiff.pages)):
        following = tiff.pages[i]
        if not int(following.subfiletype) & _REDUCED:
            return
        yield following


def _replace(page: tifffile.TiffPage, source: Path, samples: np.ndarray) -> None:
    """Puts new samples into the place of the old ones; what grew goes to the end of the file."""
    tiff = page.parent
    offsets, counts = list(page.dataoffsets), list(page.databytecounts)
    compression, predictor = _packing(page)
    file, moved = tiff.filehandle, False
    for i, segment in enumerate(_segments(page, samples)):
        data = _encode(segment, tiff.byteorder, compression, predictor)
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
    if compression != page.compression or predictor != page.predictor:
        _repack(page, compression, predictor, samples.shape[2])
    if moved:
        kind = 'Tile' if page.is_tiled else 'Strip'
        for name, value in ((f'{kind}Offsets', offsets), (f'{kind}ByteCounts', counts)):
            tag = page.tags[name]
            # 16 bit entries may be too small for what was moved
            tag.overwrite(tuple(value), dtype='Q' if tiff.is_bigtiff else 'I')


def _packing(page: tifffile.TiffPage) -> tuple[int, int]:
    """Compression and predictor to write with: those of the file, or deflate without any."""
    needs = page.compression in (_LZW, _PACKBITS) and find_spec('imagecodecs') is None
    if page.compression not in _WRITTEN or page.predictor not in (1, 2) or needs:
        return _DEFLATE[0], 1
    return int(page.compression), int(page.predictor)


def _repack(page: tifffile.TiffPage, compression: int, predictor: int, samples: int) -> None:
    """States how the samples are stored now."""
    page.tags['Compression'].overwrite(compression)
    if 'Predictor' in page.tags:
        page.tags['Predictor'].overwrite(predictor)
    if page.photometric == tifffile.PHOTOMETRIC.YCBCR:
        page.tags['PhotometricInterpretation'].overwrite(2 if samples >= 3 else 1)
    if 'YCbCrSubSampling' in page.tags:
        page.tags['YCbCrSubSampling'].overwrite((1, 1))


def name_itself(path: Path, name: str, *before: str) -> None:
    """Has an OME-TIFF call itself by the name that it will have; other files stay as they are.

    Args:
        path: of the file; changed in place.
        name: where it will lie, without folders.
        before: names that may stand in it for itself.
    """
    try:
        tiff = tifffile.TiffFile(path, mode='r+b')
    except tifffile.TiffFileError:
        return
    with tiff:
        _rename(tiff, name, *before)


def _rename(tiff: tifffile.TiffFile, after: str, *before: str) -> None:
    """OME-XML names the file that its pictures lie in: a copy has to name itself.

    Itself is what has one of the names ``before``, or the identifier of the whole file.
    """
    tag = tiff.pages[0].tags.get('ImageDescription')
    if not after or tag is None or not tiff.is_ome:
        return
    file = tiff.filehandle
    file.seek(tag.valueoffset)
    data = file.read(tag.valuebytecount)
    whole = _WHOLE.search(data)
    names = {_in_xml(name) for name in before}

    def named(found: re.Match[bytes]) -> bytes:
        start, name, rest, identifier = found.groups()
        itself = name in names or (whole is not None and identifier.strip() == whole[1].strip())
        return start + (_in_xml(after) if itself else name) + rest + identifier

    changed = _PART.sub(named, data)
    if changed != data:
        tag.overwrite(changed)


def _in_xml(name: str) -> bytes:
    name = name.replace('&', '&amp;').replace('<', '&lt;').replace('"', '&quot;')
    return name.encode('utf-8', 'backslashreplace')  # a name may be no text


def _segments(page: tifffile.TiffPage, samples: np.ndarray) -> Iterator[np.ndarray]:
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


def _encode(segment: np.ndarray, byteorder: str, compression: int, predictor: int) -> bytes:
    """A segment as the file stores it: predictor, byte order, compression."""
    if predictor == 2:
        segment = np.diff(segment, axis=1, prepend=segment.dtype.type(0))  # wraps, as it should
    order = segment.dtype.newbyteorder(byteorder)
    data = np.ascontiguousarray(segment, dtype=order).tobytes()
    if compression == _UNCOMPRESSED:
        return data
    if compression in _DEFLATE:
        return zlib.compress(data)
    import imagecodecs  # reading the file took it as well

    if compression == _LZW:
        return imagecodecs.lzw_encode(data)
    size = len(data) // segment.shape[0]  # PackBits may not run across rows
    return b''.join(
        imagecodecs.packbits_encode(data[i : i + size]) for i in range(0, len(data), size)
    )
