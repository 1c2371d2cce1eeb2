"""PNG: samples in and out, all chunks but the pixels as they were."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from mmclarity.errors import said

from .stored import SEMImageError, Stored

__all__ = ['MAGIC', 'load', 'rewrite']

MAGIC = b'\x89PNG\r\n\x1a\n'


def _chunks(path: Path) -> list[tuple[bytes, bytes]]:
    """(type, data) of every chunk, checksums verified."""
    data, at, chunks = path.read_bytes(), len(MAGIC), []
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


def load(path: Path) -> Stored:
    """Reads 8 and 16 bit grey, colour and palette; checksums are verified."""
    chunks = _chunks(path)
    kinds = [kind for kind, _ in chunks]
    if kinds[0] != b'IHDR' or b'IDAT' not in kinds:
        raise SEMImageError(f'{path}: damaged PNG: header or pixels are missing')
    if b'acTL' in kinds:
        raise SEMImageError(f'{path}: an animation; save the picture to restore on its own')
    if len(chunks[0][1]) != 13 or chunks[0][1][9] not in (0, 2, 3, 4, 6):
        raise SEMImageError(f'{path}: damaged PNG: its header is of no PNG; copy it again')
    depth, colour = chunks[0][1][8:10]
    if depth < 8:
        raise SEMImageError(f'{path}: only {depth} bit(s) per pixel; save it as 8 or 16 bit grey')
    if colour == 3:
        try:
            with Image.open(path) as image:
                samples = np.array(image)[..., None]
        except Exception as error:  # whatever the decoder runs into
            raise SEMImageError(f'{path}: can not be read as PNG: {said(error)}') from error
        table = dict(chunks).get(b'PLTE', b'')
        if not table or len(table) % 3:
            raise SEMImageError(f'{path}: damaged PNG: its palette is missing or cut off')
        return Stored(path, 'PNG', samples, 1, np.frombuffer(table, np.uint8).reshape(-1, 3))
    _check_data(path, chunks)
    try:
        samples = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:  # larger than OpenCV's limit
        raise SEMImageError(f'{path}: can not be read as PNG: {said(error)}') from error
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


def _check_data(path: Path, chunks: list[tuple[bytes, bytes]]) -> None:
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


def rewrite(source: Path, samples: np.ndarray, path: Path) -> None:
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
        file.write(MAGIC)
        for kind, body in _chunks(source):
            if kind == b'IDAT':
                if written:
                    continue
                body, written = zlib.compress(filtered.tobytes()), True
            elif kind == b'IHDR':
                body = body[:12] + b'\0'  # the new stream is not interlaced
            file.write(struct.pack('>I', len(body)) + kind + body)
            file.write(struct.pack('>I', zlib.crc32(kind + body)))
