"""Ceilings, bootstrap and permutations against rsatoolbox and scipy."""

import math
import warnings

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from scipy.stats import false_discovery_control

from mmclarity.rsa import RDMs, bootstrap, compare_rdms, fdr, noise_ceiling, permutation_test
from mmclarity.rsa.rdms.pairs import to_square
from mmclarity.rsa.similarity.compare import METHODS
from tests.real_data import DATA, needs

TOOLBOX = dict(pearson='corr', spearman='spearman', kendall='tau-a', cosine='cosine')
TOOLBOX['rho-a'] = 'rho-a'
RSA92 = DATA / 'rsa_92/rdms.npz'
STIMULI, PAIRS = 12, 66
every_method = pytest.mark.parametrize('method', METHODS)


def stacks(subjects=5, models=3, tied=False, seed=0):
    rng = np.random.default_rng(seed)
    found = [rng.random((models, PAIRS)), rng.random((subjects, PAIRS))]
    return [np.round(5 * x) + 1 for x in found] if tied else found


class TestCeiling:
    @every_method
    @pytest.mark.parametrize('tied', [False, True])
    def test_equal_to_rsatoolbox(self, method, tied):
        from rsatoolbox.inference.noise_ceiling import boot_noise_ceiling
        from rsatoolbox.rdm import RDMs

        subjects = stacks(tied=tied)[1] + stacks(1, 1, seed=3)[0]
        lower, upper = boot_noise_ceiling(RDMs(subjects.copy()), TOOLBOX[method])
        got = noise_ceiling(subjects, method)
        assert (got.lower, got.upper) == pytest.approx((lower, upper), abs=1e-10)
        assert got.pooling == 'rank' and got.subjects == 5 and '5 subjects' in str(got)

    @needs('rsa_92/rdms.npz')
    def test_human_it(self):
        got = noise_ceiling(np.load(RSA92)['hIT_subj_sess'].mean(1))
        assert (got.lower, got.upper) == pytest.approx((0.3723, 0.6657), abs=5e-5)
        assert got.warning is None

    def test_raw_pooling_is_the_plain_mean(self):
        subjects = stacks()[1] + stacks(1, 1, seed=3)[0]
        got = noise_ceiling(subjects, 'pearson', pooling='mean')
        upper = np.mean([np.corrcoef(subjects.mean(0), s)[0, 1] for s in subjects])
        lower = np.mean(
            [
                np.corrcoef(np.delete(subjects, i, 0).mean(0), s)[0, 1]
                for i, s in enumerate(subjects)
            ]
        )
        assert (got.lower, got.upper) == pytest.approx((lower, upper))

    def test_one_subject_has_none(self):
        got = noise_ceiling(stacks(1)[1])
        assert got.lower is got.upper is None and 'N/A' in str(got)

    def test_unreliable_areas_are_reported(self):
        with pytest.warns(UserWarning, match='share next to nothing'):
            assert noise_ceiling(stacks(seed=4)[1]).warning
        rng = np.random.default_rng(0)
        subjects = rng.random((5, 4950)) + 0.2 * rng.random(4950)
        with pytest.warns(UserWarning, match='5 unrelated subjects would give 0.447'):
            noise_ceiling(subjects)

    def test_unknown_options(self):
        with pytest.raises(ValueError, match='pooling'):
            noise_ceiling(stacks()[1], pooling='median')
        with pytest.raises(ValueError, match='method'):
            noise_ceiling(stacks()[1], 'r')


def resampled(models, subjects, stimuli, people, method):
    """One resampling, written out by rsatoolbox: scores and ceiling."""
    from rsatoolbox.inference.noise_ceiling import boot_noise_ceiling
    from rsatoolbox.rdm import RDMs, compare

    data = RDMs(subjects, rdm_descriptors=dict(index=list(range(len(subjects)))))
    data = data.subsample('index', people).subsample_pattern('index', stimuli)
    scores = compare(RDMs(models).subsample_pattern('index', stimuli), data, TOOLBOX[method])
    ceiling = (math.nan, math.nan)
    if len(set(people)) > 1:
        ceiling = boot_noise_ceiling(data, TOOLBOX[method])
    return scores.mean(1), ceiling


