"""Kendall's tau-a of many long vectors at once."""
from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from ..cpus import available_cpus

# Length from which permutations are counted on several threads.
THREADED = 20_000


def inversions(permutations: np.ndarray) -> np.ndarray:
    """Pairs i < j with p_i > p_j, of each row: exact, without a loop over elements.

    Positions and values are cut into blocks of about sqrt(P / 2). Pairs that differ in both
    blocks are counted from the table of how many elements each pair of blocks holds; those that
    share one are compared outright.

    Args:
        permutations (np.ndarray): (K, P) rows of 0 .. P - 1 in any order.

    Returns:
        np.ndarray: (K,), int64.
    """
    rows, length = permutations.shape
    length = permutations.shape[1]
    width = max(8, int(np.sqrt(length / 2)))
    blocks = -(-length // width)
    workers = min(len(permutations), available_cpus()) if length > THREADED else 1
    count = partial(_count, width=width, blocks=blocks)
    if workers > 1:
        with ThreadPoolExecutor(workers) as pool:  # numpy's loops let other threads run
            return np.fromiter(pool.map(count, permutations), np.int64)
    return np.fromiter(map(count, permutations), np.int64)


def _count(permutation: np.ndarray, width: int, blocks: int) -> int:
    # Values beyond the last, in rising order at the end: they take part in no inversion.
    padded = np.arange(blocks * width, dtype=np.int32)
    padded[:len(permutation)] = permutation
    places = np.arange(blocks * width, dtype=np.int32) // width
    position_block = np.empty_like(places)
    position_block[padded] = places
    # Elements by (block of positions, block of values), then those before and above each.
    table = np.bincount(position_block * blocks + places, minlength=blocks**2)
    table = table.astype(np.int32).reshape(blocks, blocks)
    before = np.cumsum(table, axis=0, dtype=np.int32) - table
    above = np.cumsum(before[:, ::-1], axis=1, dtype=np.int32)[:, ::-1] - before
    total = int(np.einsum('ij,ij->', table, above, dtype=np.int64))
    # Pairs in one block of positions; then those in one block of values but not of positions.
    small = np.int16 if blocks < 2**15 else np.int32
    return (total + _descents(padded.reshape(blocks, width))
            + _descents(position_block.astype(small).reshape(blocks, width)))


def _descents(blocks: np.ndarray) -> int:
    """Pairs i < j with b_i > b_j within the rows."""
    # One contiguous vector for each place in a block.
    places = np.ascontiguousarray(blocks.T)
    return sum(np.count_nonzero(places[:-shift] > places[shift:])
               for shift in range(1, len(places)))


def _tied_pairs(values: np.ndarray) -> int:
    """Pairs of equal entries."""
    counts = np.unique(values, return_counts=True)[1]
    return int((counts * (counts - 1) // 2).sum())


def tau_a(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(Concordant - discordant) / all pairs, of every row of a with every row of b.

    Args:
        a (np.ndarray): (A, P), finite, P >= 2.
        b (np.ndarray): (B, P).

    Returns:
        np.ndarray: (A, B) in [-1, 1].
    """
    length = a.shape[1]
    pairs = length * (length - 1) // 2
    order_b = np.argsort(b, axis=1, kind='stable')
    rank_b = np.empty_like(order_b)
    np.put_along_axis(rank_b, order_b, np.arange(length)[None], 1)
    tied_b = np.array([_tied_pairs(row) for row in b])
    result = np.empty((len(a), len(b)))
    for i, row in enumerate(a):
        order = np.argsort(row, kind='stable')
        ordered = row[order]
        tied_a = _tied_pairs(row)
        permutations = rank_b[:, order]
        tied_both = np.zeros(len(b), np.int64)
        if tied_a or tied_b.any():
            permutations, tied_both = _untie(ordered, b[:, order], permutations)
        discordant = inversions(permutations)
        result[i] = (pairs - tied_a - tied_b + tied_both - 2 * discordant) / pairs
    return result


def _untie(ordered: np.ndarray, values: np.ndarray,
           permutations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Permutations in which tied pairs are never inverted, and the pairs tied in both.

    Where a is tied its entries are put in the order of b, and equal values of b get ranks in the
    order in which they stand.
    """
    group = np.concatenate([[0], np.cumsum(ordered[1:] != ordered[:-1])])
    permutations, both = permutations.copy(), np.zeros(len(values), np.int64)
    for k, row in enumerate(values):
        order = np.lexsort((row, group))
        row = row[order]
        permutations[k, np.argsort(row, kind='stable')] = np.arange(len(row))
        same = np.concatenate([[0], np.cumsum((row[1:] != row[:-1])
                                              | (group[1:] != group[:-1]))])
        both[k] = _tied_pairs(same)
    return permutations, both
