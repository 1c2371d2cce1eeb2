"""Pictures that the tests of files are made of, and the tags of a TIFF as they lie in it."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np


def picture(height: int = 60, width: int = 64, dtype: str = 'uint8') -> np.ndarray:
    top = np.iinfo(dtype).max
    return np.random.default_rng(1).integers(1, top, (height, width)).astype(dtype)


def with_bar(height: int = 48, bar: int = 12, width: int = 64) -> np.ndarray:
    image = picture(height + bar, width)
    image[height:] = 0
    image[height + 3 : height + 8, 5:30:3] = 255
    return image


def raw_tags(path: Path) -> dict[int, bytes]:
    """The bytes of every tag's value, parsed here from the file."""
    data = path.read_bytes()
    order = '<' if data[:2] == b'II' else '>'
    sizes = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
    (at,) = struct.unpack(order + 'I', data[4:8])
    (count,) = struct.unpack(order + 'H', data[at : at + 2])
    tags = {}
    for i in range(count):
        entry = data[at + 2 + 12 * i : at + 14 + 12 * i]
        code, kind, number = struct.unpack(order + 'HHI', entry[:8])
        size = sizes[kind] * number
        (where,) = struct.unpack(order + 'I', entry[8:])
        tags[code] = entry[8 : 8 + size] if size <= 4 else data[where : where + size]
    return tags
