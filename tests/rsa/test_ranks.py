"""Ranks by digits against scipy, on what digits alone do not tell apart."""

import numpy as np
import pytest
from scipy.stats import rankdata

from mmclarity.rsa import ranks
from mmclarity.rsa.ranks import (
    dense_ranks,
    integer_order,
    rank_finite,
    rank_transform,
    sorted_row,
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


@pytest.fixture(params=['short', 'long'])
def path(request, monkeypatch):
    """Either way a row may be put in order, whatever its length."""
    if request.param == 'long':
        monkeypatch.setattr(ranks, 'LONG', 1)


@every_kind
@pytest.mark.parametrize('length', [1, 2, 3, 60, 2000])
@pytest.mark.filterwarnings('ignore:overflow encountered:RuntimeWarning',
                            'ignore:invalid value encountered in reduce:RuntimeWarning')
def test_equal_to_scipys(kind, length, path):
    rows = KINDS[kind](RNG.normal(size=(3, length)))
    np.testing.assert_array_equal(rank_transform(rows), rankdata(rows, axis=1))
    np.testing.assert_array_equal(dense_ranks(rows), rankdata(rows, axis=1, method='dense') - 1)
    for row in rows:
        order, ordered, tied = sorted_row(row)
        assert sorted(order) == list(range(length))
        np.testing.assert_array_equal(ordered, np.sort(row))
        np.testing.assert_array_equal(row[order], ordered)
        np.testing.assert_array_equal(tied, np.flatnonzero(np.diff(np.sort(row)) == 0))


def test_two_long_runs_in_one_step():
    """What lies far off leaves one step to all the rest."""
    run = np.arange(8000.0)
    row = np.concatenate([1e-3 * run + 1e-4, 1e-3 * run, [1e12]])
    np.testing.assert_array_equal(rank_transform(row[None])[0], rankdata(row))


@every_kind
def test_spread_of_ranks_from_the_sizes_of_ties(kind):
    rows = KINDS[kind](RNG.normal(size=(4, 300)))
    found, ties = rank_finite(rows)
    np.testing.assert_allclose((300**3 - 300 - ties[:, 0]) / 12,
                               ((found - 150.5)**2).sum(1), atol=1e-6)


@every_kind
@pytest.mark.parametrize('length', [1, 2, 50, 700])
def test_weighted_ranks_equal_those_of_copies(kind, length):
    rows = KINDS[kind](RNG.normal(size=(4, length)))
    counts = RNG.integers(1, 5, length)
    copies = rankdata(np.repeat(rows, counts, axis=1), axis=1)
    last = np.cumsum(counts) - 1
    for spread in (1, 3000, 1 << 30):  # keys of one, two and three digits
        keys = dense_ranks(rows).astype(np.int64) * spread
        np.testing.assert_array_equal(weighted_ranks(keys, counts.astype(float)), copies[:, last])


@pytest.mark.parametrize('most', [0, 255, 256, 65535, 65536, 1 << 24, 1 << 40])
def test_integers_are_sorted_stably(most):
    keys = RNG.integers(0, most + 1, (3, 500))
    keys[:, ::7] = keys[:, :1]
    np.testing.assert_array_equal(integer_order(keys, most), np.argsort(keys, 1, kind='stable'))


def test_nan_has_no_rank():
    rows = RNG.normal(size=(2, 9))
    rows[0, 4] = np.nan
    np.testing.assert_array_equal(rank_transform(rows), rankdata(rows, axis=1, nan_policy='omit'))
