"""Inner products of a few long rows, and their sums, in one reading."""

from __future__ import annotations

import numpy as np

from mmclarity.utils.jit import compiled

# Columns worked on at a time: those of some twenty rows stay in a core's own cache.
COLUMNS = 512
# Products from which a matrix product is worth its threads.
FEW = 1024
# Sums may be taken in any order: several at once.
REORDER = {'reassoc', 'contract', 'nsz'}


@compiled(fastmath=REORDER)
def _sums(rows: np.ndarray, first: int, last: int, out: np.ndarray) -> None:
    for i in range(len(rows)):
        row, total, squares = rows[i, first:last], 0.0, 0.0
        for k in range(len(row)):
            total += row[k]
            squares += row[k] * row[k]
        out[i, 0] += total
        out[i, 1] += squares


@compiled(fastmath=REORDER)
def _products(a: np.ndarray, b: np.ndarray, first: int, last: int, out: np.ndarray) -> None:
    for i in range(len(a)):
        x, j = a[i, first:last], 0
        while j + 4 <= len(b):  # four at a time: each entry of x is read once for them
            y0, y1 = b[j, first:last], b[j + 1, first:last]
            y2, y3 = b[j + 2, first:last], b[j + 3, first:last]
            s0 = s1 = s2 = s3 = 0.0
            for k in range(len(x)):
                s0 += x[k] * y0[k]
                s1 += x[k] * y1[k]
                s2 += x[k] * y2[k]
                s3 += x[k] * y3[k]
            out[i, j] += s0
            out[i, j + 1] += s1
            out[i, j + 2] += s2
            out[i, j + 3] += s3
            j += 4
        while j < len(b):
            y0, s0 = b[j, first:last], 0.0
            for k in range(len(x)):
                s0 += x[k] * y0[k]
            out[i, j] += s0
            j += 1


@compiled
def _add_up(
    a: np.ndarray, b: np.ndarray, products: np.ndarray, sums_a: np.ndarray, sums_b: np.ndarray
) -> None:
    for first in range(0, a.shape[1], COLUMNS):
        last = min(a.shape[1], first + COLUMNS)
        _products(a, b, first, last, products)
        _sums(a, first, last, sums_a)
        _sums(b, first, last, sums_b)


def inner_products(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``a @ b.T`` of (A, P) and (B, P) float64, with P much longer than A and B.

    A matrix product of such shapes waits for threads and copies more than it computes.

    Returns:
        (A, B); (A, 2) and (B, 2), sum and sum of squares of each row.
    """
    products = np.zeros((len(a), len(b)))
    sums = np.zeros((len(a), 2)), np.zeros((len(b), 2))
    if len(a) * len(b) <= FEW:
        _add_up(a, b, products, *sums)
    else:
        products = a @ b.T
        for rows, out in zip((a, b), sums):
            _sums(rows, 0, a.shape[1], out)
    return products, sums[0], sums[1]


@compiled
def correlate(
    products: np.ndarray, sums_a: np.ndarray, sums_b: np.ndarray, size: int, centre: bool
) -> bool:
    """Makes inner products of rows of ``size`` entries cosines, or correlations, in place.

    Args:
        products: (A, B), of :func:`inner_products`.
        sums_a: (A, 2), of the same.
        sums_b: (B, 2), of the same.
        size: P.
        centre: Whether the rows' means are to be taken off.

    Returns:
        Whether that was done. It is not where sums cost digits or are not finite: rows that are
        nearly constant, tiny, huge, zero, or hold NaN or infinity.
    """
    for sums in (sums_a, sums_b):
        for k in range(len(sums)):
            if not 1e-290 < sums[k, 1] < 1e300:
                return False
            spread = sums[k, 1] - sums[k, 0] ** 2 / size if centre else sums[k, 1]
            if not spread > 1e-6 * sums[k, 1]:
                return False
            sums[k, 1] = np.sqrt(spread)
    for i in range(len(sums_a)):
        for j in range(len(sums_b)):
            if centre:
                products[i, j] -= sums_a[i, 0] * (sums_b[j, 0] / size)
            products[i, j] /= sums_a[i, 1] * sums_b[j, 1]
            if not np.isfinite(products[i, j]):
                return False
    return True
