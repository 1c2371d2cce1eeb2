"""Kendall's tau-a of many long vectors at once."""

from __future__ import annotations

import numpy as np

from mmclarity.utils.jit import compiled

from .ranks import dense_ranks, each_block

# Counters that lie together: eight of 32 bits are one vector.
FAN, FAN_BITS = 8, 3


@compiled
def _ones(bits: np.uint64) -> np.int64:
    """Bits that are set: LLVM knows the pattern, for which processors have an instruction."""
    bits -= (bits >> np.uint64(1)) & np.uint64(0x5555555555555555)
    bits = (bits & np.uint64(0x3333333333333333)) + (
        (bits >> np.uint64(2)) & np.uint64(0x3333333333333333)
    )
    bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((bits * np.uint64(0x0101010101010101)) >> np.uint64(56))


@compiled
def inversions(values: np.ndarray) -> int:
    """Pairs i < j with v_i > v_j, exactly, in the time of P log P steps of eight counters.

    Of the values that came before, a word of bits tells those near v_j, and a tree of fan 8 over
    the words how many lie in greater siblings of its word, of the word's parent, and so on.

    Args:
        values: (P,) different integers, 0 .. P - 1 in any order.
    """
    words = (len(values) + 63) >> 6
    seen = np.zeros(words, np.uint64)
    levels, rows, size = 0, 0, words
    while levels == 0 or size > 1:
        size = (size + FAN - 1) >> FAN_BITS
        rows += size
        levels += 1
    greater, total = np.zeros((rows, FAN), np.int32), 0
    for value in values:
        place, bit = value >> 6, np.uint64(value & 63)
        total += _ones(seen[place] >> bit)
        seen[place] |= np.uint64(1) << bit
        first, size = 0, words
        for _ in range(levels):
            size = (size + FAN - 1) >> FAN_BITS
            child, place = place & (FAN - 1), place >> FAN_BITS
            counters = greater[first + place]
            total += counters[child]
            for k in range(FAN):
                counters[k] += np.int32(k < child)
            first += size
    return total


@compiled
def _order_by_both(first: np.ndarray, second: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Places in rising order of ``first``, where that is tied in the order ``second``."""
    order, cursor = np.empty_like(second), starts.copy()
    for place in second:
        order[cursor[first[place]]] = place
        cursor[first[place]] += 1
    return order


@compiled
def _starts(ranks: np.ndarray) -> np.ndarray:
    """How many entries lie below each dense rank."""
    starts = np.zeros(len(ranks) + 1, np.int32)
    for rank in ranks:
        starts[rank + 1] += 1
    return np.cumsum(starts).astype(np.int32)


@compiled
def _concordance(
    orders_a: np.ndarray,
    ranks_a: np.ndarray,
    tied_a: np.ndarray,
    out: np.ndarray,
    orders_b: np.ndarray,
    ranks_b: np.ndarray,
    tied_b: np.ndarray,
) -> None:
    """Concordant less discordant pairs of rows of a with rows of b (Knight, 1966)."""
    size = ranks_a.shape[1]
    pairs = size * (size - 1) // 2
    values = np.empty(size, np.int32)
    for j in range(len(ranks_b)):
        starts_b = _starts(ranks_b[j])
        for i in range(len(ranks_a)):
            both, order = 0, orders_a[i]
            if tied_a[i]:
                order = _order_by_both(ranks_a[i], orders_b[j], _starts(ranks_a[i]))
            if not tied_b[j]:
                for k in range(size):
                    values[k] = ranks_b[j, order[k]]
            else:
                # Equal values get numbers in the order in which they stand: no inversions.
                cursor, run = starts_b.copy(), 0
                for k in range(size):
                    rank = ranks_b[j, order[k]]
                    values[k] = cursor[rank]
                    cursor[rank] += 1
                    equal = (
                        k > 0
                        and rank == ranks_b[j, order[k - 1]]
                        and ranks_a[i, order[k]] == ranks_a[i, order[k - 1]]
                    )
                    run = run + 1 if equal else 0
                    both += run
            out[i, j] = pairs - tied_a[i] - tied_b[j] + both - 2 * inversions(values)


def tau_a(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(Concordant - discordant) / all pairs, of every row of a with every row of b.

    Args:
        a: (A, P), finite, P >= 2.
        b: (B, P).

    Returns:
        (A, B) in [-1, 1].
    """
    size = a.shape[1]
    return _difference(dense_ranks(a), dense_ranks(b)) / (size * (size - 1) // 2)


def tau_b(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The same difference over the geometric mean of the pairs that are not tied in one row.

    Returns:
        (A, B) in [-1, 1]; NaN for constant rows.
    """
    mine, others = dense_ranks(a), dense_ranks(b)
    pairs = a.shape[1] * (a.shape[1] - 1) // 2
    untied = [(pairs - ranks[2]).astype(float) for ranks in (mine, others)]
    with np.errstate(invalid='ignore', divide='ignore'):
        return _difference(mine, others) / np.sqrt(untied[0][:, None] * untied[1])


def _difference(mine: tuple[np.ndarray, ...], others: tuple[np.ndarray, ...]) -> np.ndarray:
    """Concordant less discordant pairs (A, B) of rows ranked by :func:`dense_ranks`."""
    rows, size = mine[0].shape
    difference = np.empty((rows, len(others[0])), np.int64)
    each_block(
        lambda *mine: _concordance(*mine, *others),
        *mine,
        difference,
        effort=rows * size * len(others[0]),
    )
    return difference
