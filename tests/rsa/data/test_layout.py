"""What is found out about arrays, and what is asked for."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from mmclarity.errors import DataError
from mmclarity.rsa import load_neural
from mmclarity.rsa.data.ids import natural_order
from mmclarity.rsa.data.layout import Layout

RNG = np.random.default_rng(0)
ROW = RNG.random(15)
SQUARE = squareform(ROW)
IDS = list('abcdef')


def test_columns_of_the_upper_triangle():
    """MATLAB's RDM(triu(true(n), 1)): [0,1], [0,2], [1,2], [0,3], ..."""
    vector = np.array([SQUARE[i, j] for j in range(6) for i in range(j)])
    np.testing.assert_array_equal(load_neural('IT', vector, order='columns').rdms[0], ROW)
    stack = load_neural('IT', np.stack([vector, vector]), kind='rdm', order='columns').rdms
    np.testing.assert_array_equal(stack, [ROW, ROW])
    # A square has no order to mistake.
    np.testing.assert_array_equal(load_neural('IT', SQUARE, order='columns').rdms[0], ROW)


def test_correlations_are_seen_to_be_similarities():
    responses = RNG.normal(size=(6, 9))
    with pytest.warns(UserWarning, match='ones on its diagonal.*--similarity'):
        got = load_neural('IT', np.corrcoef(responses)).rdms[0]
    np.testing.assert_allclose(got, pdist(responses, 'correlation'))


def test_similarities_are_asked_for_where_they_cannot_be_seen():
    covariance = np.cov(RNG.normal(size=(6, 9)))
    with pytest.raises(DataError, match='diagonal is not zero.*--similarity'):
        load_neural('IT', covariance)
    got = squareform(load_neural('IT', covariance, similarity=True).rdms[0])
    variance = np.diag(covariance)
    np.testing.assert_allclose(2 * got, variance[:, None] + variance - 2 * covariance, atol=1e-12)
    np.testing.assert_allclose(load_neural('IT', 1 - ROW, similarity=True).rdms[0], ROW)


def test_stimuli_in_last_place():
    responses = RNG.random((6, 9))
    expected = pdist(responses, 'correlation')
    for kwargs in (dict(ids=IDS), dict(count=6), dict(stimuli='last')):
        got = load_neural('IT', responses.T, **kwargs)
        np.testing.assert_allclose(got.rdms[0], expected)
    # As many units as stimuli: the first axis, unless said otherwise.
    square = RNG.random((6, 6))
    for kwargs, one in ((dict(ids=IDS), square), (dict(stimuli='last'), square.T)):
        got = load_neural('IT', square, **kwargs)
        np.testing.assert_allclose(got.rdms[0], pdist(one, 'correlation'))
    with pytest.raises(DataError, match='7 ids for 6 stimuli'):
        load_neural('IT', responses, ids=list('abcdefg'))


def test_spike_counts_with_repeats():
    counts = RNG.poisson(5, (6, 9, 4)).astype(float)
    counts[2, :, 3] = np.nan  # shown three times only
    expected = pdist(np.nanmean(counts, 2), 'correlation')
    for kwargs in (dict(ids=IDS), dict(count=6), dict(kind='repeats')):
        np.testing.assert_allclose(load_neural('V1', counts, **kwargs).rdms[0], expected)
    np.testing.assert_allclose(
        load_neural('V1', np.nan_to_num(counts), kind='time').rdms[0],
        pdist(np.nan_to_num(counts).mean(2), 'correlation'),
    )
    counts[2, 4] = np.nan
    with pytest.raises(DataError, match='unit 4 has no response at all to stimulus 2'):
        load_neural('V1', counts, kind='repeats')


def test_three_axes_are_told_apart_or_asked_for():
    values = np.random.default_rng(0).normal(size=(6, 9, 4))
    with pytest.raises(DataError, match=r'kind="repeats" \(--neural-kind\), or how many.*count='):
        load_neural('V1', values)
    repeats = load_neural('V1', values, kind='repeats').rdms
    assert repeats.shape == (1, 15)
    np.testing.assert_array_equal(load_neural('V1', values, count=6).rdms, repeats)
    assert load_neural('V1', values, count=9).rdms.shape == (6, 36)  # subjects first
    with pytest.raises(DataError, match=r'kind="responses" or kind="repeats" \(--neural-kind\)$'):
        load_neural('V1', np.concatenate([values, values], 0)[:9], count=9)
    # Shown less often than others: nothing but repeats ends in gaps.
    values[2, :, 3:] = np.nan
    padded = load_neural('V1', values).rdms
    np.testing.assert_array_equal(padded, load_neural('V1', values, kind='repeats').rdms)


