"""Meta-analysis, positions, weighted models, variance: each against another implementation."""

import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr
from sklearn.linear_model import LinearRegression

from mmclarity.rsa import RDMs, RSASettings, analyse
from mmclarity.rsa.data.neural import NeuralArea
from mmclarity.rsa.inference import (
    combine,
    combine_results,
    cross_validate,
    dual_bootstrap,
    feature_rdms,
    fit_weights,
    folds,
    layer_profiles,
    order,
    partition_variance,
    searchlight_scores,
    time_courses,
)
from mmclarity.rsa.inference.profiles import positions
from mmclarity.rsa.rdms.compute import compute_rdm


@pytest.fixture
def exact_toolbox(monkeypatch):
    """rsatoolbox solves its systems to 1e-5 only."""
    from scipy.sparse.linalg import cg

    monkeypatch.setattr(
        'rsatoolbox.model.fitter.scipy.sparse.linalg.cg',
        lambda v, x, atol: cg(v, x, rtol=1e-13, atol=0),
    )


TOOLBOX = dict(pearson='corr', cosine='cosine', corr_cov='corr_cov', cosine_cov='cosine_cov')


class TestMeta:
    def test_by_hand(self):
        """DerSimonian and Laird's, Hartung and Knapp's formulas, one session after another."""
        r, se = np.array([0.2, 0.35, 0.1, 0.5]), np.array([0.05, 0.08, 0.1, 0.06])
        z, w = [0.5 * np.log((1 + x) / (1 - x)) for x in r], [1 / s**2 for s in se]
        fixed = sum(a * b for a, b in zip(w, z)) / sum(w)
        q = sum(a * (b - fixed) ** 2 for a, b in zip(w, z))
        tau2 = (q - 3) / (sum(w) - sum(a * a for a in w) / sum(w))
        v = [1 / (s**2 + tau2) for s in se]
        mean = sum(a * b for a, b in zip(v, z)) / sum(v)
        got = combine(r, se)
        assert got.tau2[0] == pytest.approx(tau2) and got.q[0] == pytest.approx(q)
        assert np.arctanh(got.mean[0]) == pytest.approx(mean)
        seen = sum(a * (b - mean) ** 2 for a, b in zip(v, z)) / 3
        error = np.sqrt(max(1, seen) / sum(v))
        limits = mean + np.array([-1, 1]) * 3.182446305284263 * error  # t of 3, .975
        np.testing.assert_allclose(np.arctanh(got.interval[0]), limits)
        assert got.i2[0] == pytest.approx((q - 3) / q) and got.weights.sum() == pytest.approx(1)

    def test_coverage(self):
        """The interval covers the mean of sessions that differ, where a fixed effect does not."""
        rng, hits = np.random.default_rng(0), {True: 0, False: 0}
        for _ in range(500):
            z = 0.3 + 0.15 * rng.standard_normal(12) + 0.05 * rng.standard_normal(12)
            for random in hits:
                low, high = combine(np.tanh(z), np.full(12, 0.05), random=random).interval[0]
                hits[random] += low < np.tanh(0.3) < high
        assert 0.9 < hits[True] / 500 < 0.98 and hits[False] / 500 < 0.6

    @pytest.mark.parametrize('sessions', [2, 3, 4])
    def test_few_sessions_that_differ(self, sessions):
        """Of a normal distribution, intervals held the truth in 80 to 86 of a hundred."""
        rng, hits, alarms = np.random.default_rng(0), 0, 0
        for _ in range(250):
            errors = rng.uniform(0.04, 0.12, sessions)
            z = 0.15 * rng.standard_normal(sessions) + errors * rng.standard_normal(sessions)
            low, high = combine(np.tanh(z + 0.3), errors).interval[0]
            hits += low < np.tanh(0.3) < high
            alarms += combine(np.tanh(z), errors).p[0] < 0.05
        assert hits / 250 > 0.94 and alarms / 250 < 0.06

    def test_alike_sessions_and_one(self):
        got = combine([0.3, 0.3], [0.1, 0.1])
        assert got.mean[0] == pytest.approx(0.3) and got.tau2[0] == got.i2[0] == 0
        one = combine([[0.3, 0.1]], [[0.1, 0.1]])
        np.testing.assert_allclose(one.mean, [0.3, 0.1])

    @pytest.mark.parametrize(
        'r,se', [([1.0], [0.1]), ([0.1], [0.0]), ([0.1], [0.1, 0.2]), ([], [])]
    )
    def test_refused(self, r, se):
        with pytest.raises(ValueError):
            combine(r, se)

    def test_results_of_sessions(self):
        rng, results = np.random.default_rng(0), []
        for size in (10, 12, 15):
            pairs = size * (size - 1) // 2
            truth = rng.random(pairs)
            layers = dict(a=truth + rng.random(pairs), b=rng.random(pairs))
            area = NeuralArea('V4', (truth + 0.3 * rng.random((1, pairs))), None, 'x')
            results.append(analyse(layers, [area], RSASettings(bootstraps=50)))
        got = combine_results(results, 'V4')
        scores = np.array([one.scores[:, 0] for one in results])
        assert (scores.min(0) < got.mean).all() and (got.mean < scores.max(0)).all()
        assert got.p[0] < 0.05
        with pytest.raises(ValueError, match='no area'):
            combine_results(results, 'IT')

    def test_errors_of_results_over_subjects_are_those_of_their_scores(self):
        """Intervals of few subjects are wider than their errors; errors count here."""
        rng = np.random.default_rng(0)
        settings = RSASettings(bootstraps=50, bootstrap_over='subjects')
        results, errors = [], []
        for _ in range(3):
            truth = rng.random(45)
            people = truth + 0.5 * rng.random((4, 45))
            layers = dict(a=truth + rng.random(45))
            results.append(analyse(layers, [NeuralArea('V4', people, None, 'x')], settings))
            each = np.array([spearmanr(layers['a'], one).statistic for one in people])
            errors.append(each.std(ddof=1) / 2 / (1 - each.mean() ** 2))
        scores = [one.scores[0, 0] for one in results]
        got, expected = combine_results(results, 'V4'), combine(scores, errors)
        np.testing.assert_allclose(got.interval, expected.interval)


