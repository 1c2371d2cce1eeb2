"""A work directory belongs to one training at a time."""

from __future__ import annotations

import errno
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from mmclarity.errors import UsageError
from mmclarity.utils.files import host, is_alive, sweep

fcntl: Any = None
msvcrt: Any = None
with suppress(ModuleNotFoundError):
    import fcntl
with suppress(ModuleNotFoundError):  # Windows
    import msvcrt

LOCK = '.in_use'
# Windows keeps others from reading what is locked: a byte far behind the note.
_FAR = 1 << 20
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_held: set[WorkDirLock] = set()


class WorkDirLock:
    """Keeps a second training out of a folder while this process lives.

    The file ``.in_use`` says which process has the folder, and carries the system's own lock
    (``flock``, on NFS too; ``msvcrt.locking`` on Windows), which ends with the process however it
    ends: a killed training leaves nothing behind that would have to be cleared by hand. On a file
    system without locks, a process of this machine is asked for by its number, and one of another
    machine is believed.

    Use it as a context manager, or call :meth:`release`.

    Args:
        folder: the work directory; made if it is missing.

    Raises:
        UsageError: another training has it; host, process and since when are told.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / LOCK
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)  # never inherited (PEP 446)
        try:
            self._take(file)
        except BaseException:
            os.close(file)
            raise
        self._file: int | None = file
        _held.add(self)
        sweep(folder)  # parts that killed trainings left may be what fills the disk

    def _take(self, file: int) -> None:
        holder = self._holder(file)
        try:
            locks = _locked(file)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise self._refusal(holder) from None
            locks = False
        if not locks and self._seems_alive(holder):
            raise self._refusal(holder)
        note = dict(host=host(), pid=os.getpid(), since=time.strftime('%Y-%m-%d %H:%M:%S %z'))
        os.ftruncate(file, 0)
        os.lseek(file, 0, os.SEEK_SET)
        os.write(file, json.dumps(note).encode())

    @staticmethod
    def _holder(file: int) -> dict[str, Any]:
        with suppress(ValueError, OSError):
            os.lseek(file, 0, os.SEEK_SET)
            found = json.loads(os.read(file, 4096))
            if isinstance(found, dict):
                return found
        return {}

    @staticmethod
    def _seems_alive(holder: dict[str, Any]) -> bool:
        if 'pid' not in holder or (holder.get('host'), holder['pid']) == (host(), os.getpid()):
            return False
        return holder.get('host') != host() or is_alive(int(holder['pid']))

    def _refusal(self, holder: dict[str, Any]) -> UsageError:
        who = (
            f'process {holder["pid"]} on {holder.get("host")} since {holder.get("since")}'
            if 'pid' in holder
            else 'another process'
        )
        return UsageError(
            f'{self.path.parent}: another training writes there ({who}). Wait for it, end it, or '
            f'choose another folder with --work-dir. If it is long gone, delete {self.path}'
        )

    def release(self) -> None:
        """Let others in; calling it again does nothing."""
        if self._file is None:
            return
        # Emptied, not deleted: somebody may have opened it and wait for the lock of this file.
        with suppress(OSError):
            os.ftruncate(self._file, 0)
        os.close(self._file)
        self._file = None
        _held.discard(self)

    def __enter__(self) -> WorkDirLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _locked(file: int) -> bool:
    """Take the system's lock; False where Python knows none.

    Raises:
        OSError: another process has it, or the file system has no locks (:data:`_NO_LOCKS`).
    """
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    elif msvcrt is not None:
        os.lseek(file, _FAR, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
    return fcntl is not None or msvcrt is not None


def _let_go_in_child() -> None:
    """A forked worker must not keep the lock when its parent is killed."""
    for lock in list(_held):
        if lock._file is not None:
            with suppress(OSError):
                os.close(lock._file)
            lock._file = None
    _held.clear()


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_let_go_in_child)
