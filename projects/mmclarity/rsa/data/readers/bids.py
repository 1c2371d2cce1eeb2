"""Which image of a folder is which stimulus of whom, by the entities of BIDS in its name.

``sub-01_ses-1_task-x_run-2_contrast-face01_stat-effect_statmap.nii.gz``, as nilearn's
``save_glm_to_bids`` and FitLins write them: entities ``key-label``, then a suffix (BIDS
specification, "Common principles", "File name structure"). Labels hold letters and digits only.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path

from mmclarity.errors import DataError

from ..ids import natural_order

ENDINGS = ('.nii', '.nii.gz')
# Entities that say which condition or stimulus an image is of.
CONDITIONS = ('contrast', 'stim', 'cond', 'condition', 'trialtype', 'desc', 'label')
# Of the same stimulus: averaged.
REPEATED = ('ses', 'run', 'split', 'chunk')
# Suffixes of what is no pattern.
OTHERS = ('mask', 'dseg', 'probseg')
EFFECT = 'effect'


def images_of(path: Path) -> list[Path]:
    """Images of a folder, or below it where it holds none itself, or those of a pattern.

    Raises:
        DataError: If there is none.
    """
    if path.is_dir():
        files = [p for p in path.iterdir() if p.name.lower().endswith(ENDINGS)]
        files = files or [p for p in path.rglob('*') if p.name.lower().endswith(ENDINGS)]
    else:
        root, pattern = _split(path)
        files = [p for p in root.glob(pattern) if p.name.lower().endswith(ENDINGS)]
    files = natural_order(files, key=str)
    left_out = [p for p in files if entities(p).get('suffix') in OTHERS]
    if left_out and len(left_out) < len(files):
        warnings.warn(
            f'{path}: {left_out[0].name}{_more(left_out)} left out, as no pattern but a mask. To '
            f'use one, write {path}:MASK',
            stacklevel=2,
        )
        files = [p for p in files if p not in left_out]
    if not files:
        what = 'is a folder without images' if path.is_dir() else 'fits no image'
        raise DataError(f'{path} {what} ({", ".join(ENDINGS)})')
    return files


def is_pattern(path: Path) -> bool:
    """Whether this names several images by wildcards, in names of folders too."""
    marked = any(mark in str(path) for mark in '*?') and not path.exists()
    return marked and path.name.lower().endswith((*ENDINGS, '*'))


def _split(pattern: Path) -> tuple[Path, str]:
    """The folder above all wildcards, and what is below it."""
    depth = next(i for i, part in enumerate(pattern.parts) if any(mark in part for mark in '*?'))
    return Path(*pattern.parts[:depth]), str(Path(*pattern.parts[depth:]))


def entities(path: Path) -> dict[str, str]:
    """Labels by key, and the last part as ``suffix``."""
    parts = stem(path).split('_')
    found = dict(part.split('-', 1) for part in parts if '-' in part)
    if len(parts) > 1 and '-' not in parts[-1]:
        found['suffix'] = parts[-1]
    if 'sub' not in found:
        folder = next((p for p in path.parts[::-1] if re.fullmatch(r'sub-[A-Za-z0-9]+', p)), None)
        if folder:
            found['sub'] = folder.removeprefix('sub-')
    return found


def _below(path: Path) -> str:
    """Where the images of a folder or pattern lie, for a narrower pattern."""
    if not path.is_dir():
        return str(path.parent)
    own = any(p.name.lower().endswith(ENDINGS) for p in path.iterdir())
    return str(path if own else path / '**')


def stem(path: Path) -> str:
    """The name without its ending."""
    return re.sub(r'\.nii(\.gz)?$', '', path.name, flags=re.IGNORECASE)


def by_subject(path: Path) -> tuple[dict[str, dict[str, list[Path]]], bool]:
    """Images of each stimulus of each subject, and whether their ids are labels of BIDS.

    Runs and sessions of one stimulus come together. Of several statistics (``stat-``) of each
    contrast, the effect is taken.

    Raises:
        DataError: If images differ in further entities, with the way to choose.
    """
    files = images_of(path)
    known = {file: entities(file) for file in files}
    known = _effects(known, path)
    values = {
        key: natural_order({found.get(key, '') for found in known.values()})
        for key in dict.fromkeys(k for found in known.values() for k in found)
    }
    varying = [key for key, labels in values.items() if len(labels) > 1]
    telling = [key for key in CONDITIONS if key in varying and '' not in values[key]]
    if not telling:
        return _by_name(list(known), values, path), False
    further = [k for k in varying if k not in ('sub', *REPEATED, telling[0])]
    if further:
        key = further[0]
        label = next(item for item in values[key] if item)
        raise DataError(
            f'{path}: images differ in {telling[0]}- and also in '
            f'{", ".join(f"{k}- ({_listed(values[k])})" for k in further)}; name those that are '
            f'meant by a pattern, {_below(path)}/*{key}-{label}*.nii.gz'
        )
    found: dict[str, dict[str, list[Path]]] = {}
    for file, labels in known.items():
        whose = found.setdefault(labels.get('sub', ''), {})
        whose.setdefault(labels[telling[0]], []).append(file)
    _say_averaged(found, path)
    return found, True


def _effects(known: dict[Path, dict[str, str]], path: Path) -> dict[Path, dict[str, str]]:
    """The images of one statistic."""
    stats = natural_order({found.get('stat', '') for found in known.values()})
    if len(stats) < 2 or EFFECT not in stats:
        return known
    others = _listed([stat for stat in stats if stat not in ('', EFFECT)])
    warnings.warn(
        f'{path} holds several statistics; stat-{EFFECT} is taken. For another ({others}) write a '
        f'pattern, {_below(path)}/*stat-t*.nii.gz',
        stacklevel=3,
    )
    return {file: found for file, found in known.items() if found.get('stat', EFFECT) == EFFECT}


def _by_name(
    files: Sequence[Path], values: dict[str, list[str]], path: Path
) -> dict[str, dict[str, list[Path]]]:
    """Ids from whole names, where no entity tells the images apart."""
    if len(values.get('sub', [])) > 1:
        raise DataError(
            f'{path} holds {len(values["sub"])} subjects, and no entity that tells their stimuli '
            f'apart ({", ".join(CONDITIONS)}); name the images of one subject by a pattern'
        )
    return {'': {stem(file): [file] for file in files}}


def _say_averaged(found: dict[str, dict[str, list[Path]]], path: Path) -> None:
    counts = [len(files) for labels in found.values() for files in labels.values()]
    if max(counts) > 1:
        span = str(max(counts)) if min(counts) == max(counts) else f'{min(counts)} to {max(counts)}'
        warnings.warn(
            f'{path}: {span} images of each stimulus (runs or sessions) are averaged', stacklevel=4
        )


def _listed(items: Sequence[str], most: int = 4) -> str:
    shown = [item or 'none' for item in items[:most]]
    return ', '.join(shown) + (', ...' if len(items) > most else '')


def _more(items: Sequence[Path]) -> str:
    return f' and {len(items) - 1} more are' if len(items) > 1 else ' is'