class TestBootstrap:
    @every_method
    @pytest.mark.parametrize('over', ['stimuli', 'subjects', 'both'])
    @pytest.mark.parametrize('tied', [False, True])
    def test_each_resampling_equals_rsatoolbox(self, method, over, tied, monkeypatch):
        from mmclarity.rsa.inference import significance as inference

        drawn, count = [], inference._counts

        def remember(*args):
            drawn.append(count(*args).astype(int))
            return drawn[-1].astype(float)

        monkeypatch.setattr(inference, '_counts', remember)
        models, subjects = stacks(tied=tied)
        got = bootstrap(models, subjects, method, over, num_samples=5, seed=1)
        stimuli = drawn[0] if over != 'subjects' else np.ones((5, STIMULI), int)
        people = drawn[-1] if over != 'stimuli' else np.ones((5, 5), int)
        for k in range(5):
            scores, ceiling = resampled(
                models,
                subjects,
                np.repeat(np.arange(STIMULI), stimuli[k]),
                np.repeat(np.arange(5), people[k]),
                method,
            )
            np.testing.assert_allclose(got.samples[k], scores, atol=1e-10)
            np.testing.assert_allclose(got.ceilings[k], ceiling, atol=1e-10)
        np.testing.assert_allclose(got.observed, compare_rdms(models, subjects, method).mean(1))

    def test_draws_are_with_replacement_and_repeatable(self):
        models, subjects = stacks()
        first, same, other = (
            bootstrap(models, subjects, seed=seed, num_samples=40) for seed in (3, 3, 4)
        )
        np.testing.assert_array_equal(first.samples, same.samples)
        assert not np.array_equal(first.samples, other.samples)

    def test_chunks_do_not_matter(self, monkeypatch):
        from mmclarity.rsa.inference import resampling as inference

        expected = bootstrap(*stacks(), num_samples=10)
        monkeypatch.setattr(inference, 'CHUNK', 3)
        got = bootstrap(*stacks(), num_samples=10)
        np.testing.assert_allclose(got.samples, expected.samples)
        np.testing.assert_allclose(got.ceilings, expected.ceilings)

    def test_intervals_cover_a_known_similarity(self):
        """Two layers of one noise: the interval of the mean over many subjects narrows."""
        rng = np.random.default_rng(0)
        truth = rng.random(PAIRS)
        subjects = truth + 0.5 * rng.random((40, PAIRS))
        got = bootstrap(truth[None], subjects, over='subjects', num_samples=300)
        low, high = got.interval()[0]
        assert low < got.observed[0] < high and high - low < 0.1
        assert got.standard_error[0] == pytest.approx(
            compare_rdms(truth, subjects)[0].std() / math.sqrt(40), rel=0.15
        )

    def test_intervals_and_tests_over_few_subjects(self):
        """95 of a hundred: percentiles of draws held the truth in 72."""
        rng, covered, found = np.random.default_rng(0), [], []

        def people(number, models):
            return rng.normal(1, 0.7, (number, 2)) @ models + 0.5 * rng.normal(size=(number, PAIRS))

        for _ in range(150):
            models = rng.random((2, PAIRS))
            truth = compare_rdms(models, people(200, models)).mean(1)
            got = bootstrap(
                models, people(3, models), over='subjects', num_samples=200, ceiling=False
            )
            low, high = got.interval().T
            covered += [*((low <= truth) & (truth <= high))]
            low, high = got.paired_differences().interval[0, 1]
            found.append(low <= truth[0] - truth[1] <= high)
        assert 0.9 < np.mean(covered) < 0.99 and 0.9 < np.mean(found) < 0.99

    def test_differences_over_subjects_equal_a_paired_t_test(self):
        from scipy.stats import sem, ttest_rel

        models, subjects = stacks(4)
        models[0] = subjects.mean(0)
        models[2] = models[1]
        got = bootstrap(models, subjects, over='subjects', num_samples=5000)
        table, paired = compare_rdms(models, subjects), got.paired_differences(0.9)
        expected = ttest_rel(table[0], table[1])
        assert paired.p[0, 1] == paired.p[1, 0] == pytest.approx(expected.pvalue)
        np.testing.assert_allclose(
            paired.interval[0, 1], expected.confidence_interval(0.9), atol=1e-12
        )
        assert paired.p[1, 2] == 1 and paired.interval[1, 2].tolist() == [0, 0]
        np.testing.assert_allclose(got.standard_error, sem(table, axis=1))
        for over in ('subjects', 'both'):  # whatever the doubt, a correlation
            low, high = bootstrap(models, subjects[:2], over=over, num_samples=50).interval().T
            assert (low > -1).all() and (low < got.observed).all() and (high < 1).all()
        same = bootstrap(models, models[[0, 0]], over='subjects', num_samples=50)
        assert same.interval()[0].tolist() == [1, 1]
        assert same.paired_differences().p[0, 1] == pytest.approx(1 / 51)

    def test_new_stimuli_add_to_the_doubt_of_few_subjects(self):
        """Differences that are none, of three subjects: draws found them in 21 of a hundred."""
        alarms = []
        for seed in range(100):
            rng = np.random.default_rng(seed)
            parts = rng.normal(size=(2, STIMULI, 10))
            models = np.stack([pdist(part, 'correlation') for part in parts])
            subjects = [
                pdist(np.hstack(list(parts * rng.uniform(0, 2, (2, 1, 1)))), 'correlation')
                for _ in range(3)
            ]
            got = bootstrap(models, subjects, over='both', num_samples=100, ceiling=False)
            alarms.append(got.paired_differences().p[0, 1] < 0.05)
        assert np.mean(alarms) < 0.1

    def test_paired_differences(self):
        models, subjects = stacks(8)
        models[0] = subjects.mean(0)
        models[2] = models[1]
        found = bootstrap(models, subjects, num_samples=199).paired_differences()
        assert found.difference[0, 1] > 0 and found.interval[0, 1, 0] > 0
        np.testing.assert_allclose(found.difference, -found.difference.T)
        assert found.p[0, 1] == found.p[1, 0] == pytest.approx(2 / 200)
        assert found.p[1, 2] == 1 and found.difference[1, 2] == 0

    def test_too_few_different_stimuli_give_nan(self):
        rng = np.random.default_rng(0)
        got = bootstrap(rng.random((1, 6)), rng.random((4, 6)), num_samples=60)
        assert np.isnan(got.samples).any() and np.isfinite(got.samples).any()
        assert np.isfinite(got.interval()).all()

    def test_three_stimuli_have_no_interval(self):
        """Draws that count are all of the same three: intervals were of no width."""
        rng = np.random.default_rng(0)
        with pytest.warns(UserWarning, match='three stimuli.*no interval'):
            got = bootstrap(rng.random((2, 3)), rng.random((4, 3)), num_samples=60)
        assert np.isnan(got.interval()).all() and np.isnan(got.paired_differences().p).all()
        halves = RDMs(rng.random((2, 15)), groups=tuple('aaabbb'))
        with pytest.warns(UserWarning, match='two groups of stimuli.*no interval'):
            got = bootstrap(halves, rng.random((4, 15)), num_samples=60)
        assert np.isnan(got.interval()).all()

    def test_unknown_pairs_and_one_subject(self):
        models, subjects = stacks(1)
        models[0, 3] = math.nan
        with pytest.warns(UserWarning, match='1 of 66 pairs'):
            got = bootstrap(models, subjects, num_samples=5)
        assert np.isfinite(got.samples).all() and got.ceilings is None
        with pytest.raises(ValueError, match='one subject'):
            bootstrap(*stacks(1), over='both')

    @pytest.mark.parametrize(
        'kwargs,match',
        [
            (dict(over='layers'), 'over must be'),
            (dict(num_samples=0), 'num_samples'),
            (dict(method='r'), 'method'),
        ],
    )
    def test_bad_options(self, kwargs, match):
        with pytest.raises(ValueError, match=match):
            bootstrap(*stacks(), **kwargs)


