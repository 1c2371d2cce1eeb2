"""CSV and TSV, and pandas frames: with or without names of rows and columns."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np

from mmclarity.errors import DataError

from .found import DESCRIPTORS, Found, strings

KEY = 'table'
UNNAMED = ('', 'unnamed: 0')  # of a column of names, as R and pandas write it
MISSING = ('', 'na', 'nan', 'n/a', 'null', 'none', '-', '.')


def read_table(path: Path) -> dict[str, Found]:
    """The one table of a file, under no name that matters.

    A first line or column that holds text is one of names; so are a first line and column whose
    numbers are those of a square with an empty corner, a first line that only counts, and a first
    column that a header leaves without a name or calls ``id``, ``image`` and the like. Rows that
    are only counted have no names. A triangle whose other half is empty is mirrored.

    Raises:
        DataError: If lines differ in length or a field is no number, with its place.
    """
    try:
        text = path.read_text(encoding='utf-8-sig')
    except UnicodeDecodeError as error:
        raise DataError(f'{path} is no text in UTF-8 ({error})') from error
    rows = [
        (number, [field.strip() for field in row])
        for number, row in enumerate(csv.reader(text.splitlines(), delimiter=_delimiter(text)), 1)
        if any(field.strip() for field in row)
    ]
    if not rows:
        raise DataError(f'{path} is empty')
    widths = {len(row) for _, row in rows}
    if len(widths) == 2 and len(rows[0][1]) + 1 == max(widths):
        # R writes no corner above its names of rows.
        rows[0] = (rows[0][0], ['', *rows[0][1]])
        widths = {len(row) for _, row in rows}
    if len(widths) > 1:
        number, row = next((n, r) for n, r in rows if len(r) != len(rows[0][1]))
        raise DataError(
            f'{path}, line {number}: {len(row)} fields where line {rows[0][0]} has '
            f'{len(rows[0][1])}; write tables with fields separated by comma, semicolon or tab'
        )
    cells = np.array([row for _, row in rows], object)
    if _delimiter(text) != ',':
        cells = _with_points(cells)
    header, index = _names(cells)
    top, left = int(header), int(index)
    values = np.empty((cells.shape[0] - top, cells.shape[1] - left))
    for i, j in np.ndindex(values.shape):
        field = cells[i + top, j + left]
        try:
            values[i, j] = np.nan if field.lower() in MISSING else float(field)
        except ValueError:
            raise DataError(
                f'{path}, line {rows[i + top][0]}, field {j + left + 1}: {field!r} is no number'
            ) from None
    names = list(cells[top:, 0]) if index else None
    columns = list(cells[0, left:]) if header else None
    square = values.shape[0] == values.shape[1]
    if names is not None and not square and _no_names(str(cells[0, 0]), names):
        names = None
    return {KEY: table(values, names, columns, str(path))}


def table(
    values: np.ndarray, names: list[str] | None, columns: list[str] | None, source: str
) -> Found:
    """Numbers with what rows and columns are called: a square, responses, or condensed RDMs.

    Raises:
        DataError: If rows and columns of a square have other names, or the same in another order.
    """
    if values.shape[0] == values.shape[1]:
        if names is not None and columns is not None and names != columns:
            if sorted(names) != sorted(columns):
                # As many units as stimuli.
                return Found(values, 'responses', names)
            raise DataError(
                f'{source}: rows and columns have the same names in another order; put them in one'
            )
        return Found(_mirrored(values), ids=names if names is not None else columns)
    if 1 in values.shape:
        return Found(values.ravel())
    return Found(values, ids=names)


def frame(values: Any) -> Found:
    """A pandas DataFrame: an RDM with equal names of rows and columns, else responses by row.

    Names that are only counted, as pandas does by itself, are no ids.

    Raises:
        DataError: If a column holds no numbers, with its name.
    """
    numbers = np.empty(values.shape)
    for place, name in enumerate(values.columns):
        try:
            numbers[:, place] = values.iloc[:, place].to_numpy(np.float64, na_value=np.nan)
        except (TypeError, ValueError) as error:
            raise DataError(
                f'the frame: the column {name!r} holds no numbers ({error}); leave it out, or make '
                'the names of stimuli the index (set_index)'
            ) from error
    counted = type(values.index).__name__ == 'RangeIndex'
    names = None if counted else strings(np.asarray(values.index, object))
    plain = type(values.columns).__name__ == 'RangeIndex'
    columns = None if plain else strings(np.asarray(values.columns, object))
    return table(numbers, names, columns, 'the frame')


def _delimiter(text: str) -> str:
    first = next((line for line in text.splitlines() if line.strip()), '')
    counts = {mark: first.count(mark) for mark in '\t;,'}
    best = max(counts, key=counts.__getitem__)
    return best if counts[best] else ' ' if ' ' in first.strip() else ','


def _with_points(cells: np.ndarray) -> np.ndarray:
    """Numbers with decimal commas, as half of Europe writes them, with points."""
    comma = re.compile(r'[-+]?\d*,\d+([eE][-+]?\d+)?')
    return np.array(
        [[f.replace(',', '.') if comma.fullmatch(f) else f for f in row] for row in cells], object
    )


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return field.lower() in MISSING
    return True


def _names(cells: np.ndarray) -> tuple[bool, bool]:
    """Whether the first line and the first column are names."""
    height, width = cells.shape
    header = not all(map(_is_number, cells[0, 1:])) if width > 1 else not _is_number(cells[0, 0])
    index = not all(map(_is_number, cells[1:, 0])) if height > 1 else False
    corner = cells[0, 0]
    if height > 3 and height == width and (header or index or not _is_number(corner)):
        return True, True
    if height == width and height > 3 and corner == '' and not _is_empty_diagonal(cells):
        return True, True
    # Numbers as names: of a square, one line or column too many.
    if width > 2 and height == width + 1 and list(cells[0]) == list(dict.fromkeys(cells[0])):
        square = cells[1:]
        header = header or _looks_square(square)
    if height > 2 and width == height + 1 and not index:
        index = _looks_square(cells[:, 1:])
    if not header and corner == '' and index:
        header = True
    counted = _counted(cells[0, 1:])
    named = corner.lower() in (*UNNAMED, *DESCRIPTORS) or (counted and not _is_number(corner))
    if 1 < height != width and (_counted(cells[0]) or (named and counted)):
        header = True
    index = index or (header and named)
    return header, index


def _counted(fields: Any) -> bool:
    """Whether these are 0, 1, 2, ... or 1, 2, 3, ..., three at least."""
    return len(fields) > 2 and any(
        all(field == str(i + first) for i, field in enumerate(fields)) for first in (0, 1)
    )


def _no_names(corner: str, names: list[str]) -> bool:
    """Whether rows were only counted: by pandas and R, in a column without a name."""
    return corner.lower() in UNNAMED and _counted(names)


def _is_empty_diagonal(cells: np.ndarray) -> bool:
    return all(cells[i, i] == '' for i in range(len(cells)))


def _looks_square(cells: np.ndarray) -> bool:
    """Symmetric, with one value on the diagonal."""
    same = len({cells[i, i] for i in range(len(cells))}) == 1
    return same and all(cells[i, j] == cells[j, i] for i, j in np.ndindex(cells.shape))


def _mirrored(values: np.ndarray) -> np.ndarray:
    """A triangle whose other half is empty, as a square."""
    missing = np.isnan(values)
    upper = np.triu_indices(len(values), 1)
    for one in (values, values.T):
        if missing.any() and np.isnan(one.T[upper]).all() and not np.isnan(one[upper]).any():
            full = np.where(np.isnan(one), 0, one)
            full = np.triu(full, 1)
            full = full + full.T
            diagonal = np.diag(values)
            np.fill_diagonal(full, np.where(np.isnan(diagonal), 0, diagonal))
            return full
    return values
