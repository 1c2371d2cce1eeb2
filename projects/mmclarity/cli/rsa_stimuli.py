"""Stimuli of ``--time`` and ``--trials``, and their labels: ``--groups`` and ``--categories``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmclarity.errors import DataError, said
from mmclarity.rsa.data.ids import names_of_pictures
from mmclarity.rsa.data.labels import table_rows
from mmclarity.rsa.data.readers import split_spec

TABLES = ('.csv', '.tsv')


def places_of(
    known: Sequence[str],
    ids: Sequence[str],
    source: str,
    count: int,
    remedy: str = ' To use what all have, say --common',
) -> list[int]:
    """Where the stimuli are among the ``count`` of a file, which may name them as files.

    Raises:
        DataError: If the file lacks one, has one twice, or names more or fewer than it has.
    """
    if len(known) != count:
        raise DataError(f'{source}: {len(known)} ids for {count} stimuli; is another axis theirs?')
    twice = next((name for name, count in Counter(known).items() if count > 1), None)
    if twice is not None:
        raise DataError(f'{source}: the id {twice!r} comes twice; one row a picture is needed')
    place = {name: i for i, name in enumerate(names_of_pictures(known, ids))}
    missing = [name for name in ids if name not in place]
    if missing:
        raise DataError(
            f'{source} lacks the stimulus {missing[0]!r} ({len(missing)} of {len(ids)}); it has '
            f'{", ".join(known[:5])}, ...{remedy}'
        )
    return [place[name] for name in ids]


def read_labels(spec: str | None, ids: Sequence[str], option: str) -> list[str] | None:
    """One label per stimulus from ``FILE[:KEY]``: a text, an array, or a table that names them.

    Args:
        spec: as given; None: there is no such option.
        ids: of the stimuli.
        option: for messages.

    Raises:
        FileNotFoundError: If there is no such file.
        DataError: If it cannot be read, the key is missing or the number is wrong.
    """
    if spec is None:
        return None
    path, key = split_spec(spec)
    if not path.is_file():
        raise FileNotFoundError(f'{option} {spec}: {path} does not exist')
    try:
        if path.suffix.lower() in ('.npz', '.npy'):
            found = _labels_of_array(path, key, f'{option} {spec}')
        elif path.suffix.lower() in TABLES and (rows := _named_rows(path, ids)) is not None:
            return _labels_of_table(*rows, ids, key, f'{option} {spec}')
        else:
            lines = path.read_text(encoding='utf-8-sig').splitlines()
            found = [line.strip() for line in lines if line.strip()]
    except DataError:
        raise
    except Exception as error:  # of a damaged file
        raise DataError(
            f'{option} {spec} cannot be read: {said(error)}. Give a text in UTF-8 with a label a '
            'line, a table with the names of the pictures, npy or npz'
        ) from error
    if len(found) != len(ids):
        raise DataError(
            f'{option} {spec} has {len(found)} entries for {len(ids)} stimuli; give '
            'one each, in the order of the ids, or a table (.csv) with their names'
        )
    return found


def check_groups(groups: Sequence[str] | None, spec: str) -> None:
    """Raise a DataError where no two stimuli belong together, as of lines that are names."""
    if groups is not None and len(set(groups)) == len(groups):
        raise DataError(
            f'--groups {spec}: every stimulus is a group of its own ({groups[0]}, ...); give one '
            'label to those that belong together, or leave --groups out'
        )


def _labels_of_array(path: Path, key: str | None, source: str) -> list[str]:
    loaded = np.load(path, allow_pickle=False)
    if path.suffix.lower() == '.npz':
        with loaded:
            if key not in loaded:
                held = ', '.join(loaded.files)
                raise DataError(f'{source}: choose a key of {path}: {held}')
            loaded = loaded[key]
    return [str(item) for item in loaded.ravel()]


def _named_rows(path: Path, ids: Sequence[str]) -> tuple[list[dict[str, str]], str] | None:
    """Lines of a table and its column with the names of the pictures; None where it has none."""
    wanted, text = set(ids), path.read_text(encoding='utf-8-sig')
    if not any(mark in text.partition('\n')[0] for mark in ',\t'):
        return None  # a label a line
    rows = table_rows(path)
    for column in rows[0]:
        if not wanted.isdisjoint(names_of_pictures([row[column] for row in rows], ids)):
            if not wanted.isdisjoint(names_of_pictures([column], ids)):
                raise DataError(f'{path} begins with a picture; give it a first line, id,label')
            return rows, column
    first = ', '.join(list(rows[0].values())[:3])
    raise DataError(
        f'{path} has no column with the names of the pictures ({", ".join(list(ids)[:3])}, ...); '
        f'below the header {", ".join(rows[0])} it begins with {first}'
    )


def _labels_of_table(
    rows: list[dict[str, str]], names: str, ids: Sequence[str], key: str | None, source: str
) -> list[str]:
    """Labels by the names of the pictures, from the column of that name or the only other one."""
    others = [column for column in rows[0] if column != names]
    if key is None and len(others) == 1:
        key = others[0]
    if key not in others:
        raise DataError(f'{source}: choose a column beside {names}: {", ".join(others)}')
    places = places_of([row[names] for row in rows], ids, source, len(rows), '')
    return [rows[place][key] for place in places]
