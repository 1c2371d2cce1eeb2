"""What goes wrong when files are written, a full disk above all, told of the file itself."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmclarity.errors import OutputError

__all__ = ['check_room', 'explained', 'full_disk_told', 'readable_size']

_FULL = (errno.ENOSPC, errno.EDQUOT)
_CROWDED = 1 << 20  # with less room than this, an error without a number is taken for a full disk


@contextmanager
def full_disk_told(folder: str | Path) -> Iterator[None]:
    """Around code of others that appends to files in a folder, such as logs.

    Raises:
        OutputError: in the place of the system's error of a full disk, which names no file.
    """
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        if error.errno not in _FULL:
            raise
        place, free = Path(error.filename or folder), _free(Path(folder)) or 0
        text = _full_message(place, 'more than that', free)
        raise _numbered(OutputError(text), errno.ENOSPC) from error


def check_room(folder: str | Path, needed: int) -> None:
    """Refuse work whose result has no room.

    Args:
        folder: existing or not; the nearest existing one is asked.
        needed: bytes.

    Raises:
        OutputError: less is free.
    """
    free = _free(Path(folder))
    if free is not None and free < needed:
        raise OutputError(_full_message(Path(folder), readable_size(needed), free))


def readable_size(count: int) -> str:
    """Bytes in words: ``'512 bytes'``, ``'3.4 MB'`` (powers of 1000, as disks are sold)."""
    if count < 1000:
        return f'{count} bytes'
    size = float(count)
    for unit in ('kB', 'MB', 'GB'):
        size /= 1000
        if size < 999.5:
            return f'{size:.3g} {unit}'
    return f'{size / 1000:.3g} TB'


@contextmanager
def explained(path: Path, part: Path, needed: int | None) -> Iterator[None]:
    """Turns what goes wrong in writing ``part`` into a message about ``path``."""
    try:
        yield
    except Exception as error:
        code = _errno(error)
        free = _free(path.parent)
        written = _size(part)
        crowded = free is not None and free < _CROWDED and not isinstance(error, ValueError)
        if code in _FULL or (code is None and crowded):
            # The part goes first, and with it the room that it takes.
            _remove(part)
            needs = readable_size(needed) if needed else f'more than {readable_size(written)}'
            text = _full_message(path, needs, _free(path.parent) or 0)
            raise _numbered(OutputError(text), errno.ENOSPC) from error
        if code == errno.EFBIG:
            text = (
                f'{path}: larger than this file system or "ulimit -f" allows '
                f'({readable_size(written)} were written); nothing is left of it. Raise the '
                'limit, or choose another disk'
            )
            raise _numbered(OutputError(text), code) from error
        named = str(getattr(error, 'filename', ''))
        mine = isinstance(error, OSError) and (named + os.sep).startswith(f'{part}{os.sep}')
        if mine and not isinstance(error, OutputError):
            text = f'{path}: cannot be written: {error.strerror}; choose another place'
            raise _numbered(OutputError(text), error.errno) from error
        raise


def _size(part: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    if part.is_dir():
        return sum(file.stat().st_size for file in part.rglob('*') if file.is_file())
    return part.stat().st_size if part.exists() else 0


def _remove(part: Path) -> None:
    if part.is_dir():
        shutil.rmtree(part, ignore_errors=True)
    else:
        part.unlink(missing_ok=True)


def _numbered(error: OutputError, code: int | None) -> OutputError:
    error.errno = code
    return error


def _errno(error: BaseException | None) -> int | None:
    """The system's number behind an error, which libraries may have wrapped."""
    seen = 0
    while error is not None and seen < 8:
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        error, seen = error.__cause__ or error.__context__, seen + 1
    return None


def _free(folder: Path) -> int | None:
    for place in (folder, *folder.absolute().parents):
        with suppress(OSError):
            return shutil.disk_usage(place).free
    return None


def _full_message(path: Path, needs: str, free: int) -> str:
    return (
        f'{path}: the disk is full: {needs} needed, {readable_size(free)} free. Nothing '
        'half-written is left, earlier files are whole; make room or choose another disk'
    )