class TestPermutations:
    @every_method
    def test_p_equals_shuffling_squares(self, method):
        models, subjects = stacks()
        models[0] = subjects.mean(0)
        got = permutation_test(models, subjects, method, num_permutations=30, seed=5)
        rng, square = np.random.default_rng(5), to_square(models)
        upper = np.triu_indices(STIMULI, 1)
        observed, exceed = compare_rdms(models, subjects, method).mean(1), np.zeros(3)
        for _ in range(30):
            order = rng.permutation(STIMULI)
            shuffled = square[:, order][:, :, order][:, upper[0], upper[1]]
            exceed += compare_rdms(shuffled, subjects, method).mean(1) >= observed - 1e-12
        np.testing.assert_allclose(got, (exceed + 1) / 31)
        assert got[0] == pytest.approx(1 / 31)

    def test_p_is_even_where_there_is_nothing(self):
        rng = np.random.default_rng(0)
        p = permutation_test(rng.random((200, PAIRS)), rng.random((3, PAIRS)), num_permutations=99)
        assert 0.4 < p.mean() < 0.6 and (p <= 0.05).mean() < 0.12

    def test_constant_models_have_none(self):
        models, subjects = stacks()
        models[1] = 2
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            p = permutation_test(models, subjects, num_permutations=9)
        assert np.isnan(p).tolist() == [False, True, False]

    def test_no_permutation_is_refused(self):
        with pytest.raises(ValueError, match='num_permutations'):
            permutation_test(*stacks(), num_permutations=0)


class TestFdr:
    @pytest.mark.parametrize('shape', [(1,), (7,), (4, 5)])
    def test_equal_to_scipy(self, shape):
        p = np.random.default_rng(0).random(shape) ** 3
        np.testing.assert_allclose(fdr(p), false_discovery_control(p, axis=None).reshape(shape))
        if len(shape) == 2:
            np.testing.assert_allclose(fdr(p, axis=1), false_discovery_control(p, axis=1))

    def test_nan_is_kept_and_not_counted(self):
        got = fdr([0.01, math.nan, 0.02])
        assert got[0] == pytest.approx(0.02) and np.isnan(got[1]) and got[2] == pytest.approx(0.02)

    def test_no_probability(self):
        with pytest.raises(ValueError, match='between 0 and 1'):
            fdr([0.1, 1.2])
