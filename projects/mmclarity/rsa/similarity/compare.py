"""How alike two dissimilarity matrices are."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..rdms.pairs import num_stimuli
from ..rdms.rdms import RDMs, condensed_rows, refuse_infinite
from .inner import correlate, inner_products
from .kendall import tau_a, tau_b
from .ranks import all_finite, rank_known, rank_transform
from .structured import STRUCTURED, compare_bures, compare_whitened

METHODS = ('pearson', 'spearman', 'kendall', 'rho-a', 'cosine')
# Slower ones, as resamplings have to be written out: names as in rsatoolbox.
FURTHER_METHODS = ('tau-b', *STRUCTURED)
ALL_METHODS = METHODS + FURTHER_METHODS
# Those that compare ranks, and those that are inner products of prepared rows.
RANKED = ('spearman', 'kendall', 'rho-a', 'tau-b')
PREPARED = ('pearson', 'spearman', 'rho-a', 'cosine')


def check_method(method: str) -> None:
    """Raise a ValueError unless the method is one of :data:`ALL_METHODS`."""
    if method not in ALL_METHODS:
        raise ValueError(f'method {method!r} is unknown; choose one of {", ".join(ALL_METHODS)}')


def prepare(stack: np.ndarray, method: str) -> np.ndarray:
    """Rows whose inner products are the comparison.

    That is ``prepare(a) @ prepare(b).T``, for each method but kendall. Rows of which the comparison
    is undefined (constant; for cosine zero) become NaN.

    Args:
        stack: (S, P) without NaN.
        method: 'pearson', 'spearman', 'rho-a' or 'cosine'.

    Returns:
        (S, P).
    """
    check_method(method)
    if method not in PREPARED:
        raise ValueError(f'{method} is no inner product; use compare_rdms')
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

    Two RDMs are compared over the pairs that both know: a NaN, which marks a pair that was not
    measured, costs this pair where it stands and no other comparison.

    Args:
        a: RDMs as :func:`as_condensed` takes them: condensed or square, one or many.
        b: RDMs of the same stimuli.
        method: 'pearson' or 'spearman' correlation; 'kendall', tau-a; 'rho-a', Spearman's
            rho expected when ties are broken at random (Schuett et al., eLife 2023); 'cosine';
            'tau-b', Kendall's tau corrected for ties; 'corr_cov' and 'cosine_cov', correlation and
            cosine whitened for what pairs with a common stimulus share; 'bures', of RDMs without
            gaps.

    Returns:
        (A, B), float64, in [-1, 1]. NaN, with a warning, where an RDM is constant or two share
        fewer than 3 pairs.

    Raises:
        ValueError: If the method is unknown or sizes differ.

    Examples:
        >>> from mmclarity.rsa import compare_rdms
        >>> compare_rdms([[0.1, 0.5, 0.9]], [[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])
        array([[ 1., -1.]])
    """
    check_method(method)
    mask = counted_pairs(a, b)
    a, b = condensed_rows(a, 'a'), condensed_rows(b, 'b')
    check_same_stimuli(a, b, 'a', 'b')
    if mask is not None:
        a, b = (only(rows, mask, method) for rows in (a, b))
    # Sums and extremes that come out finite were of finite numbers: nobody need look before.
    result = _inner(a, b, method) if method in PREPARED else None
    if result is None:
        with np.errstate(invalid='ignore', over='ignore'):
            finite = math.isfinite(a.sum()) and math.isfinite(b.sum())
        if not finite:
            refuse_infinite(a, 'a')
            refuse_infinite(b, 'b')
            warn_unknown(a, b)
        result = compare_known(a, b, method)
    np.minimum(np.maximum(result, -1, out=result), 1, out=result)
    if np.isnan(result).any():
        _warn_undefined(result, method)
    return result


def counted_pairs(*stacks: Any) -> np.ndarray | None:
    """(P,) the pairs that all RDMs with groups count; None where all pairs are."""
    masks = [one.counted for one in stacks if isinstance(one, RDMs) and one.groups is not None]
    if not masks:
        return None
    if len({len(mask) for mask in masks}) > 1:
        raise ValueError('groups of different numbers of stimuli; RDMs are of the same stimuli')
    mask = np.logical_and.reduce(masks)
    if mask.sum() < 3:
        raise ValueError(
            f'{int(mask.sum())} of {len(mask)} pairs are of two groups; at least 3 are needed. '
            'Group fewer stimuli'
        )
    return mask


def groups_of(*stacks: Any) -> tuple[str, ...] | None:
    """Groups of the stimuli, of the first RDMs that have any."""
    return next((one.groups for one in stacks if isinstance(one, RDMs) and one.groups), None)


def kinds_of(groups: Sequence[str] | None, count: int) -> np.ndarray:
    """(n,) number of each stimulus' group; of the stimulus itself where there are no groups."""
    if groups is None:
        return np.arange(count)
    return np.unique(groups, return_inverse=True)[1]


