"""The one way to write a file, and the one way to list a folder.

Whatever is written goes into a part beside its place first and is then moved there: whoever looks
finds the old file or all of the new one, however the writer ends. ``os.replace`` is atomic on one
file system (POSIX ``rename``).
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmclarity.errors import OutputError, UsageError

from .disk import check_room, explained, full_disk_told, readable_size
from .parts import host, is_alive, part_name, sweep

__all__ = [
    'check_room',
    'full_disk_told',
    'host',
    'is_alive',
    'is_clutter',
    'listing',
    'making_folder',
    'readable_size',
    'replacing',
    'sweep',
    'with_own_name',
    'write_bytes',
    'write_text',
]

_CLUTTER = ('thumbs.db', 'ehthumbs.db', 'desktop.ini', 'icon\r', '__macosx')


@contextmanager
def replacing(
    path: str | Path,
    overwrite: bool = True,
    parents: bool = False,
    durable: bool = False,
    needed: int | None = None,
) -> Iterator[Path]:
    """A part to write to, which becomes ``path`` if the block succeeds and else is removed.

    The part has a name of its own, so that two writers of one file do not mix. What killed writers
    left in the folder is removed by the next one (:func:`sweep`). A symbolic link stays one: what
    it points to is replaced. Rights of an existing file are kept. A device or a pipe
    (``/dev/stdout``) gets the content when it is complete.

    Args:
        path: the file.
        overwrite: replace an existing one.
        parents: make the folder where it is missing.
        durable: have the system put the content on the disk before it gets its name, so that
            a power cut does not leave the name on an empty file.
        needed: bytes, where known; for the message of a full disk.

    Yields:
        An empty file beside ``path``, hidden, ending in ``.part``: give the format to writers
        that guess it from the name.

    Raises:
        FileExistsError: ``path`` exists and ``overwrite`` is not set.
        FileNotFoundError: its folder is missing and ``parents`` is not set.
        OutputError: ``path`` is a folder; it cannot be written; or the disk is full: what is
            needed and what is free is told.
    """
    path = Path(path)
    place = Path(os.path.realpath(path)) if path.is_symlink() else path
    _check_target(path, place, overwrite, parents)
    special = place.exists() and not place.is_file()
    folder = Path(tempfile.gettempdir()) if special else place.parent
    sweep(folder)
    part = folder / part_name(place.name)
    try:
        with explained(path, part, needed):
            os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            rights = stat.S_IMODE(part.stat().st_mode)
            yield part
            with suppress(OSError):
                # safetensors puts another file in its place, which only its owner may read
                part.chmod(rights)
            if durable:
                _synchronise(part)
            if special:
                with part.open('rb') as source, place.open('wb') as sink:
                    shutil.copyfileobj(source, sink)
            else:
                _move(part, place, overwrite)
            if durable:
                _synchronise(folder)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def refuse_input(path: str | Path, *sources: str | Path) -> None:
    """Refuses to write over a file that is read: what was there would be lost.

    Raises:
        UsageError: ``path`` is one of the sources, whatever it is called.
    """
    path = Path(path)
    if any(path.exists() and Path(one).exists() and path.samefile(one) for one in sources):
        raise UsageError(f'{path} is what is read here; give the result another name')


def write_bytes(path: str | Path, data: bytes, **options: bool) -> None:
    """Write a file whole or not at all; ``options`` are those of :func:`replacing`."""
    with replacing(path, needed=len(data), **options) as part:
        part.write_bytes(data)


def write_text(path: str | Path, text: str, **options: bool) -> None:
    """Write UTF-8 with the newlines of ``text``; see :func:`write_bytes`.

    Bytes of file names that are no UTF-8 stand in it as ``\\udcfc``, as in messages.
    """
    write_bytes(path, text.encode('utf-8', 'backslashreplace'), **options)


@contextmanager
def making_folder(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """A folder to fill, which becomes ``path`` if the block succeeds and else is removed.

    As :func:`replacing` for a whole folder: with a name of its own, swept when its writer was
    killed, and moved to its place when it is complete. The folders above are made.

    Args:
        path: the folder; it must not exist, or be empty.
        overwrite: delete an existing one when the new one is complete.

    Raises:
        FileExistsError: ``path`` is there and ``overwrite`` is not set.
        OutputError: it cannot be made, or the disk is full.
    """
    path = Path(path)
    if not overwrite and path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise FileExistsError(f'{path} exists already; remove it or name another folder')
    _check_target(path / 'file', path.with_name('file'), True, True)
    sweep(path.parent)
    part = path.with_name(part_name(path.name))
    try:
        with explained(path, part, None):
            part.mkdir()
            yield part
            if overwrite and path.exists():
                shutil.rmtree(path)
            try:
                part.replace(path)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                raise FileExistsError(
                    f'{path}: was made by somebody else meanwhile; remove it or name another folder'
                ) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def listing(
    folder: str | Path, suffixes: Iterable[str] = (), recursive: bool = False
) -> list[Path]:
    """Files of a folder, sorted by path, without what systems put beside them.

    Left out are hidden files (macOS's ``._name`` and ``.DS_Store`` among them), ``Thumbs.db``,
    ``desktop.ini`` and the folder ``__MACOSX``.

    Args:
        folder: where to look.
        suffixes: endings to keep, such as ``.png``, in lower or upper case; all if empty.
        recursive: also in folders below.

    Raises:
        FileNotFoundError: no such folder.
        NotADirectoryError: it is a file.
    """
    folder = Path(folder)
    if not folder.exists():
        raise FileNotFoundError(f'{folder}: no such folder')
    if not folder.is_dir():
        raise NotADirectoryError(f'{folder}: is a file; a folder is needed')
    wanted = tuple(suffix.lower() for suffix in suffixes)
    found = []
    for root, folders, names in os.walk(folder, followlinks=True):
        folders[:] = (
            [name for name in folders if not (is_clutter(name) or _is_loop(root, name))]
            if recursive
            else []
        )
        found += [
            Path(root, name)
            for name in names
            if not is_clutter(name) and (not wanted or name.lower().endswith(wanted))
        ]
    return sorted(path for path in found if path.is_file())


def _is_loop(root: str, name: str) -> bool:
    """Whether a folder is a link to one that it lies in: it would be walked forty times over."""
    path = Path(root, name)
    if not path.is_symlink():
        return False
    inside, above = path.resolve(), Path(root).absolute()
    return any(inside == folder.resolve() for folder in (above, *above.parents))


def with_own_name(path: Path) -> Path:
    """A path to derive a name beside it from: ``.`` and ``..`` by the folder's own name.

    Raises:
        OutputError: the root of all folders, which nothing lies beside.
    """
    if path.name not in ('', '..'):
        return path
    whole = path.resolve()
    if not whole.name:
        raise OutputError(f'{path}: nothing lies beside it; say where the results go')
    return whole


def is_clutter(name: str | Path) -> bool:
    """Whether a file's name is one that no user gave: hidden, ``Thumbs.db`` and the like."""
    name = os.path.basename(name)
    return name.startswith('.') or name.lower() in _CLUTTER


def _check_target(path: Path, place: Path, overwrite: bool, parents: bool) -> None:
    if place.is_dir():
        raise OutputError(f'{path}: is a folder; name a file in it')
    if parents:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            file = next((up for up in place.parents if up.is_file()), place.parent)
            raise OutputError(
                f'{path}: {file} is a file, not a folder; choose another place'
            ) from error
        except OSError as error:
            raise OutputError(
                f'{path}: its folder cannot be made: {error.strerror or error}'
            ) from error
    elif not place.parent.is_dir():
        raise FileNotFoundError(f'{path}: no folder {place.parent} to write to')
    if not overwrite and os.path.lexists(path):
        raise FileExistsError(
            f'{path}: exists already; choose another name, or give --overwrite (overwrite=True)'
        )


def _move(part: Path, place: Path, overwrite: bool) -> None:
    if overwrite:
        with suppress(OSError):
            part.chmod(stat.S_IMODE(place.stat().st_mode))
        os.replace(part, place)
        return
    try:
        os.link(part, place)  # unlike a rename, fails if somebody was faster
    except FileExistsError:
        raise FileExistsError(
            f'{place}: was made by somebody else meanwhile; choose another name'
        ) from None
    except OSError:  # a file system without links
        os.replace(part, place)


def _synchronise(path: Path) -> None:
    try:
        handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    except PermissionError:  # a folder on Windows
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that cannot
            raise
    finally:
        os.close(handle)
