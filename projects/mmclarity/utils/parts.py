"""Names of parts, the unfinished files and folders of :mod:`.files`, and who still writes them."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import time
from contextlib import suppress
from pathlib import Path

# '.NAME.HOST-PID-RANDOM.part'. Nobody else's files look like this.
_PART = re.compile(r'\..+\.(?P<host>[\w-]*)-(?P<pid>\d+)-[0-9a-f]{8}\.part')
_NAME_LIMIT = 255  # bytes of a file name
_FOREIGN_AGE = 7 * 24 * 3600.0  # seconds; parts of other machines may be in use until then
_swept: set[str] = set()


def part_name(name: str) -> str:
    """A name for the part of a file or folder ``name``, never the same twice."""
    end = f'.{host()}-{os.getpid()}-{secrets.token_hex(4)}.part'
    room = _NAME_LIMIT - len(end) - 1
    # A name may hold bytes that are no UTF-8, and be cut in the middle of a letter.
    short = name.encode(errors='replace')[:room].decode(errors='ignore')
    return f'.{short}{end}'


def sweep(folder: str | Path) -> list[Path]:
    """Remove the parts that killed writers left in a folder, once a process and folder.

    A part is left alone while the process that its name tells may still write it: one of this
    machine that lives, or one of another machine that touched it within a week.

    Returns:
        What was removed.
    """
    where = os.path.abspath(folder)
    if where in _swept:
        return []
    _swept.add(where)
    removed = []
    with suppress(OSError), os.scandir(where) as entries:
        for entry in entries:
            if entry.name.endswith('.part') and _is_stale(entry):
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        shutil.rmtree(entry.path)
                    else:
                        os.unlink(entry.path)
                    removed.append(Path(entry.path))
    return removed


def host() -> str:
    """Name of this machine, letters, digits and hyphens only."""
    return re.sub(r'[^\w-]', '-', socket.gethostname(), flags=re.ASCII)[:32]


def is_alive(pid: int) -> bool:
    """Whether a process of this machine is there."""
    if os.name != 'posix':
        return True  # asking would end it on Windows
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's
        return True
    return True


def _is_stale(entry: os.DirEntry) -> bool:
    match = _PART.fullmatch(entry.name)
    if match is None:
        return False
    if match['host'] == host():
        return not is_alive(int(match['pid']))
    try:
        return time.time() - entry.stat().st_mtime > _FOREIGN_AGE
    except OSError:
        return False
