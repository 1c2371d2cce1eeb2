"""Which picture a label of BIDS, or a volume or row without a name, is of.

Labels of BIDS hold letters and digits only: ``face_01.png`` becomes ``contrast-face01``. nilearn
besides writes words for signs and joins parts as in camel case (``old-face_1`` becomes
``oldMinusFace1``). A table of the data set, such as ``events.tsv`` with its column ``stim_file``,
says which label is which picture where names do not.
"""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mmclarity.errors import DataError

from .readers import split_spec

COLUMN = 'stim_file'
FIRST = 'trial_type'
MISSING = ('', 'n/a', 'na', 'nan')
SIGNS = {'-': 'Minus', '+': 'Plus', '>': 'Gt', '<': 'Lt'}
REMEDY = 'say which is which by a table (--stimulus-table events.tsv:COLUMN)'


def plain(name: str) -> str:
    """Letters and digits of a name, small."""
    return ''.join(letter for letter in name.casefold() if letter.isalnum())


def forms(name: str) -> set[str]:
    """What is left of a name in a label of BIDS: signs left out, or as words."""
    return {plain(name), plain(''.join(SIGNS.get(letter, letter) for letter in name))}


def match_labels(labels: Sequence[str], ids: Iterable[str], source: str) -> list[str]:
    """The labels, each as the id of the picture it stands for; unknown ones stay as they are.

    Raises:
        DataError: If a label fits several pictures, or several labels fit one.
    """
    known: dict[str, list[str]] = {}
    for name in ids:
        for form in forms(name):
            known.setdefault(form, []).append(name)
    matched = []
    for label in labels:
        fitting = known.get(plain(label), [])
        if len(fitting) > 1:
            raise DataError(
                f'{source}: the label {label!r} may be of {fitting[0]!r} or {fitting[1]!r}, which '
                f'BIDS cannot tell apart; {REMEDY}'
            )
        matched.append(fitting[0] if fitting else label)
    first: dict[str, str] = {}
    for label, name in zip(labels, matched):
        if first.setdefault(name, label) != label:
            raise DataError(
                f'{source}: the labels {first[name]!r} and {label!r} both fit the picture '
                f'{name!r}; {REMEDY}'
            )
    changed = [f'{label} = {name}' for label, name in zip(labels, matched) if label != name]
    if changed:
        warnings.warn(
            f'{source}: {len(changed)} labels of BIDS, letters and digits only, were matched with '
            f'names of pictures ({", ".join(changed[:3])}{", ..." if len(changed) > 3 else ""})',
            stacklevel=3,
        )
    return matched


