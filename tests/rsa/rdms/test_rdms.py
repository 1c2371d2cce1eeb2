import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import squareform

from mmclarity.rsa import as_condensed, to_square
from mmclarity.rsa.rdms.pairs import num_stimuli


@pytest.mark.parametrize('n', [2, 3, 92, 1000])
def test_number_of_stimuli(n):
    assert num_stimuli(n * (n - 1) // 2) == n


@pytest.mark.parametrize('pairs', [0, 2, 4, 4187, -1])
def test_numbers_that_are_no_number_of_pairs(pairs):
    with pytest.raises(ValueError, match='not a number of pairs'):
        num_stimuli(pairs)


@pytest.mark.parametrize(
    'convert', [np.asarray, torch.from_numpy, lambda a: torch.from_numpy(a).float()]
)
def test_all_layouts_give_squareforms_order(convert):
    rows = np.random.default_rng(0).random((2, 10))
    squares = np.stack([squareform(row) for row in rows])
    for given, expected in (
        (rows, rows),
        (rows[0], rows[:1]),
        (squares, rows),
        (squares[1], rows[1:]),
    ):
        got = as_condensed(convert(given))
        assert got.dtype == np.float64
        np.testing.assert_allclose(got, expected, atol=1e-7)
    np.testing.assert_array_equal(to_square(rows), squares)


@pytest.mark.parametrize('n', [3, 4, 5, 6])
def test_as_many_condensed_rdms_as_pairs_are_not_read_as_a_matrix(n):
    stack = np.random.default_rng(n).random((n * (n - 1) // 2, n * (n - 1) // 2)) + 0.1
    np.testing.assert_array_equal(as_condensed(stack), stack)
    square = squareform(stack[0])
    np.testing.assert_array_equal(as_condensed(square), stack[:1])
    with pytest.raises(ValueError, match='diagonal'):
        as_condensed(square + np.eye(n))
    with pytest.raises(ValueError, match='not symmetric'):
        as_condensed(square + np.eye(n, k=1))


def test_unknown_pairs_are_kept():
    square = squareform(np.arange(6.0))
    square[0, 1] = square[1, 0] = math.nan
    assert np.isnan(as_condensed(square)[0]).tolist() == [True] + [False] * 5


def changed(row, column, value):
    square = squareform(np.arange(1.0, 7))
    square[row, column] = value
    return square


@pytest.mark.parametrize(
    'rdm,error,match',
    [
        (changed(1, 1, 0.5), ValueError, 'area V1.*diagonal.*not zero'),
        (changed(0, 2, 9), ValueError, r'not symmetric: \[0, 2\] is 9, \[2, 0\] is 2'),
        (changed(0, 2, math.nan), ValueError, 'not symmetric'),
        (np.ones((4, 5)), ValueError, 'neither square nor condensed'),
        (np.ones((2, 4, 5)), ValueError, 'not square'),
        (np.ones(1), ValueError, 'fewer than 3'),
        (np.zeros((1, 2, 2)), ValueError, 'fewer than 3'),
        (np.array([]), ValueError, 'shape'),
        (np.float64(3), ValueError, 'shape'),
        (np.array([1, math.inf, 2]), ValueError, 'infinite.*pair 1'),
        (np.array(['a', 'b', 'c']), TypeError, 'real numbers'),
        (np.ones(3, complex), TypeError, 'real numbers'),
        (torch.ones(3, dtype=torch.bool), TypeError, 'real numbers'),
    ],
)
def test_what_is_no_rdm_is_refused(rdm, error, match):
    with pytest.raises(error, match=match):
        as_condensed(rdm, 'area V1')


def test_one_matrix_of_91_stimuli_is_not_91_rdms_of_14():
    # 91 = 14 * 13 / 2: the shape alone does not tell.
    rng = np.random.default_rng(0)
    square = to_square(rng.random(91 * 90 // 2))
    square = square.reshape(91, 91)
    noisy = square + 1e-9 * rng.random((91, 91))
    assert as_condensed(noisy).shape == (1, 91 * 90 // 2)
    assert as_condensed(rng.random((91, 91)) + 0.1).shape == (91, 91)


def test_float32_rows_have_ranks():
    from mmclarity.rsa.similarity.compare import rank_transform

    rows = np.random.default_rng(0).random((2, 45)).astype(np.float32)
    assert np.array_equal(rank_transform(rows), rank_transform(rows.astype(float)))
