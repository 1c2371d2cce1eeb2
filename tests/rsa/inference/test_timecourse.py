"""Time-resolved RSA against loops, and its clusters against all relabellings written out."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import spearmanr, ttest_1samp

from mmclarity.rsa.inference import cluster_test, time_courses, time_rdms
from mmclarity.rsa.rdms.compute import compute_rdm


def test_rdms_and_courses():
    rng = np.random.default_rng(0)
    data, models = rng.random((3, 8, 6, 5)), rng.random((2, 28))
    rdms = np.stack([time_rdms(one) for one in data])
    assert rdms.shape == (3, 5, 28)
    np.testing.assert_array_equal(rdms[1, 2], compute_rdm(data[1, :, :, 2]))
    got = time_courses(models, rdms)
    assert got.shape == (2, 3, 5)
    for m, s, t in np.ndindex(got.shape):
        assert got[m, s, t] == pytest.approx(spearmanr(models[m], rdms[s, t]).statistic)


def masses(data, threshold, two_sided):
    """Sums of t over runs beyond the threshold, by scipy's t and a loop."""
    t, found, run = ttest_1samp(data, 0).statistic, [], []
    for side in (1, -1) if two_sided else (1,):
        for k, value in enumerate([*t, 0.0]):
            if side * value > threshold:
                run.append(k)
            elif run:
                found.append((run[0], run[-1] + 1, t[run].sum()))
                run = []
    return sorted(found)


@pytest.mark.parametrize('two_sided', [False, True])
def test_all_sign_flips_by_hand(two_sided):
    rng = np.random.default_rng(3)
    data = rng.standard_normal((7, 20))
    data[:, 4:9] += 1
    data[:, 14:17] -= 1.2
    got = cluster_test(data, threshold=1.5, two_sided=two_sided)
    greatest = [
        max((abs(m) for *_, m in masses(np.array(flip)[:, None] * data, 1.5, two_sided)), default=0)
        for flip in product([1, -1], repeat=7)
    ]
    expected = masses(data, 1.5, two_sided)
    assert len(got) == len(expected) > (1 if two_sided else 0)
    for cluster, (start, stop, mass) in zip(got, expected):
        assert (cluster.start, cluster.stop) == (start, stop)
        assert cluster.mass == pytest.approx(mass)
        assert cluster.p == pytest.approx(np.mean(np.array(greatest) >= abs(mass) - 1e-9))


def test_false_alarms_of_the_family_are_kept():
    """Smooth noise: one in twenty experiments has a cluster below .05."""
    rng, hits = np.random.default_rng(0), 0
    for seed in range(150):
        noise = rng.standard_normal((10, 40))
        smooth = (noise[:, 1:-1] + noise[:, 2:] + noise[:, :-2]) / 3
        found = cluster_test(smooth, 99, seed=seed)
        hits += any(cluster.p <= 0.05 for cluster in found)
    assert 0 < hits / 150 < 0.1


def test_a_response_is_found_and_nothing_is_not():
    rng = np.random.default_rng(0)
    data = rng.standard_normal((15, 50))
    data[:, 20:30] += 1.5
    found = [c for c in cluster_test(data, 500) if c.p < 0.05]
    assert len(found) == 1 and found[0].start in (19, 20) and found[0].stop in (30, 31)
    assert cluster_test(-np.abs(data)) == []
    with pytest.raises(ValueError, match='subjects'):
        cluster_test(data[:1])


def test_stimuli_without_an_answer_cost_their_pairs():
    rng = np.random.default_rng(0)
    data = rng.random((8, 6, 5))
    data[3, :, 2] = 1  # alike in all units
    data[4, :, 1] = np.nan  # not shown then
    data[:, 2, 4] = np.nan  # a unit is lost
    data[:6, :, 0] = 0
    with pytest.warns(UserWarning, match='at 3 of 5 times a stimulus has no response'):
        got = time_rdms(data)
    rows, columns = np.triu_indices(8, 1)
    for time, gone in ((1, 4), (2, 3)):
        lost = (rows == gone) | (columns == gone)
        assert np.isnan(got[time, lost]).all()
        kept = np.delete(data[:, :, time], gone, 0)
        np.testing.assert_allclose(got[time, ~lost], compute_rdm(kept))
    assert np.isnan(got[0]).all()  # two are left
    np.testing.assert_allclose(got[4], compute_rdm(np.delete(data[:, :, 4], 2, 1)))
    courses = time_courses(rng.random((2, 28)), got[None])
    assert np.isnan(courses[:, :, 0]).all() and np.isfinite(courses[:, :, 1:]).all()
    with pytest.warns(UserWarning, match='cosine is undefined'):
        zero = time_rdms(data, 'cosine')
    np.testing.assert_array_equal(np.isnan(zero[2]), False)  # alike, but not zero
    with pytest.warns(UserWarning, match='at 1 of 5 times'):  # zeros have distances
        assert np.isfinite(time_rdms(data, 'euclidean')[[0, 2, 3, 4]]).all()
    data[1, 1, 3] = np.nan
    with pytest.raises(ValueError, match='time 3: the response of unit 1 to stimulus 1'):
        time_rdms(data)
    with pytest.raises(ValueError, match='needs repetitions'):
        time_rdms(data, 'crossnobis')
    with pytest.raises(ValueError, match='2 stimuli'):
        time_rdms(rng.random((2, 6, 5)))


def test_a_time_that_a_subject_lacks_is_in_no_cluster():
    rng = np.random.default_rng(0)
    data = rng.normal(size=(9, 20))
    data[:, 5:15] += 3
    data[4, 9] = np.nan
    found = cluster_test(data, 500)
    assert [(c.start, c.stop) for c in found if c.p < 0.05] == [(5, 9), (10, 15)]
    assert cluster_test(np.full((5, 8), np.nan)) == []
    data[4, 9] = np.inf
    with pytest.raises(ValueError, match='finite'):
        cluster_test(data)
