"""What arrays of recordings mean: RDMs or responses, which axis is which, in which order."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmclarity.errors import DataError

from ..rdms.compute import REPEATED, compute_rdm
from ..rdms.gaps import placed, throughout
from ..rdms.pairs import num_stimuli
from ..rdms.rdms import as_condensed

KINDS = ('auto', 'rdm', 'responses', 'repeats', 'time')
ORDERS = ('rows', 'columns')
AXES = ('auto', 'first', 'last')
# Parts of the largest value: below EXACT is rounding; below NEAR may be an RDM with noise.
EXACT, NEAR = 1e-6, 0.1
_HELD = dict(U='text', S='text', O='Python objects', c='complex numbers', b='true and false')


@dataclass(frozen=True)
class Layout:
    """What a file does not say by itself.

    Args:
        kind: 'rdm': (n, n), (P,) or a stack of them, with subjects first, or last as MATLAB has it,
            (n, n, subjects); (subjects, sessions, n, n) and (n, n, subjects, sessions) are averaged
            over sessions. 'responses': (n, units) or (subjects, n, units). 'repeats': (n, units,
            repeats) of one subject, such as spike counts, NaN where there was none. 'time': (n,
            units, time), averaged over time.
            'auto': RDMs if they are square, symmetric and zero on the diagonal, refused if they
            are nearly so, else responses; a vector is a condensed RDM. Of responses with three
            axes the number of stimuli says which is which, and if it is not known the kind must be.
        order: Of condensed RDMs: 'rows', the rows of the upper triangle one after another, as
            ``squareform`` and ``pdist`` of scipy and of MATLAB have it; 'columns', its columns,
            as MATLAB's ``RDM(triu(true(n), 1))`` and numpy's ``tril_indices`` give.
        similarity: Values grow with likeness. None: found out, where a square has ones on its
            diagonal and nothing above them.
        stimuli: Where the axis of stimuli is in responses, 'first' or 'last'; 'auto': where the
            number of ids is, else first.
        count: How many stimuli there should be, where that is known but their ids are not.

    Raises:
        ValueError: If a setting has a value it cannot have.
    """

    kind: str = 'auto'
    order: str = 'rows'
    similarity: bool | None = None
    stimuli: str = 'auto'
    count: int | None = None

    def __post_init__(self) -> None:
        for name, allowed in (('kind', KINDS), ('order', ORDERS), ('stimuli', AXES)):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f'{name} must be one of {", ".join(allowed)}, got {getattr(self, name)!r}'
                )


def to_rdms(
    values: Any, source: str, layout: Layout, metric: str, ids: int | None = None
) -> np.ndarray:
    """(S, P) of whatever a file holds.

    Args:
        values: An array, a list of arrays (one a subject), or lists of sessions in it.
        source: File and key, for messages.
        layout: What is known about it.
        metric: Dissimilarity of responses.
        ids: Number of ids that came with them.

    Raises:
        DataError: If it cannot be told what they are, with the option that says it.
    """
    if isinstance(values, list):
        if not values:
            raise DataError(f'{source} holds nothing')
        rows = [
            _sessions(value, f'{source}, subject {i}', layout, metric, ids)
            for i, value in enumerate(values)
        ]
        if len({row.shape[1] for row in rows}) > 1:
            counts = ', '.join(str(num_stimuli(row.shape[1])) for row in rows)
            raise DataError(
                f'{source}: the subjects have different numbers of stimuli ({counts}); give each a '
                'file with ids, or NaN to what one lacks'
            )
        return np.concatenate(rows)
    array = np.asarray(values)
    if array.dtype.kind not in 'fiu':
        held = _HELD.get(array.dtype.kind, str(array.dtype))
        raise DataError(f'{source} holds {held}, not real numbers')
    return _array(np.asarray(array, np.float64), source, layout, metric, ids)


def _sessions(value: Any, source: str, layout: Layout, metric: str, ids: int | None) -> np.ndarray:
    """(1, P), or (S, P) of an array with several; sessions in a list are averaged."""
    rows = to_rdms(value, source, layout, metric, ids)
    return rows.mean(0, keepdims=True) if isinstance(value, list) else rows


def _array(
    values: np.ndarray, source: str, layout: Layout, metric: str, ids: int | None
) -> np.ndarray:
    kind = layout.kind
    responses = kind in ('responses', 'repeats', 'time')
    if not responses:
        if _subjects_last(values):  # and, of four axes, sessions behind them
            values, kind = np.moveaxis(values, (0, 1), (-2, -1)), 'rdm'
        values, found = _dissimilar(values, source, layout)
        kind = 'rdm' if found else kind
    square = values.ndim >= 2 and values.shape[-1] == values.shape[-2]
    if kind == 'auto':
        kind = 'responses'
        if values.ndim == 1:
            kind = 'rdm'
        elif square:
            kind = _told_apart(values, source)
        elif _is_stack(values, layout.count if ids is None else ids):
            kind = 'rdm'
    if kind == 'rdm':
        return _condensed(values, source, layout)
    return _of_responses(values, source, layout, kind, metric, ids)


def _condensed(values: np.ndarray, source: str, layout: Layout) -> np.ndarray:
    if values.ndim == 4:
        values = values.mean(1)
    rows = as_condensed(values, source)
    if layout.order == 'rows' or (values.ndim > 1 and values.shape[-1] == values.shape[-2]):
        return rows
    n = num_stimuli(rows.shape[1])
    # Columns of the upper triangle are rows of the lower one.
    later, earlier = np.tril_indices(n, -1)
    square = np.zeros((len(rows), n, n))
    square[:, earlier, later] = rows
    return square[(slice(None), *np.triu_indices(n, 1))]


def _dissimilar(values: np.ndarray, source: str, layout: Layout) -> tuple[np.ndarray, bool]:
    """Similarities as dissimilarities, and whether they were seen to be RDMs."""
    square = values.ndim >= 2 and values.shape[-1] == values.shape[-2]
    if layout.similarity is False or (layout.similarity is None and not square):
        return values, False
    if layout.similarity and not square:
        return 1 - values, True
    diagonal = np.diagonal(values, axis1=-2, axis2=-1)
    if layout.similarity is None:
        ones = np.abs(diagonal - 1).max(initial=0) <= EXACT
        if not ones or np.nanmax(np.abs(values)) > 1 + EXACT or _flaws(values)[0] > EXACT:
            return values, False
        warnings.warn(
            f'{source} has ones on its diagonal and nothing above them: taken as similarities s, '
            'whose dissimilarities are 1 - s. Say so with similarity (--similarity)',
            stacklevel=6,
        )
    # A kernel: squared distances; of equal diagonals d, twice d - s, of which the half is taken.
    level = (diagonal[..., :, None] + diagonal[..., None, :]) / 2
    return level - values, True


def _of_responses(
    values: np.ndarray, source: str, layout: Layout, kind: str, metric: str, ids: int | None
) -> np.ndarray:
    """RDMs of responses, whichever axis the stimuli are in."""
    count = layout.count if ids is None else ids
    if values.ndim not in (2, 3):
        raise DataError(
            f'{source} has shape {values.shape}; responses are (stimuli, units), (subjects, '
            'stimuli, units), (stimuli, units, repeats) or (stimuli, units, time)'
        )
    if values.ndim == 3 and kind == 'responses' and layout.kind == 'auto':
        kind = _third_axis(values, source, count)
    if values.ndim == 3 and kind in ('repeats', 'time'):
        if layout.stimuli == 'last' or (
            layout.stimuli == 'auto'
            and count not in (None, values.shape[0])
            and count == values.shape[-1]
        ):
            values = np.moveaxis(values, -1, 0)
        subjects = _averaged(values, source, metric)
    else:
        subjects = values if values.ndim == 3 else values[None]
        if _stimuli_last(subjects, layout, count):
            subjects = np.swapaxes(subjects, 1, 2)
    try:
        return np.stack([_known_rdm(one, source, metric) for one in subjects])
    except ValueError as error:
        raise DataError(f'{source}: {error}') from error


def _known_rdm(responses: np.ndarray, source: str, metric: str) -> np.ndarray:
    """(P,), NaN in the pairs of stimuli that were not shown, all of whose responses are NaN.

    Units that are NaN throughout are left out.
    """
    if metric in REPEATED or not np.isnan(responses).any():
        return compute_rdm(responses, metric)
    shown, live = throughout(responses)
    if shown.sum() < 3:
        raise ValueError(
            f'{int(shown.sum())} of {len(shown)} stimuli have a response, all others are '
            'NaN; an RDM needs 3'
        )
    warnings.warn(
        f'{source}: {int((~shown).sum())} of {len(shown)} stimuli and {int((~live).sum())} of '
        f'{len(live)} units have no response at all; pairs of these stimuli are NaN, these units '
        'are left out',
        stacklevel=6,
    )
    known = compute_rdm(
        responses[shown][:, live], metric, names=[str(i) for i in np.flatnonzero(shown)]
    )
    return placed(known, shown)


def _is_stack(values: np.ndarray, count: int | None) -> bool:
    """Whether rows can only be condensed RDMs of so many stimuli."""
    return (
        values.ndim == 2
        and count is not None
        and count not in values.shape
        and 2 * values.shape[1] == count * (count - 1)
    )


def _averaged(values: np.ndarray, source: str, metric: str) -> np.ndarray:
    """(1, n, units), the mean of repeats there are; all repeats for metrics that need them."""
    if metric in REPEATED:
        full = np.isfinite(values).all((0, 1))
        if full.sum() < 2:
            raise DataError(
                f'{source}: {metric} needs 2 repeats of every stimulus and unit, there are '
                f'{full.sum()}; use correlation, euclidean or cosine'
            )
        if not full.all():
            warnings.warn(
                f'{source}: {metric} takes the {full.sum()} of {full.size} repeats that all '
                'stimuli and units have; the others are left out',
                stacklevel=6,
            )
        return np.moveaxis(values[..., full], -1, 0)[None]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', RuntimeWarning)  # a mean of nothing is refused below
        mean = np.nanmean(values, axis=2)
    gaps = np.isnan(mean)
    gaps &= ~(gaps.all(1, keepdims=True) | gaps.all(0))
    if gaps.any():
        stimulus, unit = np.argwhere(gaps)[0]
        raise DataError(
            f'{source}: unit {unit} has no response at all to stimulus {stimulus} (both '
            'counted from 0); make the unit or the stimulus NaN throughout, and it is left out'
        )
    return mean[None]


def _third_axis(values: np.ndarray, source: str, count: int | None) -> str:
    """'responses' (subjects first) or 'repeats' of a cube, by where the stimuli are.

    Where their number is not known, gaps at the end of the last axis are of stimuli that were
    shown less often.
    """
    if count == values.shape[0] != values.shape[1] or (count is None and _padded(values)):
        return 'repeats'
    if count is not None and count != values.shape[0]:
        return 'responses'
    known = '' if count is None else f' for {count} stimuli'
    more = ', or how many stimuli there are (count=, ids=)' if count is None else ''
    raise DataError(
        f'{source} has shape {values.shape}{known}: (subjects, stimuli, units) or (stimuli, units, '
        f'repeats)? Say kind="responses" or kind="repeats" (--neural-kind){more}'
    )


def _padded(values: np.ndarray) -> bool:
    """Whether there are NaN, and behind each along the last axis nothing else."""
    gaps = np.isnan(values)
    return bool(gaps.any() and not gaps[..., 0].any() and (gaps[..., 1:] >= gaps[..., :-1]).all())


def _stimuli_last(subjects: np.ndarray, layout: Layout, count: int | None) -> bool:
    if layout.stimuli != 'auto':
        return layout.stimuli == 'last'
    first, last = subjects.shape[1:]
    return count == last and count != first


def _flaws(squares: np.ndarray) -> tuple[float, float]:
    """Asymmetry and diagonal of (..., n, n), as parts of the largest value."""
    plain = np.nan_to_num(squares)
    scale = np.abs(plain).max(initial=0) or 1.0
    diagonal = np.diagonal(plain, axis1=-2, axis2=-1)
    return (
        np.abs(plain - np.swapaxes(plain, -1, -2)).max(initial=0) / scale,
        np.abs(diagonal).max(initial=0) / scale,
    )


def _subjects_last(values: np.ndarray) -> bool:
    """Whether these are RDMs (n, n, subjects[, sessions]) and not (subjects[, sessions], n, n)."""
    if values.ndim not in (3, 4) or values.shape[0] != values.shape[1]:
        return False
    if values.shape[-2] == values.shape[-1] and max(_flaws(values)) <= EXACT:
        return False
    return max(_flaws(np.moveaxis(values, (0, 1), (-2, -1)))) <= EXACT


def _told_apart(values: np.ndarray, source: str) -> str:
    """'rdm' or 'responses', of square matrices that might be either."""
    asymmetry, diagonal = _flaws(values)
    if max(asymmetry, diagonal) <= EXACT:
        return 'rdm'
    # Responses of as many units as stimuli are far from both; RDMs with noise are not.
    if min(asymmetry, diagonal) > NEAR:
        return 'responses'
    flaws = [
        text
        for text, flaw in (
            ('is not symmetric', asymmetry),
            ('its diagonal is not zero', diagonal),
        )
        if flaw > EXACT
    ]
    more = ' Similarities? Say similarity=True (--similarity).' if asymmetry <= EXACT else ''
    raise DataError(
        f'{source} has shape {values.shape}, and {" and ".join(flaws)}: RDMs or '
        f'responses? Say kind="rdm" or kind="responses" (--neural-kind).{more}'
    )
