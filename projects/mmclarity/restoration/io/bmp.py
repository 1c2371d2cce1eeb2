"""BMP: samples in and out, headers as they were."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from .stored import SEMImageError, Stored

__all__ = ['load', 'rewrite']


def _pixels(path: Path, data: bytearray) -> tuple[np.ndarray, np.ndarray | None]:
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
    if start < 14 + header:
        raise SEMImageError(f'{path}: damaged BMP: its pixels begin within the header')
    rows = np.frombuffer(data, np.uint8, line * abs(height), start).reshape(abs(height), line)
    pixels = rows[:, : width * count].reshape(abs(height), width, count)
    palette = None
    if bits == 8:
        used = struct.unpack_from('<I', data, 46)[0] or 256
        if used > 256 or 14 + header + 4 * used > len(data):
            raise SEMImageError(f'{path}: damaged BMP: its palette is cut off; copy it again')
        table = np.frombuffer(data, np.uint8, 4 * used, 14 + header).reshape(-1, 4)
        palette = table[:, 2::-1].copy()
    return (pixels[::-1] if height > 0 else pixels), palette


def load(path: Path) -> Stored:
    """Reads 8 bit grey or palette, 24 and 32 bit colour, not compressed."""
    pixels, palette = _pixels(path, bytearray(path.read_bytes()))
    order = [0] if pixels.shape[2] == 1 else [2, 1, 0, 3][: pixels.shape[2]]
    return Stored(path, 'BMP', pixels[..., order], min(len(order), 3), palette)


def rewrite(source: Path, samples: np.ndarray, path: Path) -> None:
    """Copies the file with other samples, (H, W, S) as :func:`load` gave them."""
    data = bytearray(source.read_bytes())
    pixels, _ = _pixels(source, data)
    order = [0] if pixels.shape[2] == 1 else [2, 1, 0, 3][: pixels.shape[2]]
    pixels[..., order] = samples
    path.write_bytes(data)
