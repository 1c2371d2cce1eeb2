"""Ranks of many long vectors, weighted or not, by sorting their digits."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy.stats import rankdata

from mmclarity.utils.cpus import available_cpus
from mmclarity.utils.jit import compiled

# Entries from which rows are divided among threads: fewer are done before the threads have begun.
THREADED = 1 << 18
# Bits of a digit: its 2048 counters and as many places to write to stay in the nearest cache.
DIGIT = 11
MASK, FIRST = np.uint64((1 << DIGIT) - 1), 3 * DIGIT


def sortable(stack: np.ndarray) -> np.ndarray:
    """float64 without NaN as uint64 in the same order; -0 equals 0."""
    bits = (stack + 0.0).view(np.int64)
    # The greater a negative number's bits the less it is: all of them are turned over.
    bits ^= (bits >> 63) | np.int64(-1 << 63)
    return bits.view(np.uint64)


# Whatever lies at these or beyond is infinite or NaN.
LEAST, GREATEST = sortable(np.array([-np.inf, np.inf]))


@compiled
def sort_keys(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``keys[order]`` and ``order = argsort(keys)``, stable, of (P,) uint64 in linear time.

    Sorted by the first 33 of the bits in which keys differ, nearly all are in order; the others
    are put right one by one, or, if they are many, all bits are sorted by.

    Returns:
        (P,) uint64 and (P,) uint32.
    """
    differing = np.uint64(0)
    for i in range(len(keys)):
        differing |= keys[i] ^ keys[0]
    bits = 0
    while bits < 64 and differing >> np.uint64(bits):
        bits += 1
    shift = max(0, bits - FIRST)
    ordered, order = _by_digits(keys, shift, bits)
    if shift and not _insert(ordered, order):
        ordered, order = _by_digits(keys, 0, bits)
    return ordered, order


@compiled
def _by_digits(keys: np.ndarray, shift: int, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """:func:`sort_keys` by the bits from ``shift`` to ``bits``: radix sort from the last digit."""
    # Everything is unsigned, so that numba need not ask whether a place counts from the end.
    size, passes = len(keys), max(0, (bits - shift + DIGIT - 1) // DIGIT)
    counts = np.zeros((passes, 1 << DIGIT), np.uint32)
    for i in range(size):
        key = keys[i] >> np.uint64(shift)
        for k in range(passes):
            counts[k, (key >> np.uint64(k * DIGIT)) & MASK] += np.uint32(1)
    order, keys = np.empty(size, np.uint32), keys.copy()
    for i in range(size):
        order[i] = i
    next_order, next_keys = np.empty_like(order), np.empty_like(keys)
    for k in range(passes):
        lowest, count, start = np.uint64(shift + k * DIGIT), counts[k], np.uint32(0)
        for digit in range(1 << DIGIT):
            here = count[digit]
            count[digit] = start
            start += here
        for i in range(size):
            key = keys[i]
            digit = (key >> lowest) & MASK
            place = count[digit]
            count[digit] = place + np.uint32(1)
            next_keys[place], next_order[place] = key, order[i]
        keys, next_keys, order, next_order = next_keys, keys, next_order, order
    return keys, order


@compiled
def _insert(keys: np.ndarray, order: np.ndarray) -> bool:
    """Insertion sort of what is nearly sorted; False, in disorder, if it takes long."""
    moves = 0
    for i in range(1, len(keys)):
        key, place, j = keys[i], order[i], i
        while j > 0 and keys[j - 1] > key:
            keys[j], order[j] = keys[j - 1], order[j - 1]
            j -= 1
            moves += 1
            if moves > len(keys):
                return False
        if j < i:
            keys[j], order[j] = key, place
    return True


@compiled
def _rank_rows(keys: np.ndarray, ranks: np.ndarray, ties: np.ndarray) -> None:
    """Ranks of rows, and their sums of t^3 - t: -1 where an entry is not finite."""
    size = keys.shape[1]
    for row in range(len(keys)):
        ordered, order = sort_keys(keys[row])
        if ordered[0] <= LEAST or ordered[-1] >= GREATEST:
            ties[row] = -1
            continue
        out, run = ranks[row], 0
        for k in range(size):
            if k + 1 < size and ordered[k + 1] == ordered[k]:
                run += 1
                continue
            out[order[k]] = k + 1 - run / 2
            if run:
                for tied in range(k - run, k):
                    out[order[tied]] = k + 1 - run / 2
                ties[row] += (run + 1.0) ** 3 - (run + 1.0)
                run = 0


@compiled
def _dense_rows(keys: np.ndarray, orders: np.ndarray, ranks: np.ndarray, tied: np.ndarray) -> None:
    for row in range(len(keys)):
        ordered, order = sort_keys(keys[row])
        rank, run = 0, 0
        for k in range(len(order)):
            equal = k > 0 and ordered[k] == ordered[k - 1]
            rank += k > 0 and not equal
            run = run + 1 if equal else 0
            tied[row] += run
            orders[row, k], ranks[row, order[k]] = order[k], rank


def each_block(
    work: Callable[..., None], rows: np.ndarray, *outs: np.ndarray, effort: int = 0
) -> None:
    """``work(rows, *outs)`` of blocks of rows, on several threads where there is enough to do.

    Args:
        work: Lets other threads run.
        rows: (R, ...).
        *outs: (R, ...) each, cut up as ``rows`` are.
        effort: Entries that are looked at. Defaults to those of ``rows``.
    """
    workers = min(len(rows), available_cpus()) if (effort or rows.size) >= THREADED else 1
    if workers <= 1:
        work(rows, *outs)
        return
    parts = [np.array_split(part, workers) for part in (rows, *outs)]
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, *parts))


