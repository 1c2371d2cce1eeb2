"""Numbers as CSV files and Markdown tables.

A number that is undefined or was not computed is an empty field in every CSV file: spreadsheets
leave it out of their means and pandas, R and ``numpy.genfromtxt`` read it as missing, whereas
``nan`` or ``N/A`` makes text of a cell or of a whole column. In a Markdown table, which people
read, it is ``N/A``.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from mmclarity.errors import UsageError

from .files import write_text

NOT_AVAILABLE = 'N/A'

__all__ = ['NOT_AVAILABLE', 'csv_text', 'markdown_table', 'number', 'replace_part', 'write_csv']


def number(value: Any, form: str = '.6g', undefined: str = '') -> str:
    """A number as text: six significant digits, and ``undefined`` for None, NaN and infinity."""
    if value is None or not math.isfinite(float(value)):
        return undefined
    return format(float(value), form)


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A CSV table with a line of names; floats as :func:`number`, whole numbers and texts as is.

    Raises:
        ValueError: a row has another length than ``columns``.
    """
    text = io.StringIO(newline='')
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(columns)
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f'a row of {len(row)} values for {len(columns)} columns: {row!r}')
        writer.writerow([_field(value) for value in row])
    return text.getvalue()


def write_csv(
    path: str | Path, columns: Sequence[str], rows: Iterable[Sequence[Any]], parents: bool = True
) -> None:
    """Write :func:`csv_text` in UTF-8, whole or not at all; the folder is made where missing."""
    write_text(path, csv_text(columns, rows), parents=parents)


def markdown_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], align: str | None = None
) -> str:
    """A GitHub table without a newline at its end.

    Args:
        header: names of the columns.
        rows: texts; a ``|`` in them is escaped.
        align: ``l``, ``r`` or ``c`` for each column; the first left and others right if None.

    Raises:
        ValueError: a row or ``align`` has another length than ``header``.
    """
    align = 'l' + 'r' * (len(header) - 1) if align is None else align
    rules = {'l': '---', 'r': '---:', 'c': ':---:'}
    lines = [list(header), [rules[letter] for letter in align], *map(list, rows)]
    for line in lines:
        if len(line) != len(header):
            raise ValueError(f'{len(line)} cells for {len(header)} columns: {line!r}')
    return '\n'.join(f'| {" | ".join(map(_cell, line))} |' for line in lines)


def _field(value: Any) -> Any:
    if value is None:
        return ''
    if isinstance(value, Real) and not isinstance(value, int) and not hasattr(value, '__index__'):
        return number(value)
    return value


def _cell(text: str) -> str:
    return str(text).replace('|', '\\|').replace('\n', ' ')


def replace_part(page: Path, name: str, text: str) -> None:
    """Puts a text between two marks of a page.

    Args:
        page: Markdown with the lines ``<!-- NAME: begin -->`` and ``<!-- NAME: end -->``.
        name: of the marks.
        text: Markdown.

    Raises:
        UsageError: the page has no such lines.
    """
    whole = page.read_text(encoding='utf-8')
    begin, end = f'<!-- {name}: begin -->\n', f'<!-- {name}: end -->'
    if begin not in whole or end not in whole:
        raise UsageError(f'{page}: has no lines {begin.strip()} and {end}; add them')
    head, rest = whole.split(begin, 1)
    write_text(page, f'{head}{begin}\n{text}\n\n{end}{rest.split(end, 1)[1]}')
