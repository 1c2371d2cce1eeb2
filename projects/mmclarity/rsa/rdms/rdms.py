"""Dissimilarity matrices (RDMs): one type, checked once, and the shapes arrays of them may have."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from .pairs import between_groups, num_stimuli, pairs_of, to_square, unmasked


@dataclass(frozen=True, eq=False)
class RDMs:
    """A stack of R dissimilarity matrices of the same n stimuli, P = n (n - 1) / 2 pairs.

    It is checked when it is made and cannot be changed afterwards: whoever gets one need not look
    again. All functions that take RDMs as arrays take this as well, and it can be given to numpy.

    >>> import numpy as np
    >>> from mmclarity.rsa import RDMs
    >>> stack = RDMs.of(np.ones((2, 6)), ids='abcd', names=['monkey 1', 'monkey 2'])
    >>> stack.num_stimuli, len(stack), stack.subset('db').condensed.shape
    (4, 2, (2, 1))

    Args:
        condensed: (R, P), float64, read only, row by row of the upper triangles. NaN where a pair
            was not measured.
        ids: Of the n stimuli, each once. None: not known.
        names: Of the R matrices: layers, subjects. None: they have none.
        metric: How dissimilarities were made, one of :data:`METRICS`. None: not known.
        groups: Of the n stimuli. Pairs within a group (two frames of one movie, say) are never
            counted in a comparison. None: all pairs count.
        descriptors: What else is known of each matrix, (R,) values a name.

    Raises:
        ValueError: If numbers do not fit, an id comes twice, or an entry is infinite. For arrays
            of other shapes see :meth:`of`.
    """

    condensed: np.ndarray
    ids: tuple[str, ...] | None = None
    names: tuple[str, ...] | None = None
    metric: str | None = None
    groups: tuple[str, ...] | None = None
    descriptors: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rows = np.atleast_2d(as_array(self.condensed, 'condensed'))
        count = num_stimuli(rows.shape[1])
        refuse_infinite(rows, 'condensed')
        rows = rows.view()
        rows.flags.writeable = False
        object.__setattr__(self, 'condensed', rows)
        for name, size, what in (
            ('ids', count, 'stimuli'),
            ('groups', count, 'stimuli'),
            ('names', len(rows), 'RDMs'),
        ):
            given = getattr(self, name)
            if given is not None:
                texts = tuple(str(item) for item in given)
                if len(texts) != size:
                    raise ValueError(f'{len(texts)} {name} for {size} {what}; give one each')
                object.__setattr__(self, name, texts)
        for name in ('ids', 'names'):
            twice = _first_double(getattr(self, name) or ())
            if twice is not None:
                raise ValueError(f'{name} hold {twice!r} several times; give each one of its own')
        described = {name: tuple(values) for name, values in self.descriptors.items()}
        for name, values in described.items():
            if len(values) != len(rows):
                raise ValueError(
                    f'descriptor {name!r} has {len(values)} values for {len(rows)} RDMs'
                )
        object.__setattr__(self, 'descriptors', described)

    @classmethod
    def of(cls, rdms: Any, name: str = 'rdms', **details: Any) -> RDMs:
        """RDMs of whatever :func:`as_condensed` takes; of an RDMs itself, with other details.

        Args:
            rdms: Condensed or square, one or many.
            name: What messages call it.
            details: ids, names, metric, groups, descriptors.
        """
        if isinstance(rdms, cls):
            return replace(rdms, **details) if details else rdms
        return cls(as_condensed(rdms, name), **details)

    def __len__(self) -> int:
        return len(self.condensed)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.condensed, dtype) if copy else np.asarray(self.condensed, dtype)

    @property
    def num_stimuli(self) -> int:
        """N."""
        return num_stimuli(self.condensed.shape[1])

    @property
    def num_pairs(self) -> int:
        """P."""
        return int(self.condensed.shape[1])

    @property
    def counted(self) -> np.ndarray:
        """(P,) whether a pair is of two groups; all are where there are no groups."""
        if self.groups is None:
            return np.ones(self.num_pairs, bool)
        return between_groups(self.groups)

    def square(self) -> np.ndarray:
        """(R, n, n) with a zero diagonal."""
        return to_square(self.condensed)

    def subset(self, ids: Iterable[str]) -> RDMs:
        """The same of these stimuli only, in this order.

        Raises:
            ValueError: If the ids are not known, or one is not among them.
        """
        wanted = [str(item) for item in ids]
        if self.ids is None:
            raise ValueError('the stimuli of these RDMs have no ids; give them to RDMs.of')
        place = {item: i for i, item in enumerate(self.ids)}
        missing = [item for item in wanted if item not in place]
        if missing:
            raise ValueError(
                f'no stimulus is called {missing[0]!r} ({len(missing)} of {len(wanted)} are '
                f'unknown); there are {", ".join(self.ids[:5])}{", ..." * (len(self.ids) > 5)}'
            )
        order = np.array([place[item] for item in wanted], int)
        groups = None if self.groups is None else tuple(self.groups[i] for i in order)
        pairs = pairs_of(order, len(self.ids))
        return replace(self, condensed=self.condensed[:, pairs], ids=tuple(wanted), groups=groups)

    def pick(self, names: Iterable[str]) -> RDMs:
        """Only the matrices of these names, in this order.

        Raises:
            ValueError: If there are no names, or one is not among them.
        """
        known = list(self.names or ())
        wanted = list(names)
        missing = [name for name in wanted if name not in known]
        if missing:
            raise ValueError(f'no RDM is called {missing[0]!r}; there are {", ".join(known)}')
        rows = [known.index(name) for name in wanted]
        return replace(
            self,
            condensed=self.condensed[rows],
            names=tuple(wanted),
            descriptors={k: tuple(v[i] for i in rows) for k, v in self.descriptors.items()},
        )

    def mean(self, name: str = 'mean') -> RDMs:
        """One RDM: of each pair the mean over those that know it."""
        known = ~np.isnan(self.condensed)
        total = np.where(known, self.condensed, 0).sum(0)
        with np.errstate(invalid='ignore'):
            row = total / known.sum(0)
        return replace(self, condensed=row[None], names=(name,), descriptors={})

    @staticmethod
    def concat(stacks: Sequence[RDMs]) -> RDMs:
        """One stack of several of the same stimuli, in the order of the first.

        Raises:
            ValueError: If there is none, or they are of other stimuli, groups or metrics.
        """
        if not stacks:
            raise ValueError('there are no RDMs to join')
        first = stacks[0]
        others = []
        for other in stacks[1:]:
            if first.ids is not None and other.ids is not None and other.ids != first.ids:
                if set(other.ids) != set(first.ids):
                    raise ValueError('RDMs of other stimuli cannot be joined; take a subset first')
                other = other.subset(first.ids)
            if (other.num_pairs, other.groups) != (first.num_pairs, first.groups):
                raise ValueError('RDMs of other stimuli or groups cannot be joined')
            others.append(other)
        joined = [first, *others]
        named = all(one.names is not None for one in joined)
        shared = set.intersection(*(set(one.descriptors) for one in joined))
        return RDMs(
            np.concatenate([one.condensed for one in joined]),
            next((one.ids for one in joined if one.ids is not None), None),
            tuple(name for one in joined for name in one.names or ()) if named else None,
            first.metric if len({one.metric for one in joined}) == 1 else None,
            first.groups,
            {k: tuple(v for one in joined for v in one.descriptors[k]) for k in sorted(shared)},
        )


def _first_double(items: Sequence[str]) -> str | None:
    seen: set[str] = set()
    for item in items:
        if item in seen:
            return item
        seen.add(item)
    return None


def as_array(values: Any, name: str) -> np.ndarray:
    """A float64 array of a tensor or array of real numbers.

    Raises:
        TypeError: If it holds anything else.
    """
    if isinstance(values, RDMs):
        return values.condensed
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = values.double().numpy() if values.is_floating_point() else values.numpy()
    array = np.asarray(unmasked(values))
    if array.dtype.kind not in 'fiu':
        raise TypeError(
            f'{name} must hold real numbers, got {type(values).__name__} of {array.dtype}'
        )
    return array.astype(np.float64, copy=False)


def as_condensed(rdm: Any, name: str = 'rdm', tolerance: float = 1e-6) -> np.ndarray:
    """One or several RDMs as condensed rows.

    Args:
        rdm: An :class:`RDMs`, taken as it is; or an array or tensor: condensed (P,) or (S, P), or
            square (n, n) or (S, n, n). Where S = P an array could be either: one matrix if it is
            symmetric with a diagonal of zeros, within the tolerance; a stack if its diagonal has
            no zero and most entries differ from their mirror image; and else one matrix, which
            must then be a proper one.
        name: What messages call it.
        tolerance: Largest asymmetry and diagonal, relative to the largest entry.

    Returns:
        (S, P), float64, P = n (n - 1) / 2. NaN (unknown pairs) is kept.

    Raises:
        ValueError: If it is neither square nor condensed, not symmetric, its diagonal is not zero,
            an entry is infinite, or there are fewer than 3 stimuli.
        TypeError: If it does not hold real numbers.

    Examples:
        >>> from mmclarity.rsa import as_condensed
        >>> as_condensed([[0, 1, 2], [1, 0, 3], [2, 3, 0]])
        array([[1., 2., 3.]])
    """
    rows = condensed_rows(rdm, name, tolerance)
    if not isinstance(rdm, RDMs):
        refuse_infinite(rows, name)
    return rows


def condensed_rows(rdm: Any, name: str, tolerance: float = 1e-6) -> np.ndarray:
    """:func:`as_condensed` without the look for infinite entries."""
    if isinstance(rdm, RDMs):
        return _of_three(rdm.condensed, name)
    array = as_array(rdm, name)
    if (
        array.ndim == 2
        and array.shape[0] == array.shape[1]
        and array.shape[0] >= 3
        and not _is_stack(array, tolerance)
    ):
        array = array[None]
    if array.ndim == 3:
        rows = _square_rows(array, name, tolerance)
    elif array.ndim in (1, 2) and array.size:
        rows = np.atleast_2d(array)
    else:
        raise ValueError(
            f'{name} has shape {array.shape}; an RDM is square (n, n) or condensed '
            '(n (n - 1) / 2,), a stack of them has one more axis in front'
        )
    try:
        num_stimuli(rows.shape[1])
    except ValueError as error:
        raise ValueError(
            f'{name} has shape {array.shape}, neither square nor condensed: {error}'
        ) from None
    return np.ascontiguousarray(_of_three(rows, name))


def _of_three(rows: np.ndarray, name: str) -> np.ndarray:
    if rows.shape[1] < 3:
        raise ValueError(
            f'{name} has {num_stimuli(rows.shape[1])} stimuli; RDMs of fewer than 3 cannot be '
            'compared'
        )
    return rows


def refuse_infinite(rows: np.ndarray, name: str) -> None:
    """Raise a ValueError that names the first infinite entry of (S, P), if there is one."""
    # One sum tells whether all is finite, in a third of the time of looking at each entry.
    if not np.isfinite(rows.sum()) and np.isinf(rows).any():
        row, pair = np.argwhere(np.isinf(rows))[0]
        raise ValueError(
            f'{name} holds infinite entries, the first in RDM {row} at pair {pair}; '
            'mark unknown pairs by NaN'
        )


def _is_stack(array: np.ndarray, tolerance: float) -> bool:
    """Whether a (k, k) array is k condensed RDMs rather than a matrix."""
    k = len(array)
    n = (1 + math.isqrt(1 + 8 * k)) // 2
    if n * (n - 1) // 2 != k:
        return False
    finite = np.nan_to_num(array, nan=0, posinf=0, neginf=0)
    limit = tolerance * np.abs(finite).max()
    if np.abs(finite.diagonal()).max() <= limit and np.abs(finite - finite.T).max() <= limit:
        return False
    mirrored = (array == array.T).sum() - k
    return bool(array.diagonal().all()) and mirrored < k * (k - 1) / 2


def _square_rows(square: np.ndarray, name: str, tolerance: float) -> np.ndarray:
    if square.shape[1] != square.shape[2]:
        raise ValueError(f'{name} has shape {square.shape}; its matrices are not square')
    if square.shape[1] < 3:
        raise ValueError(
            f'{name} has {square.shape[1]} stimuli; RDMs of fewer than 3 cannot be compared'
        )
    finite = np.where(np.isfinite(square), square, 0)
    scale = max(np.abs(finite).max(), np.finfo(float).tiny)
    diagonal = np.abs(np.nan_to_num(np.diagonal(square, axis1=1, axis2=2), nan=0)).max(1)
    if (diagonal > tolerance * scale).any():
        worst = int(diagonal.argmax())
        raise ValueError(
            f'{name}: the diagonal of RDM {worst} is not zero (up to '
            f'{diagonal[worst]:.3g}); a stimulus and itself have dissimilarity 0. '
            'Were similarities given? Use 1 - similarity'
        )
    mirrored = np.swapaxes(square, 1, 2)
    odd = np.abs(finite - np.swapaxes(finite, 1, 2)) > tolerance * scale
    odd |= np.isnan(square) != np.isnan(mirrored)
    if odd.any():
        s, i, j = np.argwhere(odd)[0]
        raise ValueError(
            f'{name}: RDM {s} is not symmetric: [{i}, {j}] is {square[s, i, j]:.6g}, '
            f'[{j}, {i}] is {square[s, j, i]:.6g}; average the two, (D + D.T) / 2'
        )
    upper = np.triu_indices(square.shape[1], 1)
    return square[:, upper[0], upper[1]]
