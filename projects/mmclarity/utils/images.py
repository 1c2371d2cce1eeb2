"""Photographs as a viewer shows them: size and pixels with the orientation tag applied, once.

Cameras and phones write how the image is to be turned into a tag (EXIF 0x0112; in TIFF a tag of the
format). Decoders disagree about it: OpenCV 4 obeys it in JPEG, PNG and TIFF and not in WebP, Pillow
only when asked, or, in TIFF, by itself. Boxes are given for the image as it is shown.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from .files import write_bytes

ORIENTATION = 0x0112
#: Chunks that hold EXIF in PNG and WebP.
_EXIF_CHUNKS = {b'\x89PNG': b'eXIf', b'RIFF': b'EXIF'}
#: Bits of cameras whose data stand in files of 16, in the lower ones.
_DEPTHS = (8, 10, 12, 14)
#: Of the pixels, so many at either end may be defects of the sensor, far from all others.
_DEFECTS = 1e-5
#: Thermal cameras: levels that take less of the range than this, and begin above _GROUND of it.
_NARROW, _GROUND = 0.2, 0.06
_FEWEST = 128  # levels; fewer are noise of an empty picture


def orientation(image: Image.Image) -> int:
    """How a stored image is to be turned: 1 (not at all) to 8, after EXIF."""
    value = image.getexif().get(ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def upright_size(image: Image.Image) -> tuple[int, int]:
    """``(width, height)`` in pixels as a viewer shows the image; reads the header only.

    Examples:
        >>> exif, file = Image.Exif(), io.BytesIO()
        >>> exif[ORIENTATION] = 6
        >>> Image.new('RGB', (30, 20)).save(file, 'TIFF', exif=exif)
        >>> upright_size(Image.open(file))
        (20, 30)
    """
    width, height = image.size
    if image.format == 'TIFF':
        # Newer Pillows have turned the size already: that of the file is among its tags.
        width, height = image.tag_v2.get(256, width), image.tag_v2.get(257, height)
    return (height, width) if orientation(image) >= 5 else (width, height)


def save_picture(picture: Image.Image, path: str | Path, **options: Any) -> None:
    """Write a Pillow image in the format of its name, whole or not at all.

    Args:
        picture: Of any mode that the format holds.
        path: Ends in ``.png``, ``.jpg`` or another format that Pillow writes.
        options: Of Pillow's ``save``: ``quality``, ...
    """
    content, kind = io.BytesIO(), Image.registered_extensions()[Path(path).suffix.lower()]
    picture.save(content, kind, **options)
    write_bytes(path, content.getvalue())


def turn(pixels: np.ndarray, tag: int) -> np.ndarray:
    """Stored pixels (H, W, ...) as the tag says that they are to be shown."""
    if tag in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if tag in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if tag in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def depth_held(brightest: float) -> int | None:
    """Bits of what a picture of 16 bit holds, judged by its brightest pixel; None: all 16.

    Many cameras have 10, 12 or 14 bits and write them into the lower ones of 16: read as 16 bit,
    such a picture is nearly black.

    Examples:
        >>> depth_held(3000), depth_held(40000), depth_held(0)
        (12, None, None)
    """
    return next((bits for bits in _DEPTHS if 0 < brightest < 2**bits), None)


def decode(
    content: bytes,
    flags: int = cv2.IMREAD_COLOR,
    tell: Callable[[str], object] = warnings.warn,
) -> np.ndarray | None:
    """Pixels of an image file's content, upright whatever its format.

    Args:
        content: The bytes of the file.
        flags: Of ``cv2.imdecode``; by default 8 bit, three channels (blue, green, red). Of 16 bit
            the upper eight are taken, or the upper eight of those that are used; levels that lie
            close together and far from black, as of thermal cameras, are spread.
        tell: Is called with a sentence where not all of 16 bits are used.

    Returns:
        (H, W, 3) or (H, W), or None if OpenCV cannot read it.
    """
    if flags not in (cv2.IMREAD_COLOR, cv2.IMREAD_GRAYSCALE) or _has_8_bit(content):
        return _upright(content, flags)
    deep = _upright(content, flags | cv2.IMREAD_ANYDEPTH)
    if deep is not None and deep.dtype == np.uint8:
        return deep
    pixels = _upright(content, flags)
    if pixels is None or deep is None or deep.dtype != np.uint16:
        return pixels
    return _levels_held(deep, pixels, tell)


def _has_8_bit(content: bytes) -> bool:
    """Whether the first bytes say that a file cannot hold 16 bit, as most do not."""
    return content[:2] in (b'\xff\xd8', b'BM', b'RI') or (
        content[:4] == b'\x89PNG' and content[24:25] <= b'\x08'
    )


def _levels_held(deep: np.ndarray, pixels: np.ndarray, tell: Callable[[str], object]) -> np.ndarray:
    """8 bit of those levels of 16 bit that a picture uses; ``pixels`` are its upper eight."""
    few = int(deep.size * _DEFECTS)
    ends = np.partition(deep, (few, deep.size - 1 - few), axis=None)
    low, high = int(ends[few]), int(ends[-1 - few])
    bits = depth_held(high)
    white = 2 ** (bits or 16) - 1
    if _FEWEST <= high - low < _NARROW * white and low > _GROUND * white:
        tell(
            'its 16 bits hold levels that lie close together, as thermal cameras write them: the '
            'darkest is black, the brightest white'
        )
        part = (np.clip(deep, low, high) - low) * (255 / (high - low))
        return (part + 0.5).astype(np.uint8)
    if bits is None:
        return pixels
    above = '' if ends[-1 - few :].max() <= white else ' but single pixels'
    tell(f'its 16 bits hold data of {bits} bit (none above {white}{above}): {white} is white')
    return (np.minimum(deep, white) >> (bits - 8)).astype(np.uint8)


def _upright(content: bytes, flags: int) -> np.ndarray | None:
    tag, chunk = 1, _EXIF_CHUNKS.get(content[:4])
    if chunk is not None and chunk in content:
        with Image.open(io.BytesIO(content)) as image:
            tag = orientation(image)
    buffer = np.frombuffer(content, np.uint8)
    if tag == 1 or flags == cv2.IMREAD_UNCHANGED:  # the latter is never turned
        return cv2.imdecode(buffer, flags)
    pixels = cv2.imdecode(buffer, flags | cv2.IMREAD_IGNORE_ORIENTATION)
    return None if pixels is None else turn(pixels, tag)
