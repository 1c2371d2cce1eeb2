"""Pairs of stimuli, in the order of condensed matrices: row by row of the upper triangle.

(That of ``scipy.spatial.distance.squareform``.)
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np


def num_stimuli(num_pairs: int) -> int:
    """The n with n (n - 1) / 2 pairs.

    Raises:
        ValueError: If there is none.

    Examples:
        >>> from mmclarity.rsa.rdms import num_stimuli
        >>> num_stimuli(45)
        10
    """
    n = (1 + math.isqrt(max(0, 1 + 8 * num_pairs))) // 2
    if num_pairs < 1 or n * (n - 1) // 2 != num_pairs:
        raise ValueError(
            f'{num_pairs} is not a number of pairs n (n - 1) / 2: the vector is no '
            'condensed dissimilarity matrix'
        )
    return n


def pairs_of(order: np.ndarray, stimuli: int) -> np.ndarray:
    """Places, among the pairs of ``stimuli``, of the pairs of the stimuli ``order``."""
    rows, columns = np.triu_indices(len(order), 1)
    first, second = np.minimum(order[rows], order[columns]), np.maximum(order[rows], order[columns])
    return first * (2 * stimuli - first - 1) // 2 + second - first - 1


def between_groups(groups: Sequence[Any]) -> np.ndarray:
    """(P,) whether the two stimuli of a pair belong to different groups.

    Examples:
        >>> from mmclarity.rsa.rdms import between_groups
        >>> between_groups(['a', 'a', 'b'])
        array([False,  True,  True])
    """
    names = np.asarray([str(item) for item in groups])
    rows, columns = np.triu_indices(len(names), 1)
    return names[rows] != names[columns]


def to_square(condensed: np.ndarray) -> np.ndarray:
    """Condensed (P,) or (S, P) to square (n, n) or (S, n, n) with a zero diagonal.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.rsa import to_square
        >>> to_square(np.array([1.0, 2.0, 3.0]))
        array([[0., 1., 2.],
               [1., 0., 3.],
               [2., 3., 0.]])
    """
    condensed = np.asarray(condensed)
    n = num_stimuli(condensed.shape[-1])
    square = np.zeros((*condensed.shape[:-1], n, n), dtype=condensed.dtype)
    rows, columns = np.triu_indices(n, 1)
    square[..., rows, columns] = condensed
    square[..., columns, rows] = condensed
    return square


def unmasked(values: Any) -> Any:
    """NaN where an array of numpy is masked, which numpy forgets; all else as it is."""
    if not isinstance(values, np.ma.MaskedArray):
        return values
    if not np.ma.is_masked(values):
        return values.data
    return np.where(np.ma.getmaskarray(values), np.nan, values.data)
