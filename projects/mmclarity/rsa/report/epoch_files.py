"""Analyses of a training in their folder: ``epoch_N.npz`` or ``iter_N.npz``."""

from __future__ import annotations

import re
from pathlib import Path


def analyses_in(folder: str | Path) -> dict[tuple[str, int], Path]:
    """Files by unit ('epoch' or 'iter') and number, in the order of the numbers.

    Others, such as copies that a user has named, are not among them.
    """
    found = {}
    for path in Path(folder).glob('*.npz'):
        match = re.fullmatch(r'(epoch|iter)_(\d+)', path.stem)
        if match:
            found[match[1], int(match[2])] = path
    return dict(sorted(found.items()))


def put_aside(path: Path, folder: Path) -> None:
    """Move a file into a folder, which is made if it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    path.rename(folder / path.name)
