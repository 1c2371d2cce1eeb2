"""Searchlights against nilearn's spheres, and one by one."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin

from mmclarity.rsa import compare_rdms, compute_rdm
from mmclarity.rsa.inference import searchlight_scores, spheres

RNG = np.random.default_rng(0)
AFFINE = np.diag([3.0, 3.0, 4.0, 1.0])
AFFINE[:3, 3] = -20, 5, 7


@pytest.fixture(scope='module')
def brain():
    mask = RNG.random((6, 5, 4)) < 0.8
    return mask, RNG.normal(size=(10, int(mask.sum())))


class OfPatterns(ClassifierMixin, BaseEstimator):
    """An estimator that keeps nothing: the score of a sphere is the likeness of its RDM."""

    def fit(self, patterns, labels):
        self.classes_ = labels
        return self


@pytest.mark.parametrize('radius', [4.5, 6.0])
def test_equal_to_nilearn(brain, radius):
    nibabel = pytest.importorskip('nibabel', reason='nibabel is not installed (make env)')
    decoding = pytest.importorskip('nilearn.decoding', reason='nilearn is not installed (make env)')
    mask, responses = brain
    model = compute_rdm(RNG.normal(size=(10, 30)))
    volume = np.zeros((*mask.shape, 10))
    volume[mask] = responses.T
    light = decoding.SearchLight(
        nibabel.Nifti1Image(mask.astype(np.uint8), AFFINE),
        radius=radius,
        estimator=OfPatterns(),
        scoring=lambda e, x, y: compare_rdms(model, compute_rdm(x))[0, 0] if x.shape[1] > 1 else 0,
        cv=[(np.arange(10), np.arange(10))],
    )
    light.fit(nibabel.Nifti1Image(volume, AFFINE), np.arange(10))
    places, around = spheres(mask, AFFINE, radius)
    found = searchlight_scores(model, responses, around)
    expected = light.scores_[tuple(places.T)]
    np.testing.assert_allclose(np.nan_to_num(found[0]), expected, atol=1e-6)


def test_a_patch_without_an_rdm_is_nan_and_ends_nothing(brain):
    _, responses = brain
    models = np.stack([compute_rdm(RNG.normal(size=(10, 30))) for _ in range(2)])
    responses = responses.copy()
    responses[:, 0] = np.nan
    responses[3, 5:8] = 1.0
    around = [np.array([0, 1, 2]), np.array([5, 6, 7]), np.array([4]), np.array([8, 9, 10])]
    with pytest.warns(UserWarning, match='1 of 4 spheres'):
        found = searchlight_scores(models, responses, around)
    assert np.isnan(found).tolist() == [[False, True, True, False]] * 2
    np.testing.assert_allclose(
        found[:, 0], compare_rdms(models, compute_rdm(responses[:, 1:3]))[:, 0]
    )


def test_wrong_inputs_are_named(brain):
    mask, responses = brain
    with pytest.raises(ValueError, match='0 voxels'):
        spheres(np.zeros((2, 2, 2)), np.eye(4))
    with pytest.raises(ValueError, match='radius'):
        spheres(mask, np.eye(4), 0)
    with pytest.raises(ValueError, match='10 stimuli|pairs'):
        searchlight_scores(np.ones(10), responses, [np.array([0, 1])])
    with pytest.raises(ValueError, match='repetitions'):
        searchlight_scores(np.ones(45), responses, [], metric='crossnobis')