def rank_transform(stack: np.ndarray) -> np.ndarray:
    """Ranks 1 .. P of each row, ties sharing their mean; NaN keeps its place and has no rank."""
    stack = np.asarray(stack, np.float64)
    ranked = rank_known(stack)
    return rankdata(stack, axis=1, nan_policy='omit') if ranked is None else ranked[0]


def rank_known(stack: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Ranks of rows (S, P), and the sums of t^3 - t over their runs of t equal entries.

    The squared distances of a row's ranks from their mean add up to (P^3 - P - that sum) / 12.

    Returns:
        (S, P) and (S, 1), float64; None where an entry is NaN or infinite.
    """
    ranks, ties = np.empty(stack.shape), np.zeros(len(stack))
    if stack.size:
        each_block(_rank_rows, sortable(stack), ranks, ties)
    return None if (ties < 0).any() else (ranks, ties[:, None])


def dense_ranks(stack: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Order of finite rows (S, P), and ranks 0, 1, ... that equal entries share.

    Returns:
        Places in rising order and ranks, (S, P) int32 both; pairs that are tied, (S,)
        int64.
    """
    order, ranks = np.empty(stack.shape, np.int32), np.empty(stack.shape, np.int32)
    tied = np.zeros(len(stack), np.int64)
    each_block(_dense_rows, sortable(stack), order, ranks, tied)
    return order, ranks, tied


@compiled
def _weighted(values: np.ndarray, order: np.ndarray, weights: np.ndarray, out: np.ndarray) -> None:
    """Mean ranks of the copies of entries ``order``, whose ``values`` rise, put at their places."""
    before, first = 0.0, 0
    while first < len(values):
        after, total = first + 1, weights[order[first]]
        while after < len(values) and values[after] == values[first]:
            total += weights[order[after]]
            after += 1
        for k in range(first, after):
            out[order[k]] = before + (total + 1) / 2
        before += total
        first = after


@compiled
def weighted_ranks(keys: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean rank of the copies of each entry, when entry k is there ``weights[k]`` times.

    Args:
        keys: (R, K) uint64.
        weights: (K,), whole numbers above 0, float64.

    Returns:
        (R, K) float64, from 1 to ``weights.sum()``.
    """
    out = np.empty(keys.shape)
    for row in range(len(keys)):
        ordered, order = sort_keys(keys[row])
        _weighted(ordered, order, weights, out[row])
    return out


@compiled
def ranks_of_kept(
    order: np.ndarray, rising: np.ndarray, rows: np.ndarray, pairs: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """:func:`weighted_ranks` of some pairs of some rows that were sorted before.

    Args:
        order: (S, P) int32, see :func:`dense_ranks`.
        rising: (S, P) int32, its ranks in that order.
        rows: (R,) of the rows.
        pairs: (K,) different places, those that are kept.
        weights: (K,), whole numbers above 0, float64.

    Returns:
        (R, K) float64.
    """
    size, kept = order.shape[1], len(pairs)
    place = np.full(size, -1, np.int32)
    for k in range(kept):
        place[pairs[k]] = k
    out = np.empty((len(rows), kept))
    values, places = np.empty(kept + 1, np.int32), np.empty(kept + 1, np.uint32)
    for i in range(len(rows)):
        row, found = rows[i], 0
        for k in range(size):  # without branches, which nobody could foresee
            pair = place[order[row, k]]
            places[found], values[found] = pair, rising[row, k]
            found += pair >= 0
        _weighted(values[:kept], places[:kept], weights, out[i])
    return out


def all_finite(stack: np.ndarray) -> bool:
    """Whether there is no NaN: one sum, but where it overflows."""
    return bool(np.isfinite(stack.sum())) or not np.isnan(stack).any()
