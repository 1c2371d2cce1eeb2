"""RDMs against rsatoolbox and closed forms."""

import math
import os

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from mmclarity.rsa import RDMAccumulator, compare_rdms, compute_rdm
from mmclarity.rsa.rdms.noise import noise_covariance, noise_precision

RNG = np.random.default_rng(0)


def toolbox(responses, metric, **kwargs):
    from rsatoolbox.data import Dataset
    from rsatoolbox.rdm import calc_rdm

    if responses.ndim == 2:
        return calc_rdm(Dataset(responses.copy()), metric, **kwargs).dissimilarities[0]
    repetitions, stimuli, units = responses.shape
    data = Dataset(
        responses.reshape(-1, units).copy(),
        obs_descriptors=dict(
            stimulus=np.tile(np.arange(stimuli), repetitions),
            run=np.repeat(np.arange(repetitions), stimuli),
        ),
    )
    return calc_rdm(data, metric, descriptor='stimulus', **kwargs).dissimilarities[0]


@pytest.mark.parametrize('metric', ['correlation', 'euclidean'])
@pytest.mark.parametrize('shape', [(3, 2), (20, 57), (12, 300)])
def test_equal_to_rsatoolbox(metric, shape):
    responses = RNG.normal(3, 1, shape)
    np.testing.assert_allclose(
        compute_rdm(responses, metric), toolbox(responses, metric), atol=1e-10
    )


def test_cosine_equals_scipy():
    responses = RNG.normal(1, 1, (9, 40))
    np.testing.assert_allclose(
        compute_rdm(responses, 'cosine'), pdist(responses, 'cosine'), atol=1e-12
    )


@pytest.mark.parametrize('repetitions', [2, 5])
def test_mahalanobis_and_crossnobis_equal_rsatoolbox(repetitions):
    responses = RNG.normal(0, 1, (repetitions, 8, 6))
    precision = np.linalg.inv(np.cov(RNG.normal(size=(6, 40))))
    np.testing.assert_allclose(
        compute_rdm(responses, 'mahalanobis', precision=precision),
        toolbox(responses, 'mahalanobis', noise=precision),
        atol=1e-10,
    )
    np.testing.assert_allclose(
        compute_rdm(responses, 'crossnobis', precision=precision),
        toolbox(responses, 'crossnobis', noise=precision, cv_descriptor='run'),
        atol=1e-10,
    )


@pytest.mark.parametrize('shrinkage', ['diag', 'eye'])
@pytest.mark.parametrize('shape', [(4, 12, 9), (2, 5, 30)])
def test_noise_covariance_equals_rsatoolbox(shrinkage, shape):
    from rsatoolbox.data.noise import cov_from_residuals

    responses = RNG.normal(0, 1, shape) @ RNG.normal(size=(shape[2], shape[2]))
    residuals = (responses - responses.mean(0)).reshape(-1, shape[2])
    expected = cov_from_residuals(
        residuals, dof=shape[1] * (shape[0] - 1), method=f'shrinkage_{shrinkage}'
    )
    np.testing.assert_allclose(
        noise_covariance(responses, shrinkage), expected, rtol=1e-8, atol=1e-10
    )
    np.testing.assert_allclose(
        compute_rdm(responses, 'mahalanobis', shrinkage=shrinkage),
        compute_rdm(responses, 'mahalanobis', precision=noise_precision(responses, shrinkage)),
    )


@pytest.mark.parametrize('shape', [(3, 8, 10), (4, 12, 20)])
def test_crossnobis_of_equal_stimuli_is_zero_with_noise_estimated_from_the_data(shape):
    """Noise that units share; one covariance of all repetitions made it .2 to .5."""
    rng, units = np.random.default_rng(1), shape[2]
    root = np.linalg.cholesky(0.5 * np.eye(units) + 0.5)
    found = [compute_rdm(rng.normal(size=shape) @ root.T, 'crossnobis').mean() for _ in range(200)]
    assert abs(np.mean(found)) < 3 * np.std(found) / math.sqrt(200)


