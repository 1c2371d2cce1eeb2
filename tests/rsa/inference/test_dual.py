"""The dual bootstrap against rsatoolbox's correction and what must hold."""

import numpy as np
import pytest

from mmclarity.rsa import compute_rdm
from mmclarity.rsa.inference import cross_validate, dual_bootstrap, dual_variance

RNG = np.random.default_rng(0)


@pytest.mark.parametrize('numbers', [(None, None), (20, 5)])
def test_variance_equals_rsatoolbox(numbers):
    from rsatoolbox.util.inference_util import _dual_bootstrap

    stimuli, subjects = RNG.random((2, 50))
    both = (stimuli + subjects) * RNG.uniform(0.4, 2.2, 50)
    expected = _dual_bootstrap(np.stack([both, subjects, stimuli]), numbers[1], numbers[0])
    np.testing.assert_allclose(dual_variance(stimuli, subjects, both, *numbers), expected)


def data(subjects=6, stimuli=24, noise=0.6):
    parts = [RNG.normal(size=(stimuli, 12)) for _ in range(3)]
    rdms = np.stack([compute_rdm(part, 'euclidean') for part in parts])
    truth = rdms[0] + rdms[1]
    people = truth + noise * truth.std() * RNG.normal(size=(subjects, rdms.shape[1]))
    return rdms, people


def test_weights_beat_a_part_and_a_wrong_model_is_told_apart():
    rdms, people = data()
    models = dict(weighted=rdms, part=rdms[0], wrong=rdms[2])
    found = dual_bootstrap(models, people, 'pearson', num_samples=30, of_stimuli=3)
    assert found.scores.argmax() == 0 and found.scores[0] > 0.4
    gap, p = found.difference('weighted', 'wrong')
    assert gap > 0.3 and p < 0.02
    assert found.difference('part', 'part') == (0.0, 1.0)
    assert (found.interval[:, 0] < found.scores).all() and (found.standard_error > 0).all()
    one = cross_validate(models, people, 'pearson').mean
    # other parts of the stimuli
    assert (np.abs(found.scores - one) < 3 * found.standard_error).all()


def test_new_subjects_add_to_the_doubt_of_fixed_models():
    rdms, people = data(subjects=4, noise=3.0)
    found = dual_bootstrap(dict(a=rdms[0]), people, 'cosine', num_samples=60, of_stimuli=3)
    stimuli, subjects, _ = found.variances[:, 0]
    assert found.standard_error[0] ** 2 >= max(stimuli, subjects)


def test_few_subjects_are_judged_by_students_t():
    """As in rsatoolbox; by a normal distribution, 13 to 20 of a hundred differences were none."""
    from scipy.stats import t

    rdms, people = data(subjects=3, noise=3.0)
    found = dual_bootstrap(
        dict(a=rdms[0], b=rdms[2]), people, 'pearson', num_samples=40, of_stimuli=3
    )
    gap, p = found.difference('a', 'b')
    error = np.sqrt([1, -1] @ found.covariance @ [1, -1])
    assert p == pytest.approx(2 * t.sf(abs(gap) / error, 2))
    reach = t.ppf(0.975, 2) * found.standard_error
    expected = np.clip([found.scores - reach, found.scores + reach], -1, 1).T
    np.testing.assert_allclose(found.interval, expected)


def test_one_subject_is_refused():
    rdms, people = data()
    with pytest.raises(ValueError, match='two or more'):
        dual_bootstrap(dict(a=rdms[0]), people[:1])
    with pytest.raises(ValueError, match='parts'):
        dual_bootstrap(dict(a=rdms[0]), people, of_stimuli=20)
