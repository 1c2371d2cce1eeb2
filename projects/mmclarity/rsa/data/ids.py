"""Order of names of stimuli."""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

T = TypeVar('T')
SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp')  # of stimuli


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """What sorts names as people do: ``im2`` before ``im10``, capitals beside small letters."""
    parts = re.split(r'(\d+)', name)
    key = [(0, int(p), p) if p[0].isdecimal() else (1, 0, p.casefold()) for p in parts if p]
    return [*key, (2, 0, name)]


def natural_order(items: Iterable[T], key: Callable[[T], str] = str, what: str = '') -> list[T]:
    """Sorted by name, numbers by value: 1, 2, 10.

    Args:
        items: What is sorted.
        key: The name of one.
        what: Where not empty: names the items in a warning that is given where the alphabetical
            order would be another, since files made elsewhere may be in that one.
    """
    found = sorted(items, key=lambda item: natural_key(key(item)))
    if what:
        names: Sequence[Any] = [key(item) for item in found]
        other = sorted(names)
        if names != other:
            place = next(i for i, (a, b) in enumerate(zip(names, other)) if a != b)
            warnings.warn(
                f'{what} are in natural order, {names[place]!r} at place {place}, where the '
                f'alphabetical order has {other[place]!r}. It matters for what has no ids, '
                'recordings or lists of groups or categories: write a manifest if theirs is '
                'another order',
                stacklevel=3,
            )
    return found


def name_of_file(text: str) -> str:
    """The name of an image file without folder and ending; other texts as they are.

    Examples:
        >>> name_of_file('images/face1.PNG'), name_of_file('v1.2'), name_of_file('face1')
        ('face1', 'v1.2', 'face1')
    """
    name = re.split(r'[/\\]', text)[-1]
    stem, dot, ending = name.rpartition('.')
    return stem if dot and f'.{ending.lower()}' in SUFFIXES else name


def names_of_pictures(ids: Sequence[str], wanted: Iterable[str]) -> list[str]:
    """Ids as those of pictures: names of files without folder and ending, where that finds more.

    Where an id is found as it stands, none would be found either way, or two would become one,
    all stay as they are. Letters with accents are the same in both of their Unicode forms (files
    on a Mac have the other one).

    Args:
        ids: of a table or recording.
        wanted: ids of the pictures.

    Examples:
        >>> names_of_pictures(['images/face1.png', 'images/cat.png'], ['cat', 'dog'])
        ['face1', 'cat']
        >>> names_of_pictures(['a/cat.png', 'b/cat.png'], ['cat'])
        ['a/cat.png', 'b/cat.png']
    """
    pictures = set(wanted)
    composed = {unicodedata.normalize('NFC', name): name for name in pictures}

    def known(texts: Sequence[str]) -> list[str]:
        found = [
            one if one in pictures else composed.get(unicodedata.normalize('NFC', one), one)
            for one in texts
        ]
        return found if len(set(found)) == len(texts) else list(texts)

    ids, plain = known(ids), known([name_of_file(one) for one in ids])
    helps = pictures.isdisjoint(ids) and not pictures.isdisjoint(plain)
    return plain if helps and len(set(plain)) == len(plain) else list(ids)
