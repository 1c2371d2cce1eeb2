"""Ranks of many long vectors, weighted or not, by sorting their digits."""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata

from ..cpus import available_cpus

# Length from which rows are worked on by several threads: with shorter ones they wait for one
# another.
THREADED = 20_000
# Length from which torch sorts integers by their digits too, and faster.
LONG = 1 << 15
NONE = np.zeros(0, np.intp)


def sorted_row(row: np.ndarray, low: float | None = None,
               high: float | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``order = argsort(row)`` and ``row[order]``, several times as fast.

    Integers of few bits are sorted by their digits, in linear time. Entries are sorted by where
    they lie between the least and the greatest, in 2^24 steps, or 2^31 where there are many. What
    is left in disorder, the few that share a step, is sorted by merging runs that rise, which
    takes little longer than looking at each.

    Args:
        row (np.ndarray): (P,), finite float64, P >= 1.
        low, high (float, optional): Its least and its greatest entry, where they are known.

    Returns:
        tuple: (P,) places, intp, those of equal entries in any order; (P,) values, rising; (T,)
        places of values that equal the next one.
    """
    low, high = row.min() if low is None else low, row.max() if high is None else high
    order = _digit_order(row, low, high)
    ordered = row.take(order)
    rising = ordered[1:] > ordered[:-1]
    if np.count_nonzero(rising) == len(rising):
        return order, ordered, NONE
    even = (~rising).nonzero()[0]
    if (ordered.take(even + 1) < ordered.take(even)).any():
        merged = ordered.argsort(kind='stable')
        order, ordered = order.take(merged), ordered.take(merged)
        even = (ordered[1:] == ordered[:-1]).nonzero()[0]
    return order, ordered, even


def _digit_order(row: np.ndarray, low: float, high: float) -> np.ndarray:
    """Approximate order by digits."""
    steps = 2.0**31 - 1 if len(row) >= LONG else 2.0**24 - 1
    span = float(high) - float(low)
    # All equal, or nearer or further apart than numbers go: one step, all left to be merged.
    if not 1e-290 < span < math.inf:
        return np.arange(len(row))
    keys = row - low
    keys *= steps / span
    keys = keys.astype(np.int32)
    if len(row) >= LONG:
        return torch.sort(torch.from_numpy(keys))[1].numpy()
    return integer_order(keys[None], int(steps))[0]


def integer_order(keys: np.ndarray, most: int) -> np.ndarray:
    """Stable ``argsort(keys)`` of rows (R, K) of integers 0 .. most, by digits of 16 bits."""
    order, low = np.empty(keys.shape, np.intp), keys.astype(np.uint16)
    higher = [(keys >> shift).astype(np.uint8 if most >> shift < 256 else np.uint16)
              for shift in range(16, int(most).bit_length(), 16)]
    for k, out in enumerate(order):
        places = low[k].argsort(kind='stable')
        for digits in higher:
            places = places.take(digits[k].take(places).argsort(kind='stable'))
        out[:] = places
    return order


def rank_transform(stack: np.ndarray) -> np.ndarray:
    """Ranks 1 .. P of each row, ties sharing their mean; NaN keeps its place and has no rank."""
    stack = np.asarray(stack, np.float64)
    ranked = rank_finite(stack)
    return rankdata(stack, axis=1, nan_policy='omit') if ranked is None else ranked[0]


def rank_finite(stack: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Ranks of rows (S, P), and the sums of t^3 - t over their runs of t equal entries.

    The squared distances of a row's ranks from their mean add up to (P^3 - P - that sum) / 12.

    Returns:
        tuple | None: (S, P) and (S, 1), float64; None where an entry is not finite.
    """
    # Least and greatest are NaN or infinite where any entry is: nobody need look at each.
    low, high = (find(axis=1) for find in (stack.min, stack.max))
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        return None
    places, ties = np.arange(1.0, stack.shape[1] + 1), np.zeros(len(stack))
    ranks = np.empty(stack.shape)

    def work(row: np.ndarray, k: int) -> None:
        order, _, tied = sorted_row(row, low[k], high[k])
        if not len(tied):
            ranks[k][order] = places
            return
        starts, sizes = _groups(len(row), tied)
        ranks[k][order] = np.repeat(starts + (sizes + 1) / 2, sizes)
        ties[k] = (sizes.astype(float)**3 - sizes).sum()

    each_row(work, stack, range(len(stack)))
    return ranks, ties[:, None]


def each_row(work: Callable[[np.ndarray, Any], None], rows: np.ndarray,
             out: Sequence[Any]) -> None:
    """``work(row, out's row)`` for all rows; long ones on several threads."""
    workers = min(len(rows), available_cpus()) if rows.shape[1] > THREADED else 1
    if workers > 1:
        with ThreadPoolExecutor(workers) as pool:  # sorting lets other threads run
            list(pool.map(work, rows, out))
    elif rows.size:
        for row, mine in zip(rows, out):
            work(row, mine)


def _groups(length: int, tied: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where runs of equal entries begin, and how long they are.

    ``tied`` are the places of entries that equal the next one.
    """
    new = np.ones(length, bool)
    new[tied + 1] = False
    starts = new.nonzero()[0]
    sizes = np.empty_like(starts)
    np.subtract(starts[1:], starts[:-1], out=sizes[:-1])
    sizes[-1] = length - starts[-1]
    return starts, sizes


def dense_ranks(stack: np.ndarray) -> np.ndarray:
    """Ranks 0, 1, ... of finite rows (S, P) that equal entries share, the next one following.

    Returns:
        np.ndarray: (S, P), int32.
    """
    def work(row: np.ndarray, out: np.ndarray) -> None:
        order, _, tied = sorted_row(row)
        new = np.ones(len(row), np.int32)
        new[0] = new[tied + 1] = 0
        out[order] = np.cumsum(new)

    ranks = np.empty(stack.shape, np.int32)
    each_row(work, stack, ranks)
    return ranks


def weighted_ranks(keys: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean rank of the copies of each entry, when entry k is there ``weights[k]`` times.

    Args:
        keys (np.ndarray): (R, K) integers >= 0, K >= 1.
        weights (np.ndarray): (K,), whole numbers above 0, float64.

    Returns:
        np.ndarray: (R, K) float64, from 1 to ``weights.sum()``.
    """
    rows, length = keys.shape
    order = integer_order(keys, int(keys.max()))
    mine = weights.take(order)
    after = mine.cumsum(1).ravel()
    mine, order = mine.ravel(), (order + np.arange(0, keys.size, length)[:, None]).ravel()
    ordered = keys.ravel().take(order)
    level = ordered[1:] == ordered[:-1]
    level[length - 1::length] = False  # the next entry is another row's
    ranks, tied = after - (mine - 1) / 2, level.nonzero()[0]
    if len(tied):
        # Equal entries share the mean from the start of the first to the end of the last.
        gaps = (np.diff(tied) > 1).nonzero()[0]
        first, last = tied[np.append(0, gaps + 1)], tied[np.append(gaps, -1)] + 1
        sizes = last - first + 1
        places = np.arange(sizes.sum()) + (first - sizes.cumsum() + sizes).repeat(sizes)
        ranks[places] = ((after[first] - mine[first] + after[last] + 1) / 2).repeat(sizes)
    out = np.empty(keys.size)
    out[order] = ranks
    return out.reshape(rows, length)


def all_finite(stack: np.ndarray) -> bool:
    """Whether there is no NaN: one sum, but where it overflows."""
    return bool(np.isfinite(stack.sum())) or not np.isnan(stack).any()