def test_repeats_of_crossnobis_are_kept_apart():
    rsatoolbox = pytest.importorskip('rsatoolbox', reason='rsatoolbox is not installed')
    trials = RNG.normal(size=(6, 4, 5))
    got = load_neural('V1', trials, 'crossnobis', kind='repeats').rdms[0]
    expected = np.zeros(15)
    for left_out in range(5):
        others = np.delete(trials, left_out, 2)
        residuals = (others - others.mean(2, keepdims=True)).transpose(2, 0, 1).reshape(-1, 4)
        precision = rsatoolbox.data.noise.prec_from_residuals(
            residuals, dof=18, method='shrinkage_diag'
        )
        one, rest = trials[..., left_out], others.mean(2)
        for pair, (i, j) in enumerate(zip(*np.triu_indices(6, 1))):
            expected[pair] += (one[i] - one[j]) @ precision @ (rest[i] - rest[j]) / 5 / 4
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_repeats_that_crossnobis_cannot_use_are_told():
    trials = RNG.normal(size=(6, 4, 9))
    trials[2, :, 5:] = np.nan  # shown five times; four of all others' repeats are lost by that
    with pytest.warns(UserWarning, match='crossnobis takes the 5 of 9 repeats that all'):
        got = load_neural('V1', trials, 'crossnobis', kind='repeats').rdms
    expected = load_neural('V1', trials[..., :5], 'crossnobis', kind='repeats').rdms
    np.testing.assert_allclose(got, expected)


def test_a_cube_that_may_be_either_is_asked_about():
    with pytest.raises(DataError, match='for 6 stimuli.*--neural-kind'):
        load_neural('V1', RNG.random((6, 6, 4)), ids=IDS)
    assert len(load_neural('V1', RNG.random((6, 6, 4)), ids=IDS, kind='responses').rdms) == 6


@pytest.mark.parametrize('setting', [dict(kind='x'), dict(order='x'), dict(stimuli='x')])
def test_unknown_settings(setting):
    with pytest.raises(ValueError, match=f'{next(iter(setting))} must be one of'):
        Layout(**setting)


def test_natural_order():
    names = ['im10', 'im2', 'Im1', 'im1', 'b', '3', '20']
    assert natural_order(names) == ['3', '20', 'b', 'Im1', 'im1', 'im2', 'im10']
    with pytest.warns(UserWarning, match="'im2' at place 0.*alphabetical order has 'im10'"):
        natural_order(['im10', 'im2'], what='stimuli')


@pytest.mark.parametrize('repeats', [False, True])
def test_stimuli_that_were_not_shown_are_nan(repeats):
    responses = np.random.default_rng(0).normal(size=(7, 9))
    expected = squareform(pdist(responses[:, 1:], 'correlation'))
    expected[3], expected[:, 3] = np.nan, np.nan
    responses[3], responses[:, 0] = np.nan, np.nan
    values = np.stack([responses, responses], 2) if repeats else responses
    with pytest.warns(UserWarning, match='1 of 7 stimuli and 1 of 9 units have no response at all'):
        got = load_neural('V4', values, kind='repeats' if repeats else 'responses').rdms[0]
    np.testing.assert_allclose(got, expected[np.triu_indices(7, 1)], atol=1e-12)
    values[5, 4] = np.nan
    with pytest.raises(DataError, match='left out'):
        load_neural('V4', values, kind='repeats' if repeats else 'responses')


def test_rows_of_so_many_pairs_are_rdms():
    rows = np.random.default_rng(0).random((3, 15))
    rows[1] = np.nan  # a subject without recordings
    np.testing.assert_array_equal(load_neural('V4', rows, ids=list('abcdef')).rdms, rows)
