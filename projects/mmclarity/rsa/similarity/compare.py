"""How alike two dissimilarity matrices are."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from ..rdms.rdms import condensed_rows, num_stimuli, refuse_infinite
from .inner import correlate, inner_products
from .kendall import tau_a
from .ranks import all_finite, rank_known, rank_transform

METHODS = ('pearson', 'spearman', 'kendall', 'rho-a', 'cosine')
# Those that compare ranks.
RANKED = ('spearman', 'kendall', 'rho-a')


def check_method(method: str) -> None:
    """Raise a ValueError unless the method is one of :data:`METHODS`."""
    if method not in METHODS:
        raise ValueError(f'method {method!r} is unknown; choose one of {", ".join(METHODS)}')


def prepare(stack: np.ndarray, method: str) -> np.ndarray:
    """Rows whose inner products are the comparison.

    That is ``prepare(a) @ prepare(b).T``, for each method but kendall. Rows of which the comparison
    is undefined (constant; for cosine zero) become NaN.

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
    rows = (
        rank_transform(stack)
        if method in RANKED
        else np.ldexp(stack, -np.frexp(np.abs(stack).max(1, initial=0, keepdims=True))[1])
    )
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
        raise ValueError(
            f'a has {num_stimuli(a.shape[1])} stimuli, b {num_stimuli(b.shape[1])}; '
            'RDMs are compared over the same stimuli'
        )
    # Sums and extremes that come out finite were of finite numbers: nobody need look before.
    result = None if method == 'kendall' else _inner(a, b, method)
    if result is None:
        with np.errstate(invalid='ignore', over='ignore'):
            finite = math.isfinite(a.sum()) and math.isfinite(b.sum())
        if not finite:
            refuse_infinite(a, 'a')
            refuse_infinite(b, 'b')
            a, b = drop_unknown(a, b)
        result = _products(a, b, method)
    np.minimum(np.maximum(result, -1, out=result), 1, out=result)
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
    result = _inner(a, b, method)
    return prepare(a, method) @ prepare(b, method).T if result is None else result


def _inner(a: np.ndarray, b: np.ndarray, method: str) -> np.ndarray | None:
    """``prepare(a) @ prepare(b).T`` by the quick ways; None where they do not lead there."""
    return (_from_ranks if method in RANKED else _from_sums)(a, b, method)


def _from_ranks(a: np.ndarray, b: np.ndarray, method: str) -> np.ndarray | None:
    """Spearman's rho, or rho-a: the mean and the spread of ranks are known beforehand.

    Returns:
        np.ndarray | None: None where an entry is not finite.
    """
    size = float(a.shape[1])
    ranked = rank_known(a), rank_known(b)
    if None in ranked:
        return None
    (a, ties_a), (b, ties_b) = ranked
    products = inner_products(a, b)[0]
    products -= size * ((size + 1) / 2) ** 2
    whole = size**3 - size
    spread_a, spread_b = (whole - ties_a) / 12, (whole - ties_b.T) / 12
    if method == 'rho-a':
        constant = (spread_a <= 0) | (spread_b <= 0)
        return np.where(constant, np.nan, products * (12 / whole))
    with np.errstate(invalid='ignore', divide='ignore'):
        return products / np.sqrt(spread_a * spread_b)


def _from_sums(a: np.ndarray, b: np.ndarray, method: str) -> np.ndarray | None:
    """``prepare(a) @ prepare(b).T`` of pearson and cosine from raw sums.

    Returns:
        np.ndarray | None: None where sums cost digits or are not finite.
    """
    products, *sums = inner_products(a, b)
    return products if correlate(products, *sums, a.shape[1], method != 'cosine') else None


def _warn_undefined(result: np.ndarray, method: str) -> None:
    for name, undefined in (('a', np.isnan(result).all(1)), ('b', np.isnan(result).all(0))):
        if undefined.any() and not np.isnan(result).all():
            warnings.warn(
                f'RDM(s) {np.flatnonzero(undefined).tolist()} of {name} are constant: '
                f'their {method} similarity is undefined (NaN)',
                stacklevel=3,
            )
    if np.isnan(result).all():
        warnings.warn(
            f'all RDMs of a or all of b are constant: their {method} similarity is undefined (NaN)',
            stacklevel=3,
        )


def drop_unknown(*stacks: np.ndarray) -> list[np.ndarray]:
    """Stacks (S, P) without the pairs that are NaN in any row of any of them."""
    if all(map(all_finite, stacks)):
        return list(stacks)
    unknown = np.zeros(stacks[0].shape[1], bool)
    for stack in stacks:
        unknown |= np.isnan(stack).any(0)
    left = int((~unknown).sum())
    if left < 3:
        raise ValueError(
            f'{left} of {len(unknown)} pairs are known in all RDMs; at least 3 are '
            'needed. Leave out the RDM or the stimuli that are NaN'
        )
    warnings.warn(
        f'{int(unknown.sum())} of {len(unknown)} pairs are NaN in some RDM and left out of all',
        stacklevel=3,
    )
    return [stack[:, ~unknown] for stack in stacks]