def test_crossnobis_by_hand():
    """Each repetition against the others, weighted by the noise of the others."""
    from rsatoolbox.data.noise import prec_from_residuals

    data, expected = RNG.normal(size=(4, 5, 6)), np.zeros(10)
    for left_out in range(4):
        others = np.delete(data, left_out, 0)
        residuals = (others - others.mean(0)).reshape(-1, 6)
        precision = prec_from_residuals(residuals, dof=10, method='shrinkage_diag')
        for pair, (i, j) in enumerate(zip(*np.triu_indices(5, 1))):
            one = data[left_out, i] - data[left_out, j]
            rest = others[:, i].mean(0) - others[:, j].mean(0)
            expected[pair] += one @ precision @ rest / 4 / 6
    np.testing.assert_allclose(compute_rdm(data, 'crossnobis'), expected, rtol=1e-6)


def test_crossnobis_whose_noise_cannot_be_estimated_apart():
    pair = RNG.normal(size=(2, 5, 6))
    with pytest.warns(UserWarning, match='2 repetitions.*too great by one amount.*precision'):
        got = compute_rdm(pair, 'crossnobis')
    np.testing.assert_allclose(
        got, compute_rdm(pair, 'crossnobis', precision=noise_precision(pair))
    )
    once = RNG.normal(size=(3, 5, 6))
    once[1:, :, 4] = 0  # fires in one repetition only
    with pytest.raises(ValueError, match='without repetition 0: unit 4 .*leave it out'):
        compute_rdm(once, 'crossnobis')


