"""Pairs, stimuli and subjects that were not measured: everything against loops over what was."""

import math

import numpy as np
import pytest
from scipy.stats import pearsonr, rankdata, spearmanr

from mmclarity.rsa import (
    NeuralArea,
    RDMs,
    RSASettings,
    analyse,
    bootstrap,
    compare_rdms,
    noise_ceiling,
    permutation_test,
)
from mmclarity.rsa.inference import layer_profiles
from mmclarity.rsa.rdms.pairs import to_square
from mmclarity.rsa.similarity.compare import METHODS

STIMULI, PAIRS = 9, 36
UPPER = np.triu_indices(STIMULI, 1)
every_method = pytest.mark.parametrize('method', METHODS)
pytestmark = pytest.mark.filterwarnings('ignore:.* (pairs are NaN|noise ceiling is)')


def reference(a, b, method):
    """One number of two vectors, over the pairs that both know."""
    known = ~(np.isnan(a) | np.isnan(b))
    a, b = a[known], b[known]
    if method == 'pearson':
        return pearsonr(a, b).statistic
    if method == 'spearman':
        return spearmanr(a, b).statistic
    if method == 'cosine':
        return a @ b / np.sqrt(a @ a * (b @ b))
    if method == 'rho-a':
        n = len(a)
        x, y = rankdata(a) - (n + 1) / 2, rankdata(b) - (n + 1) / 2
        return 12 * (x @ y) / (n**3 - n)
    sign = [np.sign(a[i] - a[j]) * np.sign(b[i] - b[j]) for i in range(len(a)) for j in range(i)]
    return np.mean(sign)


def pooled(subjects, method, pooling='rank', times=None):
    """The mean of what a pair is worth to those who know it."""
    rows = []
    for one in subjects:
        known = ~np.isnan(one)
        row, values = np.full(len(one), np.nan), one[known]
        if pooling == 'mean':
            row[known] = values
        elif method in ('spearman', 'kendall', 'rho-a'):
            row[known] = rankdata(values) * (len(one) + 1) / (len(values) + 1)
        elif method == 'pearson':
            row[known] = (values - values.mean()) / values.std()
        else:
            row[known] = values / np.sqrt((values**2).mean())
        rows.append(row)
    rows = np.repeat(rows, np.ones(len(rows), int) if times is None else times, axis=0)
    means = [np.mean(c[~np.isnan(c)]) if (~np.isnan(c)).any() else np.nan for c in rows.T]
    # Means that are equal but for rounding are tied.
    return np.round(means, 8) if pooling == 'rank' else np.array(means)


def gaps(tied=False, subjects=4, seed=0):
    """Models (the second lacks a pair) and subjects, of whom all but one lack something."""
    rng = np.random.default_rng(seed)
    truth = rng.random(PAIRS)
    models = truth + rng.random((3, PAIRS))
    people = truth + 0.5 * rng.random((subjects, PAIRS))
    if tied:
        models, people = np.round(4 * models), np.round(4 * people)
    models[1, 5] = people[0, 3] = np.nan
    people[1, (UPPER[0] == 4) | (UPPER[1] == 4)] = np.nan  # a stimulus it was not shown
    return models, people


@every_method
@pytest.mark.parametrize('tied', [False, True])
class TestAgainstLoops:
    def test_comparison(self, method, tied):
        models, subjects = gaps(tied)
        with pytest.warns(UserWarning, match='9 of 36 pairs are NaN in some RDM'):
            got = compare_rdms(models, subjects, method)
        expected = [[reference(a, b, method) for b in subjects] for a in models]
        np.testing.assert_allclose(got, expected, atol=1e-12)

    @pytest.mark.parametrize('pooling', ['rank', 'mean'])
    def test_ceiling(self, method, tied, pooling):
        subjects = gaps(tied)[1]
        got = noise_ceiling(subjects, method, pooling)
        upper = [reference(pooled(subjects, method, pooling), one, method) for one in subjects]
        lower = [
            reference(pooled(np.delete(subjects, i, 0), method, pooling), one, method)
            for i, one in enumerate(subjects)
        ]
        assert (got.lower, got.upper) == pytest.approx((np.mean(lower), np.mean(upper)))

    @pytest.mark.parametrize('over', ['stimuli', 'subjects', 'both'])
    def test_bootstrap(self, method, tied, over, monkeypatch):
        from mmclarity.rsa.inference import significance

        drawn, count = [], significance._counts
        monkeypatch.setattr(
            significance, '_counts', lambda *args: drawn.append(count(*args)) or drawn[-1]
        )
        models, subjects = gaps(tied)
        got = bootstrap(models, subjects, method, over, num_samples=4, seed=2)
        for k in range(4):
            times = drawn[0][k] if over != 'subjects' else np.ones(STIMULI)
            people = drawn[-1][k].astype(int) if over != 'stimuli' else np.ones(4, int)
            copies = (times[UPPER[0]] * times[UPPER[1]]).astype(int)
            mine, theirs = np.repeat(models, copies, 1), np.repeat(subjects, copies, 1)
            scores = np.array([[reference(a, b, method) for b in theirs] for a in mine])
            np.testing.assert_allclose(got.samples[k], scores @ people / people.sum(), atol=1e-10)
            here = np.flatnonzero(people)
            upper = [
                reference(pooled(theirs, method, times=people), theirs[i], method) for i in here
            ]
            lower = [
                reference(
                    pooled(theirs, method, times=people * (np.arange(4) != i)), theirs[i], method
                )
                for i in here
            ]
            np.testing.assert_allclose(
                got.ceilings[k], [np.mean(lower), np.mean(upper)], atol=1e-10
            )

    def test_permutations(self, method, tied):
        models, subjects = gaps(tied)
        got = permutation_test(models, subjects, method, num_permutations=9, seed=5)
        rng, square = np.random.default_rng(5), to_square(models)

        def score(rows):
            return np.array([np.mean([reference(a, b, method) for b in subjects]) for a in rows])

        observed, exceed = score(models), np.zeros(3)
        for _ in range(9):
            order = rng.permutation(STIMULI)
            exceed += score(square[:, order][:, :, order][:, UPPER[0], UPPER[1]]) >= (
                observed - 1e-12
            )
        np.testing.assert_allclose(got, (exceed + 1) / 10)


