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
# Moves by which entries may be put right one by one, and beyond which the row is sorted anew: two
# long rising runs that share a step would take the square of their length.
FEW = 64
NONE = np.zeros(0, np.intp)


def sorted_row(row: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``order = argsort(row)`` and ``row[order]``, several times as fast.

    Integers of few bits are sorted by their digits, in linear time. Entries are sorted by where
    they lie between the least and the greatest, in 2^24 steps, or 2^31 where there are many; the
    few that share a step are then put right.

    Args:
        row (np.ndarray): (P,), finite float64, P >= 1.

    Returns:
        tuple: (P,) places, intp, those of equal entries in any order; (P,) values, rising; (T,)
        places of values that equal the next one.
    """
    order = _digit_order(row)
    ordered = row.take(order)
    rising = ordered[1:] > ordered[:-1]
    if np.count_nonzero(rising) == len(rising):
        return order, ordered, NONE
    even = (~rising).nonzero()[0]
    falls = even[ordered.take(even + 1) < ordered.take(even)]
    if len(falls) and not _insert(falls.tolist(), ordered, order):
        order = np.argsort(row, kind='stable')
        ordered = row.take(order)
    return order, ordered, (ordered[1:] == ordered[:-1]).nonzero()[0]


def _insert(falls: list[int], ordered: np.ndarray, order: np.ndarray) -> bool:
    """Insertion sort of a row that rises but at the places ``falls``; False if it takes long."""
    moves = 0
    for end in falls:
        # What is put in before may leave a larger one here, so it goes on until the row rises.
        while end + 1 < len(ordered) and ordered[end + 1] < ordered[end]:
            place = end
            while place >= 0 and ordered[place + 1] < ordered[place]:
                moves += 1
                if moves > FEW:
                    return False
                for values in (ordered, order):
                    values[place], values[place + 1] = values[place + 1], values[place]
                place -= 1
            end += 1
    return True


def _digit_order(row: np.ndarray) -> np.ndarray:
    """Approximate order by digits."""
    low, steps = float(row.min()), 2.0**31 - 1 if len(row) >= LONG else 2.0**24 - 1
    span = float(row.max()) - low
    # All equal, or nearer or further apart than numbers go.
    if not 1e-290 < span < math.inf:
        return np.argsort(row, kind='stable')
    keys = row - low
    keys *= steps / span
    keys = keys.astype(np.int32)
    if len(row) >= LONG:
        return torch.sort(torch.from_numpy(keys))[1].numpy()
    return integer_order(keys, int(steps))


def integer_order(keys: np.ndarray, most: int) -> np.ndarray:
    """Stable ``argsort(keys)`` of integers 0 .. most, digit by digit of 16 bits."""
    order = keys.astype(np.uint16).argsort(kind='stable')
    for shift in range(16, int(most).bit_length(), 16):
        digit = keys >> shift
        digit = digit.astype(np.uint8 if most >> shift < 256 else np.uint16).take(order)
        order = order.take(digit.argsort(kind='stable'))
    return order


def rank_transform(stack: np.ndarray) -> np.ndarray:
    """Ranks 1 .. P of each row, ties sharing their mean; NaN keeps its place and has no rank."""
    stack = np.asarray(stack, np.float64)
    if not all_finite(stack):
        return rankdata(stack, axis=1, nan_policy='omit')
    return rank_finite(stack)[0]


def rank_finite(stack: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ranks of finite rows (S, P), and the sums of t^3 - t over their runs of t equal entries.

    The squared distances of a row's ranks from their mean add up to (P^3 - P - that sum) / 12.

    Returns:
        tuple: (S, P) and (S, 1), float64.
    """
    places, ties = np.arange(1.0, stack.shape[1] + 1), np.zeros((len(stack), 1))

    def work(row: np.ndarray, out: tuple[np.ndarray, np.ndarray]) -> None:
        order, _, tied = sorted_row(row)
        if not len(tied):
            out[0][order] = places
            return
        starts, sizes = _groups(len(row), tied)
        out[0][order] = np.repeat(starts + (sizes + 1) / 2, sizes)
        out[1][0] = (sizes.astype(float)**3 - sizes).sum()

    ranks = np.empty(stack.shape)
    each_row(work, stack, list(zip(ranks, ties)))
    return ranks, ties


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
    out, most = np.empty(keys.shape), int(keys.max())
    for row, ranks in zip(keys, out):
        order = integer_order(row, most)
        mine, ordered = weights.take(order), row.take(order)
        after = mine.cumsum()
        tied = (ordered[1:] == ordered[:-1]).nonzero()[0]
        if len(tied):
            # Equal entries share the mean from the start of the first to the end of the last.
            starts, sizes = _groups(len(row), tied)
            last = after.take(starts + sizes - 1)
            middle = np.empty_like(last)
            np.add(last[:-1], last[1:], out=middle[1:])
            middle[0] = last[0]
            middle += 1
            middle /= 2
            ranks[order] = middle.repeat(sizes)
        else:
            mine -= 1
            mine /= 2
            after -= mine
            ranks[order] = after
    return out


def all_finite(stack: np.ndarray) -> bool:
    """Whether there is no NaN: one sum, but where it overflows."""
    return bool(np.isfinite(stack.sum())) or not np.isnan(stack).any()
