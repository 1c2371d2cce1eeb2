"""Formats of microscopes beyond TIFF, PNG, BMP and JPEG, read through RosettaSciIO.

That library is an extra (``pip install "mmclarity[formats]"``), imported where one of its files
is met. It reads; what is restored is written as TIFF.
"""

from __future__ import annotations

import importlib
import logging
import re
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from mmclarity.errors import said

from .stored import SEMImageError, Stored
from .vendors import Metadata, metres

__all__ = ['SUFFIXES', 'ForeignPictures', 'is_foreign']

# Ending to the name of RosettaSciIO's reader and of the format; endings that several share,
# such as .h5 and .img, are left to conversion by the microscope's own software.
_READERS = {
    '.dm3': ('digitalmicrograph', 'Gatan'),
    '.dm4': ('digitalmicrograph', 'Gatan'),
    '.emd': ('emd', 'EMD'),
    '.ser': ('tia', 'FEI TIA'),
    '.emi': ('tia', 'FEI TIA'),
    '.mrc': ('mrc', 'MRC'),
    '.bcf': ('bruker', 'Bruker'),
    '.hspy': ('hspy', 'HyperSpy'),
    '.asw': ('jeol', 'JEOL'),
    '.elid': ('phenom', 'Phenom'),
    '.unf': ('semper', 'Semper'),
}
SUFFIXES = tuple(_READERS)
_KEPT = ('uint8', 'uint16', 'int16', 'float32')
_IMOD = 1146047817  # stamp in MRC files of IMOD and SerialEM
# Axes that are no distance in the sample: of spectra and of diffraction patterns.
_NO_PLACES = re.compile(r'energy|loss|wavelength|time|frequency|angle|k[xy]|q[xy]', re.IGNORECASE)
_NO_LENGTHS = re.compile(r'[kM]?eV|.*1/.*|.*\^-1|.*\u207b\xb9|.*rad|deg|\xb0|[num\xb5]?s(ec)?|k?Hz')


def is_foreign(path: Path) -> bool:
    """Whether the ending is that of a format which RosettaSciIO reads."""
    return path.suffix.lower() in _READERS


@dataclass(frozen=True)
class _Image:
    """One array of a file whose last two axes are a picture."""

    data: Any  # numpy or dask
    size: float | None
    height: float | None = None

    @property
    def count(self) -> int:
        return int(np.prod(self.data.shape[:-2], dtype=np.int64))