def test_one_pair_of_one_subject():
    """An input that ended in a message about shapes."""
    subjects = np.array([[1, 2, 3, 4, 5, 6.0], [2, 1, math.nan, 4, 5, 6], [1, 3, 2, 5, 4, 6]])
    got = noise_ceiling(subjects)
    upper = [reference(pooled(subjects, 'spearman'), one, 'spearman') for one in subjects]
    assert got.upper == pytest.approx(np.mean(upper)) and got.lower < got.upper


@every_method
def test_a_missing_subject_is_left_out(method):
    models, subjects = gaps()
    models = models[[0, 2]]
    absent = np.vstack([subjects, np.full(PAIRS, np.nan)])
    for function in (
        lambda s: bootstrap(models, s, method, num_samples=3).samples,
        lambda s: permutation_test(models, s, method, num_permutations=3),
        lambda s: (noise_ceiling(s, method).lower, noise_ceiling(s, method).upper),
    ):
        with pytest.warns(UserWarning, match=r'subject\(s\) \[4\] have fewer than 3 known pairs'):
            got = function(absent)
        np.testing.assert_array_equal(got, function(subjects))
    with pytest.raises(ValueError, match='no subject has 3 known pairs'):
        noise_ceiling(absent[4:])


@every_method
def test_an_empty_patch_of_a_searchlight_is_nan_there(method):
    rng = np.random.default_rng(0)
    patches, model = rng.random((5, PAIRS)), rng.random(PAIRS)
    patches[2] = np.nan
    patches[3, 2:] = np.nan
    with pytest.warns(UserWarning, match=r'RDM\(s\) \[2, 3\] of a are constant, or too few'):
        got = compare_rdms(patches, model, method)
    assert np.isnan(got[:, 0]).tolist() == [False, False, True, True, False]
    expected = [reference(patches[i], model, method) for i in (0, 1, 4)]
    np.testing.assert_allclose(got[[0, 1, 4], 0], expected)
    with pytest.warns(UserWarning, match='all RDMs of a'):
        assert np.isnan(compare_rdms(patches[2], model, method)).all()


