"""Stored samples of TIFF, PNG and BMP files, and copies of the files with other samples.

Copies are made by patching: everything that is not a sample (tags, chunks, headers) is copied
byte for byte, because no library writes back every private tag that it can read.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from . import bmp, png, tiff
from .layout import Content
from .stored import SEMImageError, Stored

__all__ = ['SEMImageError', 'Stored', 'check_rewritable', 'load', 'rewrite']

_FORMATS = {'.tif': 'TIFF', '.tiff': 'TIFF', '.png': 'PNG', '.bmp': 'BMP'}
_MODULES = {'TIFF': tiff, 'PNG': png, 'BMP': bmp}


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
        return tiff.load(path)
    if magic == png.MAGIC:
        return png.load(path)
    if magic[:2] == b'BM':
        return bmp.load(path)
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
    _MODULES[stored.format].rewrite(stored.path, samples, path)


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
        tiff.check_rewritable(source)
