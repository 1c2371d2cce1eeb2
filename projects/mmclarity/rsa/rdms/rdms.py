"""Shapes of dissimilarity matrices, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

# scipy.spatial.distance.squareform's order: row by row of the upper triangle.


def num_stimuli(num_pairs: int) -> int:
    """The n with n (n - 1) / 2 pairs.

    Raises:
        ValueError: If there is none.
    """
    n = (1 + math.isqrt(max(0, 1 + 8 * num_pairs))) // 2
    if num_pairs < 1 or n * (n - 1) // 2 != num_pairs:
        raise ValueError(
            f'{num_pairs} is not a number of pairs n (n - 1) / 2: the vector is no '
            'condensed dissimilarity matrix'
        )
    return n


def as_array(values: Any, name: str) -> np.ndarray:
    """A float64 array of a tensor or array of real numbers.

    Raises:
        TypeError: If it holds anything else.
    """
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = values.double().numpy() if values.is_floating_point() else values.numpy()
    array = np.asarray(values)
    if array.dtype.kind not in 'fiu':
        raise TypeError(
            f'{name} must hold real numbers, got {type(values).__name__} of {array.dtype}'
        )
    return array.astype(np.float64, copy=False)


def as_condensed(rdm: Any, name: str = 'rdm', tolerance: float = 1e-6) -> np.ndarray:
    """One or several RDMs as condensed rows.

    Args:
        rdm: Array or tensor: condensed (P,) or (S, P), or square (n, n) or (S, n, n). Where S = P
            an array could be either: one matrix if it is symmetric with a diagonal of zeros,
            within the tolerance; a stack if its diagonal has no zero and most entries differ from
            their mirror image; and else one matrix, which must then be a proper one.
        name (str): What messages call it.
        tolerance (float): Largest asymmetry and diagonal, relative to the largest entry.

    Returns:
        np.ndarray: (S, P), float64, P = n (n - 1) / 2. NaN (unknown pairs) is kept.

    Raises:
        ValueError: If it is neither square nor condensed, not symmetric, its diagonal is not zero,
            an entry is infinite, or there are fewer than 3 stimuli.
        TypeError: If it does not hold real numbers.
    """
    rows = condensed_rows(rdm, name, tolerance)
    refuse_infinite(rows, name)
    return rows


def condensed_rows(rdm: Any, name: str, tolerance: float = 1e-6) -> np.ndarray:
    """:func:`as_condensed` without the look for infinite entries."""
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
        n = num_stimuli(rows.shape[1])
    except ValueError as error:
        raise ValueError(
            f'{name} has shape {array.shape}, neither square nor condensed: {error}'
        ) from None
    if n < 3:
        raise ValueError(f'{name} has {n} stimuli; RDMs of fewer than 3 cannot be compared')
    return np.ascontiguousarray(rows)


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


def to_square(condensed: np.ndarray) -> np.ndarray:
    """Condensed (P,) or (S, P) to square (n, n) or (S, n, n) with a zero diagonal."""
    condensed = np.asarray(condensed)
    n = num_stimuli(condensed.shape[-1])
    square = np.zeros((*condensed.shape[:-1], n, n), dtype=condensed.dtype)
    rows, columns = np.triu_indices(n, 1)
    square[..., rows, columns] = condensed
    square[..., columns, rows] = condensed
    return square
