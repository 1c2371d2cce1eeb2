"""What a reader finds in a file."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmclarity.errors import DataError

# Keys and descriptors under which stimuli are named, the likeliest first.
ID_KEYS = ('ids', 'stimulus_ids', 'names')
DESCRIPTORS = (
    *ID_KEYS,
    *('id', 'stimulus', 'stimuli', 'stim', 'image', 'images', 'condition', 'conditions', 'conds'),
    *('name', 'label', 'labels', 'picture', 'pictures', 'file', 'filename', 'file_name'),
)
# Descriptors of rsatoolbox's RDMs: whose they are, and what is averaged for each.
SUBJECTS = ('subject', 'subjects', 'subj', 'sub', 'participant', 'monkey')
# Keys under which the times of recordings stand.
TIMES = ('times', 'time')
# Bytes of an array that is not read where another one is asked for.
LARGE = 1 << 24
AVERAGED = ('time', 'times', 'session', 'sessions', 'ses', 'run', 'runs')


@dataclass
class Found:
    """Values under a key of a file.

    Args:
        values: An array; a list of arrays, one a subject; or a list of lists, sessions of subjects.
        kind: 'rdm' or 'responses' where the format says so, else 'auto'.
        ids: Of the stimuli, where the format says so.
        labels: The ids are labels of BIDS, which hold letters and digits only.
        times: Of the last axis, where numbers stand beside the values under one of :data:`TIMES`.
        unread: Where there are no values: what stands there, and what to save instead.
    """

    values: Any
    kind: str = 'auto'
    ids: list[str] | None = None
    labels: bool = False
    unread: str = ''
    times: np.ndarray | None = None

    def describe(self) -> str:
        """Shape, or how many of which shape."""
        if isinstance(self.values, np.ndarray):
            return str(self.values.shape)
        inner = Found(self.values[0]).describe() if self.values else 'nothing'
        return f'{len(self.values)} of {inner}'

    def may_be_recordings(self) -> bool:
        """Real numbers, more than one."""
        if isinstance(self.values, list):
            return bool(self.values) and all(Found(v).may_be_recordings() for v in self.values)
        array = self.values
        return array.dtype.kind in 'fiu' and array.ndim >= 1 and array.size > 1


def keys_of(key: str) -> tuple[str, ...]:
    """A key as HDF5 and MATLAB's users write it: ``/V4/rates``, ``V4.rates`` for ``V4/rates``."""
    return key, key.strip('/'), key.replace('.', '/')


def left_aside(name: str, item: Any, key: str | None) -> str:
    """Why a large array of HDF5 is not read where another one is asked for; '' if it is read.

    Laboratories keep all they have in one file: some gigabytes beside the numbers of one area.
    """
    if key is None or item.dtype.kind not in 'fiu' or item.size * item.dtype.itemsize < LARGE:
        return ''
    roots = {one.partition('/')[0] for one in keys_of(key)}
    meant = name in keys_of(key) or ('/' not in name and name in roots)
    return '' if meant else f'{item.shape} numbers, which were not asked for'


def strings(values: np.ndarray) -> list[str]:
    """Ids as texts: whole numbers without a decimal point, bytes decoded."""
    values = np.asarray(values)
    if values.dtype.kind == 'f' and (values == np.round(values)).all():
        values = values.astype(np.int64)  # MATLAB keeps whole numbers as floats: 1, not '1.0'
    return [(v.decode() if isinstance(v, bytes) else str(v)).strip() for v in values.ravel()]


def of_toolbox(
    values: Any, kind: str, patterns: dict[str, Any], rdms: dict[str, Any], source: str
) -> Found:
    """RDMs or data sets of rsatoolbox with their descriptors.

    Args:
        values: (k, P), or measurements (m, units) or (m, units, times).
        kind: 'rdm' or 'responses'.
        patterns: Descriptors of the stimuli or observations.
        rdms: Descriptors of the RDMs.
        source: For messages.
    """
    values = np.asarray(values)
    if kind == 'rdm':
        count = round((1 + (1 + 8 * values.shape[1]) ** 0.5) / 2)
        return Found(one_a_subject(values, rdms, source), kind, named_by(patterns, count))
    ids = named_by(patterns, len(values))
    if values.ndim == 3:
        return Found(values, 'time', ids)
    repeated = by_condition(values, patterns, source) if ids is None else None
    return (
        Found(values, kind, ids) if repeated is None else Found(repeated[0], 'repeats', repeated[1])
    )


