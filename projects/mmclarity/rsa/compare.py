"""How alike two dissimilarity matrices are."""
from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from scipy.stats import rankdata

from ..cpus import available_cpus
from .kendall import tau_a
from .validation import condensed_rows, num_stimuli, refuse_infinite

METHODS = ('pearson', 'spearman', 'kendall', 'rho-a', 'cosine')
# Those that compare ranks.
RANKED = ('spearman', 'kendall', 'rho-a')
# Pairs that are summed together: some dozens of rows of them stay in the cache.
STRETCH = 6144
# Length from which rows are ranked on several threads: shorter ones wait for one another.
THREADED = 20_000


def check_method(method: str) -> None:
    """Raise a ValueError unless the method is one of :data:`METHODS`."""
    if method not in METHODS:
        raise ValueError(f'method {method!r} is unknown; choose one of {", ".join(METHODS)}')


def rank_transform(stack: np.ndarray) -> np.ndarray:
    """Ranks 1 .. P of each row, ties sharing their mean; NaN keeps its place and has no rank."""
    stack = np.asarray(stack, np.float64)
    if not _all_finite(stack):
        return rankdata(stack, axis=1, nan_policy='omit')
    ranks = np.empty(stack.shape)
    workers = min(len(stack), available_cpus()) if stack.shape[1] > THREADED else 1
    if workers > 1:
        with ThreadPoolExecutor(workers) as pool:  # sorting lets other threads run
            list(pool.map(_rank_rows, np.array_split(stack, workers),
                          np.array_split(ranks, workers)))
    else:
        _rank_rows(stack, ranks)
    return ranks


def _rank_rows(rows: np.ndarray, out: np.ndarray) -> None:
    """Ranks of finite rows into ``out``, by one sort of floats instead of a sort of indices.

    The lowest bits of each number give way to its index, so that sorting the numbers sorts the
    indices along; entries that differ in those lowest bits only, or not at all, are put right
    afterwards. One row at a time: it stays in the cache.
    """
    size = rows.shape[1]
    low = np.int64((1 << max(1, (size - 1).bit_length())) - 1)
    index, places = np.arange(size), np.arange(1.0, size + 1)
    for row, ranks in zip(rows, out):
        keys = (row + 0.0).view(np.int64)  # -0.0 and 0.0 are one number
        keys &= ~low
        keys |= index
        keys.view(np.float64).sort()
        order = keys & low
        ranks[order] = places
        keys ^= order
        close = keys[1:] == keys[:-1]
        if close.any():
            among = np.concatenate([[False], close]) | np.concatenate([close, [False]])
            members, where = order[among], np.flatnonzero(among)
            # Runs lie apart in rank: ranks among the members, then the places they share.
            within = rankdata(row[members])
            ranks[members] = np.interp(within, np.arange(1, len(where) + 1), where + 1.0)


def _all_finite(stack: np.ndarray) -> bool:
    """Whether there is no NaN: one sum, but where it overflows."""
    return bool(np.isfinite(stack.sum())) or not np.isnan(stack).any()


def prepare(stack: np.ndarray, method: str) -> np.ndarray:
    """Rows whose inner products are the comparison: ``prepare(a) @ prepare(b).T``.

    For every method but kendall. Rows of which the comparison is undefined (constant; for cosine
    zero) become NaN.

    Args:
        stack (np.ndarray): (S, P) without NaN.
        method (str): 'pearson', 'spearman', 'rho-a' or 'cosine'.

    Returns:
        np.ndarray: (S, P).
    """
    check_method(method)
    if method == 'kendall':
        raise ValueError('kendall is no inner product; use compare_rdms')
    # Powers of two cost no digits, and the squares of 1e200 or 1e-200 have a place.
    rows = rank_transform(stack) if method in RANKED else np.ldexp(
        stack, -np.frexp(np.abs(stack).max(1, initial=0, keepdims=True))[1])
    if method != 'cosine':
        rows = rows - rows.mean(1, keepdims=True)
    constant = (stack == stack[:, :1]).all(1) if method != 'cosine' else ~stack.any(1)
    if method == 'rho-a':
        # The expectation of Spearman's rho over random orders of tied entries.
        size = stack.shape[1]
        scale = np.full(len(rows), np.sqrt(12 / (size**3 - size)))
    else:
        with np.errstate(divide='ignore'):
            scale = 1 / np.sqrt(np.einsum('ij,ij->i', rows, rows))
    scale[constant] = np.nan
    with np.errstate(invalid='ignore'):
        return rows * scale[:, None]