def without_groups(subjects: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """(S, P), NaN in the pairs that do not count."""
    return subjects if mask is None else np.where(mask, subjects, np.nan)


def check_same_stimuli(a: np.ndarray, b: np.ndarray, name_a: str, name_b: str) -> None:
    """Raise a ValueError unless rows are of the same number of stimuli."""
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f'{name_a} has {num_stimuli(a.shape[1])} stimuli, {name_b} '
            f'{num_stimuli(b.shape[1])}; RDMs are compared over the same stimuli'
        )


def patterns(stack: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows (K,) that know the same pairs, and which pairs those are (P,), in order of rows."""
    if all_finite(stack):
        return [(np.arange(len(stack)), np.ones(stack.shape[1], bool))]
    found: dict[bytes, list[int]] = {}
    known = ~np.isnan(stack)
    for row, line in enumerate(np.packbits(known, axis=1)):
        found.setdefault(line.tobytes(), []).append(row)
    return [(np.array(rows), known[rows[0]]) for rows in found.values()]


def only(rows: np.ndarray, mask: np.ndarray, method: str) -> np.ndarray:
    """The pairs (P,) of ``mask``; methods that must know which those are get NaN for the others."""
    return np.where(mask, rows, np.nan) if method in STRUCTURED else rows[:, mask]


def compare_known(a: np.ndarray, b: np.ndarray, method: str) -> np.ndarray:
    """Every row of (A, K) with every row of (B, K), each over what both know; no warnings.

    For the methods of :data:`STRUCTURED` K is P, all pairs.
    """
    result = np.full((len(a), len(b)), np.nan)
    others = patterns(b)
    for mine, known_a in patterns(a):
        for theirs, known_b in others:
            both = known_a & known_b
            if both.sum() < 3:
                continue
            x, y = (a[mine], b[theirs]) if both.all() else (a[mine][:, both], b[theirs][:, both])
            if method not in STRUCTURED:
                found = _products(x, y, method)
            elif method != 'bures':
                found = compare_whitened(x, y, both, method == 'corr_cov')
            elif both.all():
                found = compare_bures(x, y)
            else:
                continue
            result[np.ix_(mine, theirs)] = found
    return result


def _products(a: np.ndarray, b: np.ndarray, method: str) -> np.ndarray:
    """Comparison of finite rows with finite rows."""
    if method in ('kendall', 'tau-b'):
        result = (tau_a if method == 'kendall' else tau_b)(a, b)
        result[(a == a[:, :1]).all(1)] = np.nan
        result[:, (b == b[:, :1]).all(1)] = np.nan
        return result
    quick = _inner(a, b, method)
    return prepare(a, method) @ prepare(b, method).T if quick is None else quick


def _inner(a: np.ndarray, b: np.ndarray, method: str) -> np.ndarray | None:
    """``prepare(a) @ prepare(b).T`` by the quick ways; None where they do not lead there."""
    return (_from_ranks if method in RANKED else _from_sums)(a, b, method)


def _from_ranks(a: np.ndarray, b: np.ndarray, method: str) -> np.ndarray | None:
    """Spearman's rho, or rho-a: the mean and the spread of ranks are known beforehand.

    Returns:
        None where an entry is not finite.
    """
    size = float(a.shape[1])
    ranked, others = rank_known(a), rank_known(b)
    if ranked is None or others is None:
        return None
    (a, ties_a), (b, ties_b) = ranked, others
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
        None where sums cost digits or are not finite.
    """
    products, *sums = inner_products(a, b)
    return products if correlate(products, *sums, a.shape[1], method != 'cosine') else None


def _warn_undefined(result: np.ndarray, method: str) -> None:
    undefined = np.isnan(result)
    why = f'constant, or too few of their pairs are known: their {method} similarity is undefined'
    if method == 'bures':
        why = 'constant, or lack a pair: the Bures similarity is one of whole RDMs, undefined then'
    if undefined.all():
        warnings.warn(f'all RDMs of a or all of b are {why} (NaN)', stacklevel=3)
        return
    for name, rows in (('a', undefined.all(1)), ('b', undefined.all(0))):
        if rows.any():
            warnings.warn(
                f'RDM(s) {np.flatnonzero(rows).tolist()} of {name} are {why} (NaN)', stacklevel=3
            )


def warn_unknown(*stacks: np.ndarray, stacklevel: int = 3) -> None:
    """Say how many pairs some RDM lacks, if any are."""
    unknown = np.logical_or.reduce([np.isnan(stack).any(0) for stack in stacks])
    if unknown.any():
        warnings.warn(
            f'{int(unknown.sum())} of {len(unknown)} pairs are NaN in some RDM and left out '
            'wherever it is compared',
            stacklevel=stacklevel,
        )


def present_subjects(subjects: np.ndarray, name: str = 'subjects') -> np.ndarray:
    """Rows (S, P) of which 3 pairs or more are known; a warning says which are not.

    Raises:
        ValueError: If none is left.
    """
    if all_finite(subjects):
        return subjects
    missing = (~np.isnan(subjects)).sum(1) < 3
    if missing.all():
        raise ValueError(f'{name}: no subject has 3 known pairs; all dissimilarities are NaN')
    if missing.any():
        warnings.warn(
            f'{name}: subject(s) {np.flatnonzero(missing).tolist()} have fewer than 3 known pairs '
            'and are left out',
            stacklevel=3,
        )
    return subjects[~missing]
