"""What an earlier run has drawn, of which some may belong to no present result."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from mmclarity.errors import DataError
from mmclarity.utils.json_files import read_json
from mmclarity.utils.names import on_disk

KINDS = ('.jpg', '.jpeg', '.png', '.mp4')


def noted(coco: Path) -> list[str]:
    """Names below ``drawn/`` that a run has noted in its COCO file; none where it has not."""
    with suppress(FileNotFoundError, DataError, KeyError, TypeError):
        return [str(name) for name in read_json(coco)['info']['drawn']]
    return []


def remove_stale(folder: Path, earlier: Iterable[str], present: Iterable[Path]) -> int:
    """Remove what an earlier run has noted as drawn by it and this one has not; how many those are.

    Folders of frames that are empty then go, too. Only names below ``folder`` are looked at.

    Args:
        folder: That of drawn pictures.
        earlier: What :func:`noted` says.
        present: What this run has drawn.
    """
    # Disks that do not tell A.jpg from a.jpg have one file of both names.
    kept = {_identity(path) for path in present}
    root, removed, emptied = folder.resolve(), 0, set[Path]()
    for name in earlier:
        path = folder / on_disk(name)
        inside = root in path.resolve().parents and path.suffix.lower() in KINDS
        if not inside or not path.is_file() or _identity(path) in kept:
            continue
        path.unlink()
        removed += 1
        emptied |= {above for above in path.parents if folder in above.parents}
    for above in sorted(emptied, key=lambda path: len(path.parts), reverse=True):
        with suppress(OSError):  # not empty
            above.rmdir()
    return removed


def strangers(folder: Path, present: Iterable[Path]) -> list[str]:
    """Names of the files in the folder that this run has not drawn, but for hidden ones."""
    kept = {_identity(path) for path in present}
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob('*')
        if not path.name.startswith('.') and path.is_file() and _identity(path) not in kept
    )


def _identity(path: Path) -> tuple[int, int] | None:
    with suppress(OSError):
        found = os.stat(path)
        return found.st_dev, found.st_ino
    return None