class StimulusTable:
    """A table with a line a trial or stimulus: ``events.tsv``, or any CSV or TSV with a header.

    Args:
        spec: ``FILE`` or ``FILE:COLUMN``; the column names the picture. Defaults to
            ``stim_file``.
        files: Ids by the names of the pictures' files. Defaults to the names without ending.

    Raises:
        FileNotFoundError: If there is no such file.
        DataError: If there is no such column, or it is empty.
    """

    def __init__(self, spec: str | Path, files: Mapping[str, str] | None = None) -> None:
        self.path, column = split_spec(spec)
        self.column = column or COLUMN
        self.rows = table_rows(self.path)
        names = list(self.rows[0]) if self.rows else []
        if self.column not in names:
            raise DataError(
                f'{self.path} has no column {self.column!r} that names the picture; it has '
                f'{", ".join(names)}. Write {self.path}:COLUMN'
            )
        files = files or {}
        self.ids = [_id(row[self.column], files) for row in self.rows]
        if not any(self.ids):
            raise DataError(f'{self.path}: the column {self.column!r} names no picture')

    def in_order(self, count: int, source: str) -> list[str]:
        """Ids of volumes or rows without names, which stand in the order of the lines.

        Raises:
            DataError: If there are not as many lines that name a picture.
        """
        found = [name for name in self.ids if name]
        if len(found) != count:
            raise DataError(
                f'{source} has {count} stimuli without names, {self.path} names a picture '
                f'({self.column}) in {len(found)} lines; they must be as many, in one order'
            )
        return found

    def renamed(self, labels: Sequence[str], source: str) -> list[str]:
        """Ids of labels, by the column that holds them; those it lacks stay as they are.

        Raises:
            DataError: If no column holds a label, two columns say different things, or a label
                stands for several pictures.
        """
        found = {}
        for column in dict.fromkeys((FIRST, *self.rows[0])):
            pictures = self._by_label(column)
            places = {n: pictures[plain(n)] for n in labels if plain(n) in pictures}
            if places:
                found[column] = places
        most = max((len(places) for places in found.values()), default=0)
        best = {column: places for column, places in found.items() if len(places) == most}
        if not best:
            raise DataError(
                f'{self.path} has no column with the labels of {source} ({", ".join(labels[:3])}'
                f'{", ..." if len(labels) > 3 else ""}); it has {", ".join(self.rows[0])}'
            )
        column, places = next(iter(best.items()))
        odd = next((c for c, other in best.items() if other != places), None)
        if odd and column != FIRST:
            raise DataError(
                f'{self.path}: the labels of {source} stand in the columns {column} and {odd}, for '
                'different pictures; leave one out'
            )
        several = next((label for label, names in places.items() if len(names) > 1), None)
        if several is not None:
            names = sorted(places[several])
            raise DataError(
                f'{self.path}: {several!r} ({column}) stands for {len(names)} pictures '
                f'({names[0]}, {names[1]}{", ..." if len(names) > 2 else ""}); an RDM of pictures '
                'needs an estimate of each'
            )
        return [next(iter(places.get(label, ())), label) for label in labels]

    def _by_label(self, column: str) -> dict[str, set[str]]:
        """Pictures by form of a label."""
        found: dict[str, set[str]] = {}
        for row, name in zip(self.rows, self.ids):
            label = row.get(column)
            if name and label and label.lower() not in MISSING:
                for form in forms(label) | forms(_stem(label)):
                    found.setdefault(form, set()).add(name)
        return found


def average_repeats(responses: np.ndarray, ids: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """(n, units) of (trials, units), the mean of all that have one id, and the ids."""
    unique = list(dict.fromkeys(ids))
    places: dict[str, list[int]] = {name: [] for name in unique}
    for place, name in enumerate(ids):
        places[name].append(place)
    return np.stack([responses[places[name]].mean(0) for name in unique]), unique


def table_rows(path: Path) -> list[dict[str, str]]:
    """Lines of a CSV or TSV below its header, fields by the names of the columns.

    Raises:
        FileNotFoundError: If there is no such file.
        DataError: If it is no text in UTF-8, a line has another number of fields, or there is none.
    """
    if not path.is_file():
        raise FileNotFoundError(f'{path}: there is no such table of stimuli')
    try:
        text = path.read_text(encoding='utf-8-sig')
    except UnicodeDecodeError as error:
        raise DataError(f'{path} is no text in UTF-8 ({error})') from error
    lines = text.splitlines()
    mark = '\t' if path.suffix.lower() == '.tsv' or '\t' in text.split('\n', 1)[0] else ','
    rows = list(csv.DictReader(lines, delimiter=mark))
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise DataError(f'{path}, line {number}: has not as many fields as the header')
    if not rows:
        raise DataError(f'{path} has no line below its header')
    return [{key.strip(): value.strip() for key, value in row.items()} for row in rows]


def _id(value: str, files: Mapping[str, str]) -> str:
    """Id of a picture, '' where there was none."""
    if value.lower() in MISSING:
        return ''
    name = re.split(r'[\\/]', value)[-1]
    return files.get(name) or _stem(value)


def _stem(value: str) -> str:
    """Name of a file without folder and ending; a value that is none stays as it is."""
    name = re.split(r'[\\/]', value)[-1]
    return re.sub(r'\.(png|jpe?g|bmp|tiff?|gif|webp)$', '', name, flags=re.IGNORECASE)
