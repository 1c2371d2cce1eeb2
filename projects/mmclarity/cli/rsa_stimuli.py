"""Stimuli of recordings that are no areas of their own: ``--time`` and ``--trials``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mmclarity.errors import DataError
from mmclarity.rsa.data.ids import names_of_pictures


def places_of(known: Sequence[str], ids: Sequence[str], source: str) -> list[int]:
    """Where the stimuli are among those of a file, which may name them as files.

    Raises:
        DataError: If the file lacks one, or has one twice.
    """
    twice = next((name for name, count in Counter(known).items() if count > 1), None)
    if twice is not None:
        raise DataError(f'{source}: the id {twice!r} comes twice; one row a picture is needed')
    place = {name: i for i, name in enumerate(names_of_pictures(known, ids))}
    missing = [name for name in ids if name not in place]
    if missing:
        raise DataError(
            f'{source} lacks the stimulus {missing[0]!r} ({len(missing)} of {len(ids)}); it has '
            f'{", ".join(known[:5])}, ... To use what all have, say --common'
        )
    return [place[name] for name in ids]