class ForeignPictures:
    """The pictures of a file, read one at a time.

    Args:
        path: the file.

    Raises:
        SEMImageError: RosettaSciIO is not installed, cannot read the file, or it holds spectra
            only.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.format = _READERS[path.suffix.lower()][1]
        self._images = [image for image in map(_image, _signals(path)) if image is not None]
        if path.suffix.lower() == '.mrc':
            self._images = [_of_mrc(image, path) for image in self._images]
        self.channels = len(self._images)
        if not len(self):
            raise SEMImageError(
                f'{path}: holds no image, only spectra or diffraction patterns; export the image '
                'from the microscope'
            )

    def __len__(self) -> int:
        return sum(image.count for image in self._images)

    @property
    def nbytes(self) -> int:
        """Bytes of all pictures as they are written."""
        kept = ((image, np.dtype(image.data.dtype)) for image in self._images)
        return sum(
            int(np.prod(image.data.shape, dtype=np.int64))
            * (kind.itemsize if kind.name in _KEPT or kind.fields else 4)
            for image, kind in kept
        )

    def close(self) -> None:
        """Forgets the file."""
        self._images = []

    def load(self, index: int) -> Stored:
        """Reads one picture; types that TIFF readers do not expect come as 32 bit float."""
        number = index
        for image in self._images:
            if index < image.count:
                break
            index -= image.count
        place = np.unravel_index(index, image.data.shape[:-2]) if image.data.ndim > 2 else ()
        try:
            pixels = np.asarray(image.data[place])
        except Exception as error:
            raise SEMImageError(
                f'{self.path}: can not be read: {said(error)}; copy it again'
            ) from error
        if pixels.dtype.fields is not None:
            names = sorted(pixels.dtype.names, key=lambda name: 'RGBA'.find(name.upper()))
            pixels = np.stack([pixels[name] for name in names], -1)
        if pixels.dtype.kind == 'c':
            raise SEMImageError(
                f'{self.path}: complex numbers; save their magnitude as a picture of its own'
            )
        pixels = pixels.astype(pixels.dtype.newbyteorder('='), copy=False)
        if pixels.dtype.name not in _KEPT:
            pixels = pixels.astype(np.float32)
        samples = np.ascontiguousarray(pixels.reshape(*pixels.shape[:2], -1))
        return Stored(
            self.path,
            self.format,
            samples,
            3 if samples.shape[2] >= 3 else 1,
            metadata=Metadata(self.format, pixel_size=image.size, pixel_height=image.height),
            page=number,
            pages=len(self),
        )


def _signals(path: Path) -> list[dict]:
    reader = _reader(path)
    logger = logging.getLogger('rsciio')
    before, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            try:
                return reader.file_reader(str(path), lazy=True)
            except (TypeError, NotImplementedError):  # formats that read all at once
                return reader.file_reader(str(path))
    except MemoryError:
        raise
    except Exception as error:  # its readers raise whatever they run into
        missing = isinstance(error, ImportError)
        hint = '; pip install "mmclarity[formats]"' if missing else '; export it as TIFF'
        raise SEMImageError(f'{path}: RosettaSciIO can not read it: {said(error)}{hint}') from error
    finally:
        logger.disabled = before


def _reader(path: Path) -> ModuleType:
    name, kind = _READERS[path.suffix.lower()]
    try:
        return importlib.import_module(f'rsciio.{name}')
    except ImportError as error:
        raise SEMImageError(
            f'{path}: {kind} files are read with a further package: '
            f'pip install "mmclarity[formats]" (missing: {error.name or said(error)}); or export '
            'the image as TIFF'
        ) from error


def _image(signal: dict) -> _Image | None:
    """The pictures of one signal; None if it holds spectra or patterns."""
    data, axes = signal['data'], signal['axes']
    # names tell pictures of a scan from detector images of every point of one
    spatial = [
        axis for axis in axes if str(axis.get('name', '')).lower() in ('x', 'y', 'height', 'width')
    ]
    if len(axes) == 2:
        last = axes
    elif len(axes) == 3 and len(spatial) == 2 and axes[-2:] == spatial:
        last = spatial
    else:
        return None
    if min(data.shape[-2:]) < 2 or data.ndim != len(axes):
        return None
    for axis in last:
        name, unit = str(axis.get('name') or ''), str(axis.get('units') or '')
        if _NO_PLACES.fullmatch(name.split(' ')[0]) or _NO_LENGTHS.fullmatch(unit.strip()):
            return None
    height, width = map(_pixel_size, last)
    square = None in (height, width) or abs(height - width) <= 1e-3 * width
    return _Image(data, width, None if square else height)


def _pixel_size(axis: dict) -> float | None:
    scale, unit = axis.get('scale'), axis.get('units')
    if not isinstance(unit, str) or scale is None:
        return None
    return metres(str(abs(float(scale))), unit)


def _of_mrc(image: _Image, path: Path) -> _Image:
    """What RosettaSciIO leaves open: whether bytes have a sign, and whether a size is told.

    Bytes of mode 0 are signed (MRC2014) unless IMOD's stamp says otherwise, or the greatest
    value is one that they cannot hold. One angstrom is what programs write that know no size.
    """
    with path.open('rb') as file:
        header = file.read(1024)
    order = '>' if header[212:213] == b'\x11' else '<'
    (mode,), (columns,) = (struct.unpack_from(f'{order}i', header, at) for at in (12, 28))
    _, greatest = struct.unpack_from(f'{order}2f', header, 76)
    stamp, flags = struct.unpack_from(f'{order}2i', header, 152)
    signed = bool(flags & 1) if stamp == _IMOD else not greatest > 127
    data, size = image.data, image.size
    if mode == 0 and signed and data.dtype == np.uint8:
        data = data.view(np.int8)
    if columns == 0 or (size is not None and abs(size - 1e-10) < 1e-16):
        size = None
    return _Image(data, size, image.height if size is not None else None)