class TestGroups:
    """Pairs of one group never count, and its stimuli are never apart."""

    groups = tuple(f'movie {i // 2}' for i in range(24))
    rows, columns = np.triu_indices(24, 1)
    within = rows // 2 == columns // 2

    def pair(self):
        """RDMs of layers and subjects, and the same with other dissimilarities within groups."""
        rng = np.random.default_rng(0)
        layers, people = rng.random((3, 276)), rng.random((4, 276))
        for factor in (1, 1e3):
            scale = np.where(self.within, factor, 1)
            yield layers * scale, RDMs(people * scale, groups=self.groups)

    @pytest.mark.parametrize('method', ['pearson', 'cosine', 'corr_cov'])
    def test_what_is_within_groups_does_not_matter(self, method):
        found = []
        for layers, people in self.pair():
            models = dict(all=layers, one=layers[:1])
            crossed = cross_validate(models, people, method, list(folds(24, 4, 2)))
            whole = cross_validate(
                models, people, method, list(folds(24, 4, 2, groups=people.groups))
            )
            dual = dual_bootstrap(models, people, method, num_samples=5, of_stimuli=2)
            found.append([crossed.scores, whole.scores, whole.ceilings, dual.scores])
            found[-1] += [dual.variances, fit_weights(layers, people, method)]
        for one, other in zip(*found):
            assert np.isfinite(one).any()
            np.testing.assert_allclose(one, other, atol=1e-9)

    def test_variance_of_the_other_pairs(self):
        first, second = (
            partition_variance(dict(a=layers[0], b=layers[1]), people)
            for layers, people in self.pair()
        )
        assert first.r2 == pytest.approx(second.r2)

    def test_groups_are_whole_in_each_part(self):
        sizes = 'aaab' * 3 + 'cdefgh'
        parts = list(folds(18, 2, 2, seed=3, groups=sizes))
        for train, test, *_ in parts:
            assert not {sizes[i] for i in train} & {sizes[i] for i in test}
            assert sorted([*train, *test]) == list(range(18))
        with pytest.raises(ValueError, match='8 groups of stimuli in 3 parts'):
            next(folds(18, 2, 3, groups=sizes))

    def test_time_courses_and_searchlights(self):
        rng = np.random.default_rng(0)
        layers, answers = RDMs(rng.random((2, 276)), groups=self.groups), rng.random((24, 5))
        rdm = compute_rdm(answers)
        expected = [spearmanr(one[~self.within], rdm[~self.within])[0] for one in layers.condensed]
        np.testing.assert_allclose(time_courses(layers, rdm[None, None])[:, 0, 0], expected)
        got = searchlight_scores(layers, answers, [np.arange(5)])
        np.testing.assert_allclose(got[:, 0], expected)


