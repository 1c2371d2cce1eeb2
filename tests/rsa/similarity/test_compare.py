"""Comparisons against rsatoolbox and scipy."""

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from mmclarity.rsa import compare_rdms
from mmclarity.rsa.similarity import ranks
from mmclarity.rsa.similarity.compare import METHODS, prepare
from mmclarity.rsa.similarity.kendall import inversions, tau_a
from mmclarity.rsa.similarity.ranks import rank_transform
from tests.real_data import DATA, needs

RNG = np.random.default_rng(0)
TOOLBOX = dict(pearson='corr', spearman='spearman', kendall='tau-a', cosine='cosine')
TOOLBOX['rho-a'] = 'rho-a'
RSA92 = DATA / 'rsa_92/rdms.npz'


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('stimuli', [3, 7, 40])
@pytest.mark.parametrize('tied', [None, 'a', 'both'])
def test_equal_to_rsatoolbox(method, stimuli, tied):
    from rsatoolbox.rdm import RDMs, compare

    pairs = stimuli * (stimuli - 1) // 2
    # five: three of three pairs can look like a square RDM; two values are given: none is even
    a, b = RNG.random((5, pairs)), RNG.random((4, pairs))
    if tied:
        a = np.round(4 * a) + 1
        a[:, :2] = 5, 1
    if tied == 'both':
        b = np.round(3 * b) + 1
        b[:, :2] = 1, 4
    expected = compare(RDMs(a), RDMs(b), TOOLBOX[method])
    np.testing.assert_allclose(compare_rdms(a, b, method), expected, atol=1e-12)
    if method != 'kendall':
        np.testing.assert_allclose(prepare(a, method) @ prepare(b, method).T, expected, atol=1e-12)


def test_long_vectors_on_several_threads(monkeypatch):
    monkeypatch.setattr(ranks, 'available_cpus', lambda: 2)
    values = RNG.random((3, 124_750))
    assert values.size > ranks.THREADED
    values[1] = np.round(values[1], 3)
    expected = [[spearmanr(x, y).statistic for y in values] for x in values]
    np.testing.assert_allclose(compare_rdms(values, values), expected, atol=1e-12)


@pytest.mark.parametrize('method', ['pearson', 'cosine', 'spearman'])
@pytest.mark.parametrize('counts', [(1, 1), (3, 5), (2, 600), (40, 40)])
def test_any_number_of_rdms(method, counts):
    """By fours, what is left of them, and by a matrix product where there are many."""
    a, b = (RNG.normal(size=(count, 1035)) for count in counts)
    expected = prepare(a, method) @ prepare(b, method).T
    np.testing.assert_allclose(compare_rdms(a, b, method), expected, atol=1e-12)


@needs('rsa_92/rdms.npz')
def test_macaque_and_human_it():
    data = np.load(RSA92)
    assert compare_rdms(data['mIT'], data['hIT'])[0, 0] == pytest.approx(0.439, abs=5e-4)


@pytest.mark.parametrize('kind', ['random', 'negative', 'nearly equal', 'tied', 'runs', 'zeros'])
@pytest.mark.parametrize('length', [1, 2, 3, 50, 3000])
def test_ranks_equal_scipys(kind, length):
    from scipy.stats import rankdata

    rows = RNG.normal(size=(3, length))
    if kind == 'nearly equal':  # apart in the last bits only
        rows = 1 + 1e-15 * RNG.integers(0, 9, (3, length)) + np.round(rows)
    elif kind == 'tied':
        rows = np.round(rows)
    elif kind == 'runs':
        rows[:, ::2] = rows[:, :1]
    elif kind == 'zeros':
        rows = np.where(rows > 0, 0.0, -0.0) + (rows > 1)
    elif kind == 'negative':
        rows = -np.abs(rows) * 1e300
    np.testing.assert_array_equal(rank_transform(rows), rankdata(rows, axis=1))


@pytest.mark.parametrize('length', [2, 3, 8, 9, 64, 65, 512, 513, 1000, 4097])
def test_inversions_equal_counting_all_pairs(length):
    rows = np.stack(
        [RNG.permutation(length) for _ in range(4)] + [np.arange(length), np.arange(length)[::-1]]
    )
    expected = [int(np.triu(row[:, None] > row, 1).sum()) for row in rows]
    assert [inversions(row) for row in rows] == expected


def test_kendall_of_long_vectors_equals_scipys_count():
    from scipy.stats import kendalltau

    a, b = RNG.random((1, 30_000)), RNG.random((2, 30_000))
    expected = [[kendalltau(a[0], row).statistic for row in b]]  # tau-b is tau-a without ties
    np.testing.assert_allclose(tau_a(a, b), expected, atol=1e-12)


@pytest.mark.parametrize('method', METHODS)
def test_constant_rdms_have_no_similarity(method):
    a = np.stack([RNG.random(10), np.zeros(10)])
    with pytest.warns(UserWarning, match=r'\[1\] of a are constant'):
        got = compare_rdms(a, RNG.random(10), method)
    assert np.isfinite(got[0, 0]) and np.isnan(got[1, 0])
    with pytest.warns(UserWarning, match='all RDMs'):
        assert np.isnan(compare_rdms(np.zeros(10), RNG.random(10), method)).all()


@pytest.mark.parametrize('method', ['pearson', 'spearman'])
def test_nearly_constant_rdms_keep_their_digits(method):
    a, b = RNG.random((1, 300)), RNG.random((1, 300))
    np.testing.assert_allclose(
        compare_rdms(1e5 + 1e-3 * a, b, method), compare_rdms(a, b, method), atol=1e-5
    )


@pytest.mark.parametrize('method', ['pearson', 'cosine'])
@pytest.mark.parametrize('scale', [1e-300, 1e-160, 1e160, 1e300])
def test_huge_and_tiny_values_have_squares_too(method, scale):
    a, b = RNG.random((2, 45)), RNG.random((3, 45))
    np.testing.assert_allclose(
        compare_rdms(a * scale, b, method), compare_rdms(a, b, method), atol=1e-12
    )


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('method', METHODS)
def test_infinite_entries_are_named_without_other_warnings(method):
    b = RNG.random((2, 45))
    b[1, 7] = math.inf
    with pytest.raises(ValueError, match='b holds infinite entries, the first in RDM 1 at pair 7'):
        compare_rdms(RNG.random(45), b, method)


@pytest.mark.parametrize(
    'a,b,method,match',
    [
        (np.ones(3), np.ones(6), 'spearman', 'a has 3 stimuli, b 4'),
        (np.ones(3), np.ones(3), 'tau', "'tau' is unknown"),
        (np.ones(4), np.ones(3), 'pearson', 'a has shape'),
    ],
)
def test_bad_input_is_named(a, b, method, match):
    with pytest.raises(ValueError, match=match):
        compare_rdms(a, b, method)