class TestGroups:
    groups = list('aaabbbccc')
    between = np.array([x != y for i, x in enumerate('aaabbbccc') for y in 'aaabbbccc'[i + 1 :]])

    def stacks(self):
        models, subjects = gaps()
        return models[[0, 2]], subjects[2:]

    @every_method
    def test_pairs_of_one_group_never_count(self, method):
        models, subjects = self.stacks()
        spoilt = np.where(self.between, subjects, 1e6 * np.arange(PAIRS))
        for given in (subjects, spoilt):
            stack = RDMs(given, groups=self.groups)
            expected = [
                [reference(a[self.between], b[self.between], method) for b in subjects]
                for a in models
            ]
            np.testing.assert_allclose(compare_rdms(models, stack, method), expected, atol=1e-12)
            np.testing.assert_allclose(compare_rdms(stack, models, method).T, expected, atol=1e-12)
            got, plain = noise_ceiling(stack, method), noise_ceiling(subjects, method)
            half = [reference(*subjects[:, self.between], method)] * 2
            assert got.lower == pytest.approx(np.mean(half)) and got.lower != plain.lower
            results = bootstrap(models, stack, method, num_samples=20)
            assert np.isfinite(results.samples).any() and got.upper > got.lower
            np.testing.assert_allclose(results.observed, np.mean(expected, 1))
            p = permutation_test(models, stack, method, num_permutations=19)
            assert (p >= 1 / 20).all() and (p <= 1).all()

    @every_method
    def test_whole_groups_are_drawn(self, method, monkeypatch):
        from mmclarity.rsa.inference import significance

        drawn, count = [], significance._counts
        monkeypatch.setattr(
            significance, '_counts', lambda *args: drawn.append(count(*args)) or drawn[-1]
        )
        models, subjects = self.stacks()
        got = bootstrap(models, RDMs(subjects, groups=self.groups), method, num_samples=6)
        assert drawn[0].shape == (6, 3)
        for k in range(6):
            times = np.repeat(drawn[0][k], 3)
            copies = (times[UPPER[0]] * times[UPPER[1]] * self.between).astype(int)
            if (drawn[0][k] > 0).sum() < 2:
                assert np.isnan(got.samples[k]).all()
                continue
            mine, theirs = np.repeat(models, copies, 1), np.repeat(subjects, copies, 1)
            expected = [np.mean([reference(a, b, method) for b in theirs]) for a in mine]
            np.testing.assert_allclose(got.samples[k], expected, atol=1e-10)

    def test_relabelling_keeps_groups_together(self):
        from mmclarity.rsa.inference.significance import _relabelled

        groups, seen = np.array(list('aabbcccdd')), set()
        for seed in range(200):
            order = _relabelled(groups, np.random.default_rng(seed))
            assert sorted(order) == list(range(9))
            moved = groups[order]
            for group in 'abcd':
                assert len(set(moved[groups == group])) == 1
            assert (moved[4:7] == 'c').all()  # the only group of three
            seen.add(tuple(order))
        assert len(seen) > 100

    def test_p_is_even_where_only_groups_are_alike(self):
        """Frames of a movie resemble one another in models and brains: no sign of likeness."""
        rng = np.random.default_rng(0)
        names = np.repeat(np.arange(6), 3)
        rows, columns = np.triu_indices(18, 1)
        within = names[rows] == names[columns]
        base = to_square(rng.random((300, 15)))[:, names[rows], names[columns]]
        stacks = base + 0.1 * rng.random(base.shape) - 5 * within
        p = [
            permutation_test(a, RDMs(b, groups=names), num_permutations=39, seed=i)[0]
            for i, (a, b) in enumerate(zip(stacks[:150], stacks[150:]))
        ]
        assert np.mean(np.array(p) <= 0.05) < 0.1 and 0.4 < np.mean(p) < 0.6

    def test_too_few_pairs_of_two_groups(self):
        models, subjects = self.stacks()
        with pytest.raises(ValueError, match='0 of 36 pairs are of two groups'):
            compare_rdms(models, RDMs(subjects, groups=['a'] * 9))


def test_the_ceiling_of_bures_with_a_missing_pair_names_the_pair_as_the_cause():
    subjects = np.random.default_rng(0).random((3, 15)) + 1
    subjects[1, 4] = np.nan
    with pytest.warns(UserWarning, match='1 of 3 subjects lack pairs, and the Bures similarity'):
        assert np.isnan(noise_ceiling(subjects, 'bures').lower)


@pytest.mark.filterwarnings('default')
def test_an_analysis_says_each_thing_once_and_of_which_area():
    models, subjects = gaps(False)
    whole = np.random.default_rng(5).random((3, PAIRS))
    areas = [NeuralArea('V4', subjects, None, 'here'), NeuralArea('IT', whole, None, 'here')]
    settings = RSASettings(bootstraps=5, permutations=5)
    with pytest.warns(UserWarning) as caught:
        analyse({f'layer{i}': row for i, row in enumerate(models)}, areas, settings)
    said = [str(warning.message) for warning in caught]
    # one pair of a layer, one of a subject, and those of a stimulus: 9, of which V4 alone lacks 8
    assert (
        said.count(
            "area 'V4': 9 of 36 pairs are NaN in some RDM and left out wherever it is compared"
        )
        == 1
    )
    assert [line for line in said if 'pairs are NaN' in line and "'IT': 1 of 36" in line]
    assert sum('pairs are NaN' in line for line in said) == 2
    ceilings = [line for line in said if 'noise ceiling' in line]
    assert len(ceilings) == 1 and ceilings[0].startswith("area 'IT': the ")


@pytest.mark.filterwarnings('default')
def test_a_subject_that_tells_no_stimuli_apart_is_named():
    whole = np.random.default_rng(5).random((3, PAIRS))
    whole[1] = 0.5
    with pytest.warns(UserWarning) as caught:
        result = analyse({'layer': whole[0]}, [NeuralArea('IT', whole, None, 'here')])
    said = [str(warning.message) for warning in caught]
    assert np.isnan(result.scores).all()
    assert sum("area 'IT': all dissimilarities of subject(s) 1 (counted" in s for s in said) == 1
    assert not any('of b are constant' in line for line in said)


@pytest.mark.filterwarnings('error::RuntimeWarning', 'ignore:three stimuli')
def test_profiles_of_three_stimuli_have_no_limits():
    layers = {name: np.random.default_rng(i).random(3) for i, name in enumerate('abc')}
    (found,) = layer_profiles(layers, {'V1': layers['a']}, num_samples=5).values()
    assert found.layer == 'a' and np.isnan(found.interval).all()