def named_by(descriptors: dict[str, Any], count: int) -> list[str] | None:
    """Ids of ``count`` stimuli among the descriptors of rsatoolbox.

    The known names first; else the only one that tells all stimuli apart, rsatoolbox's own
    ``index`` left aside.
    """
    fitting = {
        key: strings(np.asarray(value))
        for key, value in descriptors.items()
        if key != 'index' and np.size(value) == count
    }
    telling = {key: ids for key, ids in fitting.items() if len(set(ids)) == count}
    for key in DESCRIPTORS:
        if key in telling:
            return telling[key]
    return next(iter(telling.values())) if len(telling) == 1 else None


def by_condition(
    values: np.ndarray, descriptors: dict[str, Any], source: str
) -> tuple[np.ndarray, list[str]] | None:
    """Observations (m, units) of n conditions as (n, units, repeats), padded by NaN, and ids.

    None where no known descriptor repeats its values.
    """
    count = len(values)
    for key in DESCRIPTORS:
        ids = strings(np.asarray(descriptors[key])) if key in descriptors else []
        unique = list(dict.fromkeys(ids))
        if len(ids) != count or not 2 < len(unique) < count:
            continue
        places = [[i for i, name in enumerate(ids) if name == one] for one in unique]
        most = max(map(len, places))
        cube = np.full((len(unique), values.shape[1], most), np.nan)
        for row, these in zip(cube, places):
            row[:, : len(these)] = values[these].T
        warnings.warn(
            f'{source}: {count} observations of {len(unique)} conditions, told apart by {key!r}',
            stacklevel=3,
        )
        return cube, unique
    return None


def one_a_subject(rdms: np.ndarray, descriptors: dict[str, Any], source: str) -> np.ndarray:
    """(S, P) of RDMs (k, P) of rsatoolbox: those of one subject averaged, over time or sessions.

    Raises:
        DataError: If RDMs of one subject are of several areas, or of whatever else.
    """
    known = {
        key: strings(np.asarray(value))
        for key, value in descriptors.items()
        if key != 'index' and np.size(value) == len(rdms)
    }
    subject = next((known[key] for key in SUBJECTS if key in known), None)
    varying = {key for key, items in known.items() if len(set(items)) > 1}
    if subject is None and not varying & {'time', 'times'}:
        return rdms
    subject = subject or ['the one'] * len(rdms)
    unique = list(dict.fromkeys(subject))
    if len(unique) == len(rdms):
        return rdms
    odd = next((k for k in known if k in varying - {*SUBJECTS, *AVERAGED}), None)
    if odd is not None and len(set(zip(subject, known[odd]))) > len(unique):
        raise DataError(
            f'{source} holds RDMs of one subject that differ in {odd!r} '
            f'({", ".join(list(dict.fromkeys(known[odd]))[:4])}); save those of one by themselves '
            f'(rdms.subset({odd!r}, ...))'
        )
    over = ', '.join(k for k in known if k in varying & set(AVERAGED)) or 'what is not said'
    warnings.warn(
        f'{source}: {len(rdms)} RDMs of {len(unique)} subject(s), averaged over {over}',
        stacklevel=3,
    )
    places = [[i for i, name in enumerate(subject) if name == one] for one in unique]
    return np.stack([rdms[these].mean(0) for these in places])


def stack_or_list(parts: Sequence[Any]) -> Any:
    """One array of parts of one shape, else a list."""
    if all(isinstance(p, np.ndarray) for p in parts) and len({p.shape for p in parts}) == 1:
        return np.stack(parts)
    return list(parts)