@pytest.mark.parametrize('metric', ['correlation', 'cosine', 'euclidean'])
def test_equal_dissimilarities_are_equal_in_ranks(metric):
    """Rounding made up to a third of equal pairs of a categorical RDM differ by 2e-16."""
    rng = np.random.default_rng(0)
    kinds = np.repeat(rng.normal(size=(4, 30)), 6, 0)
    found = compute_rdm(kinds, metric)
    rows, columns = np.triu_indices(24, 1)
    for kind in range(0, 24, 6):
        for other in range(0, kind + 1, 6):
            pairs = (rows // 6 == other // 6) & (columns // 6 == kind // 6)
            assert np.unique(found[pairs]).size == 1
            assert (found[pairs] == 0).all() == (kind == other)
    expected = pdist(kinds, 'sqeuclidean') / 30 if metric == 'euclidean' else pdist(kinds, metric)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_two_units_in_another_unit_of_measure_are_the_same():
    """Distances 0 and 2, each with rounding: the RDM resembled itself by .85."""
    pairs = np.random.default_rng(0).normal(size=(30, 2))
    one, other = compute_rdm(pairs), compute_rdm(3.3 * pairs + 0.7)
    assert set(one) == {0.0, 2.0} and not np.signbit(one).any()
    assert compare_rdms(one, other)[0, 0] == pytest.approx(1)


def test_small_distances_keep_their_digits():
    near = 1e6 + np.random.default_rng(0).normal(size=(6, 40))
    got, expected = compute_rdm(near, 'euclidean'), pdist(near, 'sqeuclidean') / 40
    np.testing.assert_allclose(got, expected, rtol=1e-9)


def test_masked_values_are_not_numbers():
    answers = np.ma.masked_greater(RNG.normal(size=(6, 10)), 1.5)
    with pytest.raises(ValueError, match='NaN'):
        compute_rdm(answers)
    rdm = np.ma.masked_array(RNG.random(15), [True] + 14 * [False])
    other = RNG.random(15)
    with pytest.warns(UserWarning, match='1 of 15 pairs'):
        got = compare_rdms(rdm, other)[0, 0]
    assert got == pytest.approx(spearmanr(rdm.data[1:], other[1:]).statistic)


@pytest.mark.parametrize('metric', ['correlation', 'cosine', 'euclidean'])
@pytest.mark.filterwarnings('ignore:overflow')
def test_bytes_in_the_wrong_order_are_no_rdm(metric):
    """They gave an RDM of NaN, which means that nothing was measured."""
    swapped = RNG.normal(size=(6, 40)).byteswap()
    swapped = np.where(np.isfinite(swapped), swapped, 1e200)
    with pytest.raises(ValueError, match='so large.*bytes.*wrong order'):
        compute_rdm(swapped, metric)


def test_crossnobis_is_unbiased():
    """Repetitions of pure noise: Mahalanobis is positive, crossnobis zero on average."""
    responses = RNG.normal(0, 1, (6, 40, 400))
    identity = np.eye(400)
    assert compute_rdm(responses, 'mahalanobis', precision=identity).mean() > 0.2
    # by the draw it deviates by 0.004
    assert abs(compute_rdm(responses, 'crossnobis', precision=identity).mean()) < 0.02


@pytest.mark.parametrize('metric', ['correlation', 'euclidean', 'cosine'])
def test_layouts_types_and_blocks_of_units_do_not_matter(metric, tmp_path):
    responses = RNG.normal(2, 1, (7, 3, 5, 4)).astype(np.float32)
    expected = compute_rdm(responses.astype(np.float64), metric)
    np.save(tmp_path / 'layer.npy', responses)
    for given in (
        responses.reshape(7, -1),
        torch.from_numpy(responses),
        list(responses),
        np.load(tmp_path / 'layer.npy', mmap_mode='r'),
        np.asfortranarray(responses),
    ):
        for block in (1, 7, 60, 8192):
            np.testing.assert_allclose(
                compute_rdm(given, metric, block_units=block), expected, atol=1e-12
            )
    np.testing.assert_allclose(
        compute_rdm((responses[i : i + 2] for i in range(0, 7, 2)), metric), expected, atol=1e-12
    )


def test_large_means_do_not_cost_digits():
    responses = RNG.normal(0, 1, (10, 50))
    for metric in ('correlation', 'euclidean'):
        np.testing.assert_allclose(
            compute_rdm(responses + 1e6, metric), compute_rdm(responses, metric), atol=1e-7
        )


@pytest.mark.parametrize('metric', ['correlation', 'euclidean', 'cosine'])
@pytest.mark.parametrize('max_bytes', [0, 1000, 1 << 30])
def test_accumulator_equals_all_at_once_and_leaves_no_file(metric, max_bytes, tmp_path):
    responses = RNG.normal(1, 1, (23, 90)).astype(np.float32)
    with RDMAccumulator(metric, spill_dir=str(tmp_path), max_bytes=max_bytes) as accumulator:
        for start, stop in ((0, 1), (1, 9), (9, 9), (9, 20), (20, 23)):
            accumulator.update(torch.from_numpy(responses[start:stop]))
        np.testing.assert_allclose(accumulator.result(), compute_rdm(responses, metric), atol=1e-12)
    assert not os.listdir(tmp_path)


def test_accumulator_keeps_no_reference_to_the_block():
    responses = RNG.normal(size=(5, 20)).astype(np.float32)
    block = responses.copy()
    accumulator = RDMAccumulator()
    accumulator.update(block)
    block[:] = 0
    np.testing.assert_allclose(accumulator.result(), compute_rdm(responses), atol=1e-12)


def ruined(value):
    responses = RNG.normal(size=(5, 8))
    responses[3] = value
    return responses


@pytest.mark.parametrize(
    'responses,kwargs,error,match',
    [
        (ruined(0.1), {}, ValueError, "'leaf' is constant"),
        (ruined(0), dict(metric='cosine'), ValueError, "'leaf' is zero"),
        (ruined(math.nan), {}, ValueError, "'leaf' holds NaN"),
        (ruined(math.inf), dict(metric='euclidean'), ValueError, "'leaf' holds NaN or infinite"),
        (np.ones((2, 8)), {}, ValueError, 'at least 3'),
        (np.ones(8), {}, ValueError, 'shape'),
        (np.ones((5, 0)), {}, ValueError, 'shape'),
        (np.ones((5, 8), bool), {}, TypeError, 'real numbers'),
        (torch.ones(5, 8, dtype=torch.complex64), {}, TypeError, 'real numbers'),
        (np.ones((5, 8)), dict(metric='manhattan'), ValueError, 'manhattan.*choose one of'),
        (np.ones((5, 8)), dict(metric='crossnobis'), ValueError, 'repeated measurements'),
        (np.ones((1, 5, 8)), dict(metric='crossnobis'), ValueError, '2 repetitions'),
        (np.ones((2, 5, 8)), dict(metric='mahalanobis'), ValueError, 'unit 0 responds the same'),
        (
            np.ones((2, 5, 8)),
            dict(metric='mahalanobis', precision=np.eye(7)),
            ValueError,
            r'\(8, 8\)',
        ),
        (np.ones((5, 8)), dict(precision=np.eye(8)), ValueError, 'precision is for'),
    ],
)
def test_bad_responses_are_named(responses, kwargs, error, match):
    with pytest.raises(error, match=match):
        compute_rdm(responses, names=['a', 'b', 'c', 'leaf', 'e'], **kwargs)


def test_blocks_of_different_units_and_repeated_metrics_are_refused():
    accumulator = RDMAccumulator()
    accumulator.update(np.ones((2, 5)))
    with pytest.raises(ValueError, match='6 units after blocks of 5'):
        accumulator.update(np.ones((2, 6)))
    with pytest.raises(ValueError, match='compute_rdm'):
        RDMAccumulator('crossnobis')


class TestWhatIsTakenForWhat:
    def test_lists_of_blocks_are_stimuli_one_after_another(self):
        x = np.random.default_rng(0).normal(size=(12, 10))
        expected = compute_rdm(x)
        for blocks in (
            [x[:5], x[5:9], x[9:]],
            tuple(torch.tensor(p) for p in (x[:7], x[7:])),
            list(x),
        ):
            assert compute_rdm(blocks) == pytest.approx(expected, abs=1e-12)
        assert compute_rdm(iter(x.reshape(3, 4, 10))) == pytest.approx(expected, abs=1e-5)
        # A list of equal items holds one stimulus each.
        assert compute_rdm(list(x.reshape(3, 4, 10))).shape == (3,)
        with pytest.raises(ValueError, match='one size'):
            compute_rdm([x[:7], x[7:, :9]])
        with pytest.raises(TypeError, match='array, a tensor or blocks'):
            compute_rdm(None)

    def test_bfloat16_blocks(self):
        x = torch.randn(6, 20, generator=torch.Generator().manual_seed(0)).bfloat16()
        with RDMAccumulator() as accumulator:
            accumulator.update(x)
            assert accumulator.result() == pytest.approx(compute_rdm(x.float()), abs=1e-6)
        with pytest.raises(ValueError, match='names for responses'):
            compute_rdm(x.float(), names=['a'])

    def test_a_closed_accumulator_says_so(self):
        accumulator = RDMAccumulator()
        accumulator.update(np.eye(4))
        accumulator.close()
        with pytest.raises(ValueError, match='closed'):
            accumulator.result()


@pytest.mark.parametrize(
    'shrinkage,theirs',
    [('diag', 'shrinkage_diag'), ('eye', 'shrinkage_eye'), ('full', 'full'), ('variance', 'diag')],
)
@pytest.mark.parametrize('dof', [None, 30])
def test_precision_from_residuals_is_rsatoolboxs(shrinkage, theirs, dof):
    from rsatoolbox.data.noise import prec_from_residuals

    from mmclarity.rsa.rdms import precision_from_residuals

    rng = np.random.default_rng(0)
    residuals = rng.standard_normal((40, 6)) @ rng.standard_normal((6, 6))
    residuals -= residuals.mean(0)
    expected = prec_from_residuals(residuals, dof=dof, method=theirs)
    got = precision_from_residuals(residuals, dof, shrinkage)
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    # And into crossnobis.
    data = rng.standard_normal((3, 5, 6))
    assert compute_rdm(data, 'crossnobis', precision=got).shape == (10,)
    with pytest.raises(ValueError, match='shrinkage must be'):
        precision_from_residuals(residuals, shrinkage='ridge')