class TestProfiles:
    def test_positions(self):
        table = [[0, 1, 0], [1, 0, 1], [0.0, 0, 3], [2, 2, 2], [np.nan, 1, 2]]
        np.testing.assert_allclose(positions(np.array(table)), [0.5, 0.5, 1, 0.5, np.nan])
        got = positions(np.array([[0, 1, 3.0], [2, 2, 2]]), 'centroid')
        np.testing.assert_allclose(got, [(0.5 + 3) / 4, 0.5])

    def test_early_and_late(self):
        rng = np.random.default_rng(0)
        layers = {f'conv{i}': row for i, row in enumerate(rng.random((6, 190)))}
        stack = np.stack(list(layers.values()))
        early = stack[1] + 0.3 * rng.random((3, 190))
        late = stack[4] + 0.3 * rng.random((3, 190))
        found = layer_profiles(layers, dict(V1=early, IT=late), num_samples=100)
        assert (found['V1'].layer, found['IT'].layer) == ('conv1', 'conv4')
        assert found['V1'].position == 0.2 and found['V1'].interval == (0.2, 0.2)
        got = order(found['V1'], found['IT'])
        assert got.difference == pytest.approx(0.6) and got.p == pytest.approx(1 / 101)
        turned = order(found['IT'], found['V1'])
        assert turned.p == 1 and turned.p_two_sided == pytest.approx(2 / 101)

    def test_resamplings_are_paired(self):
        """An area and a copy of it never differ."""
        rng = np.random.default_rng(0)
        layers = {f'conv{i}': row for i, row in enumerate(rng.random((5, 45)))}
        area = rng.random((2, 45))
        found = layer_profiles(layers, dict(a=area, b=area.copy()), num_samples=50)
        np.testing.assert_array_equal(found['a'].samples, found['b'].samples)
        assert len(set(found['a'].samples)) > 1
        assert order(found['a'], found['b']).p == 1

    def test_p_is_even_where_there_is_no_order(self):
        rng, p = np.random.default_rng(0), []
        for seed in range(60):
            layers = {f'c{i}': row for i, row in enumerate(rng.random((5, 66)))}
            truth = sum(layers.values())
            areas = {name: truth + rng.random((2, 66)) for name in 'ab'}
            found = layer_profiles(layers, areas, num_samples=50, seed=seed)
            p.append(order(found['a'], found['b']).p)
        assert (np.array(p) <= 0.05).mean() < 0.15


def components(seed=0, stimuli=12, count=4, subjects=5):
    rng = np.random.default_rng(seed)
    rows = [compute_rdm(rng.random((stimuli, 6)), 'euclidean') for _ in range(count)]
    stack = np.stack(rows)
    truth = np.array([1.0, 0.2, 0, 0.5][:count]) @ stack
    return stack, truth + 0.05 * rng.random((subjects, stack.shape[1]))


