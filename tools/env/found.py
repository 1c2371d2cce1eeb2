"""What is installed, what of it is damaged, and what it lacks."""

from __future__ import annotations

import csv
import importlib
import importlib.metadata as metadata
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from wanted import nodeps_names, normal

OPENCV_WITHOUT_LIBGL = 'opencv-python-headless'


def installed_versions() -> dict[str, str]:
    """Normalised name -> version of every installed package whose metadata can be read."""
    found: dict[str, str] = {}
    for dist in metadata.distributions():
        name, version = dist.metadata['Name'], dist.metadata['Version']
        if name and version:
            found.setdefault(normal(name), version)
    return found


def installed_commands(name: str) -> set[str]:
    """The console commands that a package was installed with."""
    points = metadata.distribution(name).entry_points
    return {point.name for point in points if point.group == 'console_scripts'}


def in_environment() -> bool:
    """Whether this Python is a virtual environment's; ``-S`` hides that from ``sys.prefix``."""
    beside = Path(sys.executable).parent.parent / 'pyvenv.cfg'
    return sys.prefix != sys.base_prefix or beside.is_file()


def missing_dependencies(installed: dict[str, str]) -> dict[str, tuple[str, str]]:
    """What installed packages need and is not there, as after a removal by hand.

    Args:
        installed: Versions by normalised name.

    Returns:
        Normalised name -> what to give to pip, and a package that needs it.
    """
    parse = _parser()
    if parse is None:
        return {}
    alone = {normal(name) for name in nodeps_names()}
    stand_ins = {'mmcv-lite': 'mmcv', 'mmcv': 'mmcv-lite', 'opencv-python': OPENCV_WITHOUT_LIBGL}
    found: dict[str, tuple[str, str]] = {}
    for dist in metadata.distributions():
        if normal(dist.metadata['Name'] or '') in alone:
            continue
        for line in dist.requires or ():
            need = parse(line)
            key = normal(need.name)
            if need.marker is not None and not need.marker.evaluate({'extra': ''}):
                continue
            if key not in installed and stand_ins.get(key) not in installed:
                found[key] = f'{need.name}{need.specifier}', dist.metadata['Name']
    return found


def _parser() -> Callable[[str], Any] | None:
    """What reads a requirement with its markers: ``packaging``, or pip's copy of it.

    make_env.sh asks before anything but pip is installed; without pip nothing could be mended.
    """
    for module in ('packaging.requirements', 'pip._vendor.packaging.requirements'):
        with suppress(ImportError):
            return importlib.import_module(module).Requirement
    return None


def damaged_packages() -> dict[str, str]:
    """Packages with files that are missing or cut off, as an interrupted installation leaves them.

    Returns:
        Normalised name -> ``name==version``.
    """
    sizes: dict[Path, set[int | None]] = {}
    files: dict[str, list[Path]] = {}
    specs: dict[str, str] = {}
    missing_record: set[str] = set()
    for dist in metadata.distributions():
        name, version = dist.metadata['Name'], dist.metadata['Version']
        if not name or not version or dist.read_text('direct_url.json'):
            continue  # not from an index: an editable or local installation is its owner's
        key = normal(name)
        specs[key] = f'{name}=={version}'
        record = dist.read_text('RECORD')
        if record is None:
            # pip writes the list of files last. An egg-info, as an old pip leaves it, has none, and
            # names the files of its source in the place.
            if dist.read_text('METADATA') is not None:
                missing_record.add(key)
            continue
        # Not dist.files: from Python 3.12 on it leaves out what is missing.
        for file, _, size in csv.reader(record.splitlines()):
            path = Path(dist.locate_file(file))
            if path.suffix != '.pyc':
                # The opencv packages overwrite each other's files: any owner's size is right.
                sizes.setdefault(path, set()).add(int(size) if size else None)
                files.setdefault(key, []).append(path)

    def intact(path: Path) -> bool:
        try:
            size = path.stat().st_size
        except OSError:
            return False
        return size in sizes[path] or None in sizes[path]

    cut = {key for key, paths in files.items() if not all(map(intact, paths))}
    return {key: specs[key] for key in sorted(cut | missing_record)}
