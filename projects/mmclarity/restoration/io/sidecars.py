"""Text files that microscopes put beside an image, and what they tell of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from . import vendors
from .vendors import Metadata

__all__ = ['KINDS', 'MOST_TEXT', 'SUFFIXES', 'find_sidecar', 'read_sidecar', 'sidecar_name']

MOST_TEXT = 1 << 20  # bytes; what is longer is another kind of file
# Of NAME.tif: stem NAME, kind tif.
KINDS = ('{stem}.txt', '{stem}.TXT', '{stem}-{kind}.hdr', '{stem}.hdr')
SUFFIXES = tuple(dict.fromkeys(Path(kind).suffix.lower() for kind in KINDS))


def _candidates(path: Path) -> Iterator[Path]:
    for pattern in KINDS:
        yield path.with_name(pattern.format(stem=path.stem, kind=path.suffix[1:]))


def find_sidecar(path: Path) -> tuple[Path, Metadata] | None:
    """The text file of an image, and what it tells; None if there is none that tells anything.

    ``NAME.txt`` of JEOL and Hitachi, ``NAME-tif.hdr`` and ``NAME.hdr`` of TESCAN.
    """
    for candidate in _candidates(path):
        try:
            if not candidate.is_file() or candidate.stat().st_size > MOST_TEXT:
                continue
            data = candidate.read_bytes()
        except OSError:
            continue
        metadata = read_sidecar(data)
        if metadata.vendor is not None:
            return candidate, metadata
    return None


def read_sidecar(data: bytes) -> Metadata:
    """What the content of a text file tells; ``vendor`` is None if it is none of these files."""
    for encoding in (
        ('utf-16',)
        if data[:2] in (b'\xff\xfe', b'\xfe\xff')
        else (
            'utf-8-sig',
            'latin-1',
        )
    ):
        try:
            text = data.decode(encoding)
            break
        except UnicodeDecodeError:
            continue
    else:
        return Metadata()
    if '$CM_' in text:
        return vendors.parse_jeol(text)
    if '[SemImageFile]' in text:
        return vendors.parse_hitachi(text)
    if 'PixelSizeX' in text and '[MAIN]' in text:
        return vendors.parse_tescan(text)
    return Metadata()


def sidecar_name(sidecar: Path, image: Path, copy: Path) -> Path:
    """What the text file of ``image`` is to be called beside its copy."""
    name = sidecar.name
    if name.startswith(f'{image.stem}-'):
        return copy.with_name(f'{copy.stem}-{copy.suffix[1:]}{sidecar.suffix}')
    return copy.with_name(f'{copy.stem}{sidecar.suffix}')
