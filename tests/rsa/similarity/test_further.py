"""Whitened comparisons, tau-b, Bures, CKA and Procrustes against other implementations."""

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes
from scipy.spatial import procrustes
from scipy.stats import kendalltau, ortho_group

from mmclarity.rsa import RDMs, bootstrap, compare_rdms, compute_rdm, noise_ceiling
from mmclarity.rsa.inference.significance import permutation_test
from mmclarity.rsa.rdms.pairs import to_square
from mmclarity.rsa.similarity.compare import FURTHER_METHODS
from mmclarity.rsa.similarity.representations import cka, procrustes_similarity
from mmclarity.rsa.similarity.structured import whitened

RNG = np.random.default_rng(0)
every_method = pytest.mark.parametrize('method', FURTHER_METHODS)


def toolbox(a, b, method):
    from rsatoolbox.rdm import RDMs, compare

    return compare(RDMs(a.copy()), RDMs(b.copy()), method)


def stacks(stimuli=9, tied=False):
    points = RNG.standard_normal((5, stimuli, 4))
    rows = np.stack([compute_rdm(p, 'euclidean') for p in points])
    rows = np.round(3 * rows) + 1 if tied else rows
    return rows[:2], rows[2:] + 0.3 * rows[0]


@every_method
@pytest.mark.parametrize('tied', [False, True])
@pytest.mark.parametrize('stimuli', [4, 9, 30])
def test_equal_to_rsatoolbox(method, tied, stimuli):
    a, b = stacks(stimuli, tied)
    np.testing.assert_allclose(compare_rdms(a, b, method), toolbox(a, b, method), atol=1e-9)


@pytest.mark.parametrize('method', ['corr_cov', 'cosine_cov'])
def test_whitening_with_gaps(method):
    """V is inverted as it is defined: squared products of contrasts of the known pairs."""
    a, b = stacks()
    gaps = np.zeros(36, bool)
    gaps[[1, 2, 7, 20]] = True
    a, b = np.where(gaps, np.nan, a), np.where(gaps, np.nan, b)
    rows, columns = np.triu_indices(9, 1)
    contrasts = np.zeros((36, 9))
    contrasts[np.arange(36), rows], contrasts[np.arange(36), columns] = 1, -1
    covariance = np.square(contrasts @ contrasts.T)[~gaps][:, ~gaps]
    x, y = a[:, ~gaps], b[:, ~gaps]
    np.testing.assert_allclose(whitened(x, ~gaps), np.linalg.solve(covariance, x.T).T)
    if method == 'corr_cov':
        x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    inverse = np.linalg.inv(covariance)
    lengths = [np.sqrt(np.einsum('ij,jk,ik->i', z, inverse, z)) for z in (x, y)]
    expected = x @ inverse @ y.T / np.outer(*lengths)
    with pytest.warns(UserWarning, match='4 of 36 pairs'):
        np.testing.assert_allclose(compare_rdms(a, b, method), expected, atol=1e-12)


def test_tau_b_is_scipys():
    a, b = (RNG.integers(0, 5, (2, 45)).astype(float) for _ in range(2))
    expected = [[kendalltau(x, y).statistic for y in b] for x in a]
    np.testing.assert_allclose(compare_rdms(a, b, 'tau-b'), expected, atol=1e-12)


@every_method
def test_constant_and_missing(method):
    a, b = stacks()
    a[1] = 0 if method in ('bures', 'cosine_cov') else 2
    with pytest.warns(UserWarning, match=r'\[1\] of a are constant'):
        got = compare_rdms(a, b, method)
    assert np.isnan(got[1]).all() and np.isfinite(got[0]).all()


