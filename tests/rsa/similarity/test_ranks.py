"""Ranks by digits against scipy, on what the first digits alone do not tell apart."""

import numpy as np
import pytest
from scipy.stats import rankdata

from mmclarity.rsa.similarity.ranks import (
    dense_ranks,
    rank_known,
    rank_transform,
    ranks_of_kept,
    sort_keys,
    sortable,
    weighted_ranks,
)

RNG = np.random.default_rng(0)
KINDS = {
    'normal': lambda x: x,
    'tied': lambda x: np.round(2 * x),
    'skewed': lambda x: np.exp(20 * x),  # nearly all in one step of the digits
    'last bits': lambda x: 1 + 1e-15 * np.round(4 * x),
    'huge': lambda x: np.clip(x, -1.7, 1.7) * 1e308,
    'one value': lambda x: np.full_like(x, 3.5),
    'tiny and zeros': lambda x: np.where(x > 0, x * 1e-320, -0.0),
    'outlier': lambda x: np.where(np.arange(x.shape[1]) == 0, 1e12, x),
}
every_kind = pytest.mark.parametrize('kind', KINDS)


@every_kind
@pytest.mark.parametrize('length', [1, 2, 3, 60, 2000])
def test_equal_to_scipys(kind, length):
    rows = KINDS[kind](RNG.normal(size=(3, length)))
    np.testing.assert_array_equal(rank_transform(rows), rankdata(rows, axis=1))
    order, dense, tied = dense_ranks(rows)
    np.testing.assert_array_equal(dense, rankdata(rows, axis=1, method='dense') - 1)
    np.testing.assert_array_equal(np.take_along_axis(rows, order, 1), np.sort(rows, axis=1))
    np.testing.assert_array_equal(np.sort(order, axis=1)[0], np.arange(length))
    np.testing.assert_array_equal(tied, [np.triu(row[:, None] == row, 1).sum() for row in rows])


@every_kind
def test_sortable_keys_rise_as_the_numbers_do(kind):
    values = np.sort(KINDS[kind](RNG.normal(size=(1, 300)))[0])
    keys = sortable(values)
    np.testing.assert_array_equal(keys[1:] > keys[:-1], values[1:] > values[:-1])
    np.testing.assert_array_equal(keys[1:] == keys[:-1], values[1:] == values[:-1])


@pytest.mark.parametrize('bits', [0, 1, 11, 12, 33, 34, 60, 64])
@pytest.mark.parametrize('length', [1, 2, 500])
def test_integers_are_sorted_stably(bits, length):
    keys = (
        RNG.integers(0, 1 << bits, length, dtype=np.uint64, endpoint=bits == 64)
        if bits < 64
        else RNG.integers(0, 1 << 64, length, dtype=np.uint64)
    )
    keys[::7] = keys[0]
    ordered, order = sort_keys(keys)
    np.testing.assert_array_equal(order, np.argsort(keys, kind='stable'))
    np.testing.assert_array_equal(ordered, keys[order])


def test_keys_that_differ_in_their_last_bits_and_in_their_first():
    """Nothing is in order after the first 33 bits: every bit must be sorted by."""
    keys = RNG.permutation(3000).astype(np.uint64)
    keys[17] |= np.uint64(1 << 63)
    np.testing.assert_array_equal(sort_keys(keys)[1], np.argsort(keys, kind='stable'))


@every_kind
def test_spread_of_ranks_from_the_sizes_of_ties(kind):
    rows = KINDS[kind](RNG.normal(size=(4, 300)))
    found, ties = rank_known(rows)
    np.testing.assert_allclose(
        (300**3 - 300 - ties[:, 0]) / 12, ((found - 150.5) ** 2).sum(1), atol=1e-6
    )


@every_kind
@pytest.mark.parametrize('length', [1, 2, 50, 700])
def test_weighted_ranks_equal_those_of_copies(kind, length):
    rows = KINDS[kind](RNG.normal(size=(4, length)))
    counts = RNG.integers(1, 5, length)
    copies = rankdata(np.repeat(rows, counts, axis=1), axis=1)
    last = np.cumsum(counts) - 1
    np.testing.assert_array_equal(
        weighted_ranks(sortable(rows), counts.astype(float)), copies[:, last]
    )


@every_kind
@pytest.mark.parametrize('kept', [1, 2, 90, 200])
def test_ranks_of_some_pairs_of_some_rows(kind, kept):
    rows = KINDS[kind](RNG.normal(size=(5, 200)))
    pairs, weights = RNG.permutation(200)[:kept], RNG.integers(1, 5, kept).astype(float)
    chosen = np.array([4, 0, 3])
    order, dense, _ = dense_ranks(rows)
    found = ranks_of_kept(order, np.take_along_axis(dense, order, 1), chosen, pairs, weights)
    np.testing.assert_array_equal(found, weighted_ranks(sortable(rows[chosen][:, pairs]), weights))


@pytest.mark.parametrize('bad', [np.nan, -np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_told(bad):
    rows = RNG.normal(size=(3, 40))
    assert rank_known(rows) is not None
    rows[1, 7] = bad
    assert rank_known(rows) is None


def test_nan_has_no_rank():
    rows = RNG.normal(size=(2, 9))
    rows[0, 4] = np.nan
    np.testing.assert_array_equal(rank_transform(rows), rankdata(rows, axis=1, nan_policy='omit'))


@pytest.mark.parametrize('shape', [(0, 5), (2, 0), (1, 1)])
def test_next_to_nothing(shape):
    np.testing.assert_array_equal(rank_transform(np.zeros(shape)), np.ones(shape))