class TestWeighted:
    @pytest.mark.parametrize('method', list(TOOLBOX))
    @pytest.mark.parametrize('positive', [False, True])
    @pytest.mark.parametrize('ridge', [0.0, 0.5])
    def test_weights_are_rsatoolboxs(self, method, positive, ridge, exact_toolbox):
        from rsatoolbox.model import ModelWeighted, fit_regress, fit_regress_nn
        from rsatoolbox.rdm import RDMs

        stack, subjects = components()
        fit = fit_regress_nn if positive else fit_regress
        model = ModelWeighted('m', RDMs(stack.copy()))
        expected = fit(model, RDMs(subjects.copy()), TOOLBOX[method], ridge_weight=ridge)
        got = fit_weights(stack, subjects, method, positive, ridge)
        np.testing.assert_allclose(got, expected, atol=1e-6)

    @pytest.mark.parametrize('method', ['pearson', 'cosine', 'corr_cov'])
    def test_cross_validation_is_rsatoolboxs(self, method, exact_toolbox):
        from rsatoolbox.inference import crossval
        from rsatoolbox.model import ModelFixed, ModelWeighted, fit_regress_nn
        from rsatoolbox.rdm import RDMs

        stack, subjects = components(stimuli=16)
        sets = list(folds(16, 5, 4, 2, seed=3))
        data = RDMs(subjects.copy(), rdm_descriptors=dict(index=list(range(5))))

        def part(people, stimuli):
            one = data.subset('index', list(people))
            return one.subset_pattern('index', list(stimuli)), list(stimuli)

        train = [part(people, stimuli) for stimuli, _, people, _ in sets]
        test = [part(people, stimuli) for _, stimuli, _, people in sets]
        models = [ModelWeighted('w', RDMs(stack.copy())), ModelFixed('f', RDMs(stack[:1].copy()))]
        expected = crossval(
            models,
            data,
            train,
            test,
            method=TOOLBOX[method],
            fitter=[fit_regress_nn, None],
            calc_noise_ceil=False,
        )
        got = cross_validate(dict(w=stack, f=stack[:1]), subjects, method, sets)
        np.testing.assert_allclose(got.scores.T, expected.evaluations[0], atol=1e-6)
        assert got.weights['w'].shape == (8, 4) and got.ceilings.shape == (8, 2)

    def test_folds_divide(self):
        sets = list(folds(17, 6, 5, 3))
        assert len(sets) == 15
        for train, test, mine, others in sets:
            assert sorted([*train, *test]) == list(range(17))
            assert sorted([*mine, *others]) == list(range(6))
        with pytest.raises(ValueError, match='3'):
            list(folds(10, 2, 5))

    def test_features_reweighted(self):
        """The RDM of all units is the sum of theirs; weights find the units that matter."""
        rng = np.random.default_rng(0)
        data = rng.random((20, 8))
        rows = feature_rdms(data)
        np.testing.assert_allclose(rows.mean(0), compute_rdm(data, 'euclidean'))
        brain = compute_rdm(data[:, :2], 'euclidean')[None]
        found = fit_weights(rows, brain, 'cosine')
        np.testing.assert_allclose(found, [0.5**0.5] * 2 + [0] * 6, atol=1e-8)


class TestVariance:
    @pytest.mark.parametrize('ranked', [False, True])
    def test_against_regressions(self, ranked):
        rng = np.random.default_rng(0)
        a, b, c = rng.random((3, 66))
        models, target = dict(a=a, b=a + b, c=c), (a + 2 * b + rng.random((3, 66)))
        got = partition_variance(models, target, ranked)
        y = target.mean(0)
        y, columns = (
            (rankdata(y), [rankdata(x) for x in models.values()])
            if ranked
            else (y, list(models.values()))
        )
        for key, value in got.r2.items():
            x = np.stack([columns['abc'.index(name)] for name in key], 1)
            assert value == pytest.approx(LinearRegression().fit(x, y).score(x, y), abs=1e-10)
        assert sum(got.parts.values()) == pytest.approx(got.total)
        assert got.unique('a') == pytest.approx(got.total - got.r2[('b', 'c')])
        # Two models: the common part is what both have on their own less what they have together.
        two = partition_variance(dict(a=a, b=a + b), target)
        common = two.r2[('a',)] + two.r2[('b',)] - two.r2[('a', 'b')]
        assert two.parts[('a', 'b')] == pytest.approx(common)
        # Every region of the Venn diagram is counted where a model has it.
        for name in 'abc':
            whole = sum(v for key, v in got.parts.items() if name in key)
            assert whole == pytest.approx(got.r2[(name,)])

    def test_refused(self):
        with pytest.raises(ValueError, match='constant'):
            partition_variance(dict(a=np.arange(6.0)), np.ones(6))
        with pytest.raises(ValueError, match='0 models'):
            partition_variance({}, np.ones(6))
