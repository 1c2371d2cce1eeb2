"""Whether a generator's data set is there already: one rule for all of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmclarity.errors import DataError


def is_made(
    out: Path, manifest: str, settings: Mapping[str, Any], overwrite: bool | None = None
) -> bool:
    """Whether ``out`` holds a finished data set of these settings.

    What a generator did not make is never deleted: a folder of other files is refused, whatever
    ``overwrite`` says.

    Args:
        out: the folder; missing or empty, there is nothing.
        manifest: name of the JSON file in it that a generator writes last.
        settings: what tells one data set from another; the manifest may hold more.
        overwrite: replace one of other settings; None where the tool has no such option.

    Raises:
        DataError: ``out`` is a file; it holds something else; or a data set of other settings.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    if not out.is_dir():
        raise DataError(f'{out} is a file; choose another folder')
    file = out / manifest
    try:
        found = json.loads(file.read_text(encoding='utf-8'))
    except FileNotFoundError:
        raise DataError(
            f'{out} holds files and no {manifest}: it was not made by this tool, or not finished; '
            'choose another folder, or delete it'
        ) from None
    except (OSError, ValueError) as error:
        raise DataError(
            f'{file} is not JSON ({error}); delete {out}, or choose another folder'
        ) from None
    if not isinstance(found, dict) or not set(settings) <= set(found):
        raise DataError(f'{file} is not a manifest of this tool; choose another folder')
    if overwrite:
        return False
    known = {key: found[key] for key in settings}
    if known != dict(settings):
        remedy = 'delete it' if overwrite is None else 'replace it with --overwrite'
        raise DataError(
            f'{out} was made with other settings ({known}, now {dict(settings)}); choose another '
            f'folder, or {remedy}'
        )
    return True