def compare_rdms(a: Any, b: Any, method: str = 'spearman') -> np.ndarray:
    """Similarity of every RDM of one set with every RDM of another.

    Args:
        a: RDMs as :func:`as_condensed` takes them: condensed or square, one or many.
        b: RDMs of the same stimuli.
        method (str): 'pearson' or 'spearman' correlation; 'kendall', tau-a; 'rho-a', Spearman's
            rho expected when ties are broken at random (Schuett et al., eLife 2023); 'cosine'.
            Defaults to 'spearman'.

    Returns:
        np.ndarray: (A, B), float64. NaN, with a warning, where an RDM is constant.

    Pairs that are NaN in any RDM of either set are left out on both sides, with a warning that
    says how many.

    Raises:
        ValueError: If the method is unknown, sizes differ, or fewer than 3 pairs are left.
    """
    check_method(method)
    a, b = condensed_rows(a, 'a'), condensed_rows(b, 'b')
    if a.shape[1] != b.shape[1]:
        raise ValueError(f'a has {num_stimuli(a.shape[1])} stimuli, b {num_stimuli(b.shape[1])}; '
                         'RDMs are compared over the same stimuli')
    # Sums that come out finite were of finite numbers: nobody need look at each before.
    result = None if method in RANKED else _from_sums(a, b, method)
    if result is None:
        refuse_infinite(a, 'a')
        refuse_infinite(b, 'b')
        result = _products(*drop_unknown(a, b), method)
    np.clip(result, -1, 1, out=result)
    if np.isnan(result).any():
        _warn_undefined(result, method)
    return result


def _products(a: np.ndarray, b: np.ndarray, method: str) -> np.ndarray:
    """Comparison of finite rows with finite rows."""
    if method == 'kendall':
        result = tau_a(a, b)
        result[(a == a[:, :1]).all(1)] = np.nan
        result[:, (b == b[:, :1]).all(1)] = np.nan
        return result
    if method in RANKED:
        a, b = rank_transform(a), rank_transform(b)
    result = _from_sums(a, b, method)
    return prepare(a, method) @ prepare(b, method).T if result is None else result


def _from_sums(a: np.ndarray, b: np.ndarray, method: str) -> np.ndarray | None:
    """``prepare(a) @ prepare(b).T`` of values (of ranks, for ranks) from raw sums.

    Returns:
        np.ndarray | None: None where sums cost digits or are not finite.
    """
    size = a.shape[1]
    products = np.zeros((len(a), len(b)))
    squares, sums = ([np.zeros(len(rows)) for rows in (a, b)] for _ in range(2))
    # A stretch at a time: it is read from memory once, and from the cache for the other sums.
    with np.errstate(invalid='ignore', over='ignore'):
        for start in range(0, size, STRETCH):
            parts = [rows[:, start:start + STRETCH] for rows in (a, b)]
            products += parts[0] @ parts[1].T
            for part, square, total in zip(parts, squares, sums):
                square += np.einsum('ij,ij->i', part, part)
                if method != 'cosine':
                    total += part.sum(1)
        variances = squares
        if method != 'cosine':
            variances = [square - total**2 / size for square, total in zip(squares, sums)]
            products -= sums[0][:, None] * (sums[1] / size)
    # Nearly constant, tiny, zero, infinite or unknown: no comparison with those is true.
    if not all((v > 1e-6 * s + 1e-290).all() for v, s in zip(variances, squares)):
        return None
    if method == 'rho-a':
        return products * (12 / (size**3 - size))
    return products / np.sqrt(variances[0])[:, None] / np.sqrt(variances[1])


def _warn_undefined(result: np.ndarray, method: str) -> None:
    for name, undefined in (('a', np.isnan(result).all(1)), ('b', np.isnan(result).all(0))):
        if undefined.any() and not np.isnan(result).all():
            warnings.warn(f'RDM(s) {np.flatnonzero(undefined).tolist()} of {name} are constant: '
                          f'their {method} similarity is undefined (NaN)', stacklevel=3)
    if np.isnan(result).all():
        warnings.warn(f'all RDMs of a or all of b are constant: their {method} similarity is '
                      'undefined (NaN)', stacklevel=3)


def drop_unknown(*stacks: np.ndarray) -> list[np.ndarray]:
    """Stacks (S, P) without the pairs that are NaN in any row of any of them."""
    if all(map(_all_finite, stacks)):
        return list(stacks)
    unknown = np.zeros(stacks[0].shape[1], bool)
    for stack in stacks:
        unknown |= np.isnan(stack).any(0)
    left = int((~unknown).sum())
    if left < 3:
        raise ValueError(f'{left} of {len(unknown)} pairs are known in all RDMs; at least 3 are '
                         'needed. Leave out the RDM or the stimuli that are NaN')
    warnings.warn(f'{int(unknown.sum())} of {len(unknown)} pairs are NaN in some RDM and left out '
                  'of all', stacklevel=3)
    return [stack[:, ~unknown] for stack in stacks]
