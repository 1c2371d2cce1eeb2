"""Kendall's tau-a of many long vectors at once."""
from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..cpus import available_cpus
from .ranks import THREADED, sorted_row

# Blocks that a row is cut into (int8 numbers them), and entries that are compared outright.
BLOCKS, SHORT = 64, 80

# Entries that are worked on together: each of many short steps then takes longer than to begin it.
BATCH = 1 << 16


def inversions(permutations: np.ndarray) -> np.ndarray:
    """Pairs i < j with p_i > p_j, of each row: exact, without a loop over elements.

    Positions are cut into blocks. Pairs within a block are counted in the ranks that its entries
    have there, outright where it is short, else the same way. Pairs of different blocks are
    counted in the sequence of blocks by rising value: a table tells how many entries of each block
    come before each stretch of it, and those within a stretch are compared outright.

    Args:
        permutations (np.ndarray): (K, P) rows of 0 .. P - 1 in any order.

    Returns:
        np.ndarray: (K,), int64.
    """
    rows, length = permutations.shape
    groups = np.array_split(permutations, max(1, min(rows, permutations.size // BATCH)))
    workers = min(len(groups), available_cpus()) if length > THREADED else 1
    if workers > 1:
        with ThreadPoolExecutor(workers) as pool:  # numpy's loops let other threads run
            return np.concatenate(list(pool.map(_count, groups)))
    return np.concatenate(list(map(_count, groups)))


def _count(permutations: np.ndarray) -> np.ndarray:
    """:func:`inversions` of a group of rows."""
    rows, length = permutations.shape
    if length <= SHORT:
        return _descents(permutations.astype(np.int8).T)
    width = -(-length // BLOCKS)
    blocks = -(-length // width)
    padded = blocks * width
    # Values beyond the last, in rising order at the end, take part in no inversion.
    label = np.repeat(np.arange(blocks, dtype=np.int8), width)
    by_value = np.tile(label, (rows, 1))
    for row, mine in zip(permutations, by_value):
        mine[row] = label[:length]
    total = _crossings(by_value, blocks)
    if width <= SHORT and padded < 1 << 15:
        values = np.tile(np.arange(padded, dtype=np.int16), (rows, 1))
        values[:, :length] = permutations
        inside = _descents(values.reshape(rows * blocks, width).T)
    else:
        # A block's entries in rising order of value: its ranks, at the places of those values.
        local, rank = np.empty((rows, padded), np.int32), np.empty(padded, np.int32)
        for row, mine, out in zip(permutations, by_value, local):
            rank[np.argsort(mine, kind='stable')] = np.tile(np.arange(width), blocks)
            out[:length], out[length:] = rank.take(row), rank[length:]
        inside = _count(local.reshape(rows * blocks, width))
    return total + inside.reshape(rows, blocks).sum(1)


def _crossings(labels: np.ndarray, kinds: int) -> np.ndarray:
    """Pairs i < j with c_i > c_j, of each row of labels 0 .. kinds - 1: (K, P) int8."""
    rows, length = labels.shape
    stretches = -(-length // SHORT)
    padded = np.full((rows, stretches * SHORT), kinds - 1, np.int8)  # the last label: no pairs
    padded[:, :length] = labels
    padded = padded.reshape(rows, stretches, SHORT)
    first = np.arange(0, stretches * kinds, kinds)[:, None]
    table = np.empty((rows, stretches, kinds), np.int32)
    for row, mine in zip(padded, table):
        mine.ravel()[:] = np.bincount((row + first).ravel(), minlength=stretches * kinds)
    # Of each label in each stretch, those before the stretch with a greater label.
    before = np.cumsum(table, axis=1, dtype=np.int32) - table
    above = np.cumsum(before[:, :, ::-1], axis=2, dtype=np.int32)[:, :, ::-1] - before
    between = np.einsum('ksc,ksc->k', table, above, dtype=np.int64)
    inside = _descents(padded.reshape(rows * stretches, SHORT).T)
    return between + inside.reshape(rows, stretches).sum(1)


def _descents(columns: np.ndarray) -> np.ndarray:
    """Pairs i < j with b_i > b_j in each column of (T, N) integers, T <= SHORT: (N,) int64."""
    places = np.ascontiguousarray(columns)
    count, falls = np.zeros(places.shape, np.uint8), np.empty(places.shape, bool)
    for shift in range(1, len(places)):
        fall = np.greater(places[:-shift], places[shift:], out=falls[shift:])
        np.add(count[shift:], fall.view(np.uint8), out=count[shift:])
    return count.sum(0, dtype=np.int64)


def _tied_pairs(tied: np.ndarray) -> int:
    """Pairs of equal entries of a vector in rising order, from the places that equal the next."""
    if not len(tied):
        return 0
    last = np.flatnonzero(np.diff(tied, append=tied[-1] + 2) > 1)  # of each run of such places
    counts = np.diff(last, prepend=-1) + 1
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
    rank_b, tied_b = np.empty(b.shape, np.intp), np.empty(len(b), np.int64)
    for k, row in enumerate(b):
        order, _, tied = sorted_row(row)
        rank_b[k, order], tied_b[k] = np.arange(length), _tied_pairs(tied)
    result = np.empty((len(a), len(b)))
    for i, row in enumerate(a):
        order, ordered, tied = sorted_row(row)
        tied_a = _tied_pairs(tied)
        permutations = np.take(rank_b, order, axis=1)
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
        both[k] = _tied_pairs(np.flatnonzero((row[1:] == row[:-1]) & (group[1:] == group[:-1])))
    return permutations, both