@every_method
def test_whole_analysis(method):
    """Every step takes it; bootstraps equal resamplings written out by rsatoolbox."""
    from rsatoolbox.rdm import RDMs as Theirs
    from rsatoolbox.rdm import compare

    models, subjects = stacks()
    got = bootstrap(models, subjects, method, 'both', num_samples=4, seed=3)
    rng = np.random.default_rng(3)
    for k, drawn in enumerate(rng.integers(0, 9, (4, 9))):
        if method == 'bures':
            continue  # theirs does not take what was drawn twice
        data = Theirs(subjects).subsample_pattern('index', drawn)
        table = compare(Theirs(models).subsample_pattern('index', drawn), data, method)
        weights = _people(seed=3)[k]
        np.testing.assert_allclose(got.samples[k], table @ weights / weights.sum(), atol=1e-6)
    assert np.isfinite(got.samples).all() and got.ceilings.shape == (4, 2)
    p = permutation_test(models, subjects, method, num_permutations=9)
    assert p.shape == (2,) and (p > 0).all()
    ceiling = noise_ceiling(subjects, method)
    if method != 'bures':
        from rsatoolbox.inference.noise_ceiling import boot_noise_ceiling

        expected = boot_noise_ceiling(Theirs(subjects.copy()), method)
        # Theirs shifts the pool of corr_cov, which no correlation sees.
        assert (ceiling.lower, ceiling.upper) == pytest.approx(expected, abs=1e-8)
    grouped = RDMs(subjects, groups=list('aaabbbccc'))
    if method == 'bures':
        with pytest.warns(UserWarning):
            assert np.isnan(compare_rdms(models, grouped, method)).all()
    else:
        between = np.where(grouped.counted, subjects, np.nan)
        with pytest.warns(UserWarning, match='9 of 36'):
            expected = compare_rdms(models, between, method)
        np.testing.assert_allclose(compare_rdms(models, grouped, method), expected)


def _people(seed):
    rng = np.random.default_rng(seed)
    rng.integers(0, 9, (4, 9))
    return np.array([np.bincount(row, minlength=3) for row in rng.integers(0, 3, (4, 3))])


class TestCka:
    def test_equal_to_the_whitened_cosine_of_rsatoolbox(self):
        """Linear CKA is the whitened cosine of squared Euclidean RDMs (Diedrichsen et al.)."""
        x, y = RNG.standard_normal((12, 7)), RNG.standard_normal((12, 30))
        rdms = [compute_rdm(z, 'euclidean')[None] for z in (x, y)]
        assert cka(x, y) == pytest.approx(toolbox(*rdms, 'cosine_cov')[0, 0], abs=1e-10)

    def test_debiased_is_the_u_statistic(self):
        """HSIC over all quadruples of different stimuli (Song et al. 2012, eq. 4)."""
        from itertools import permutations

        x, y = RNG.standard_normal((7, 3)), RNG.standard_normal((7, 4))

        def hsic(a, b):
            terms = [
                a[i, j] * (b[i, j] + b[q, r] - 2 * b[i, q])
                for i, j, q, r in permutations(range(7), 4)
            ]
            return np.mean(terms)

        a, b = x @ x.T, y @ y.T
        expected = hsic(a, b) / np.sqrt(hsic(a, a) * hsic(b, b))
        assert cka(x, y, debiased=True) == pytest.approx(expected, abs=1e-10)

    def test_debiased_does_not_rise_with_units(self):
        x = RNG.standard_normal((20, 5))
        noise = [RNG.standard_normal((20, 2000)) for _ in range(20)]
        assert np.mean([cka(x, y) for y in noise]) > 0.3
        assert abs(np.mean([cka(x, y, debiased=True) for y in noise])) < 0.1


@pytest.mark.parametrize('units', [(6, 6), (6, 3), (40, 25)])
def test_procrustes_is_scipys(units):
    x, y = (RNG.standard_normal((10, count)) for count in units)
    size = max(units)
    padded = [np.pad(z, ((0, 0), (0, size - z.shape[1]))) for z in (x, y)]
    disparity = procrustes(*padded)[2]
    assert procrustes_similarity(x, y) == pytest.approx(np.sqrt(1 - disparity), abs=1e-9)
    centred = [z - z.mean(0) for z in padded]
    scaled = [z / np.linalg.norm(z) for z in centred]
    assert procrustes_similarity(x, y) == pytest.approx(orthogonal_procrustes(*scaled)[1], abs=1e-9)
    rdms = [compute_rdm(z, 'euclidean')[None] for z in (x, y)]
    assert compare_rdms(*rdms, 'bures')[0, 0] == pytest.approx(
        procrustes_similarity(x, y), abs=1e-6
    )


@pytest.mark.parametrize('function', [cka, procrustes_similarity])
def test_what_does_not_change_them(function):
    x = RNG.standard_normal((15, 6))
    turned = 3 * x @ ortho_group.rvs(6, random_state=0) + 7
    assert function(x, turned.reshape(15, 2, 3)) == pytest.approx(1, abs=1e-9)
    assert np.isnan(function(x, np.full((15, 3), 0.1)))
    with pytest.raises(ValueError, match='15 stimuli, b 14'):
        function(x, x[1:])
    with pytest.raises(ValueError, match='NaN'):
        function(x, np.full((15, 2), np.nan))


def test_square_of_rows():
    assert to_square(stacks()[0]).shape == (2, 9, 9)
