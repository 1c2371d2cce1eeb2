"""Encoding models against scikit-learn in full space, and what theory says of noise."""

import numpy as np
import pytest
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold, KFold

from mmclarity.rsa.inference import encoding_scores
from mmclarity.rsa.inference.encoding import unit_reliability


def data(stimuli=40, features=10, units=5, noise=0.5, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((stimuli, features)) + 3
    return x, x @ rng.standard_normal((features, units)) + noise * rng.standard_normal(
        (stimuli, units)
    )


@pytest.mark.parametrize('features', [10, 200])
@pytest.mark.parametrize('grouped', [False, True])
def test_against_scikit_learn(features, grouped):
    x, y = data(features=features)
    groups = np.arange(40) // 4 if grouped else None
    alphas = [0.1, 1, 10, 100]
    got = encoding_scores(x, y, 4, alphas, groups)
    splitter = GroupKFold(4) if grouped else KFold(4, shuffle=True, random_state=0)
    predicted, chosen = np.empty_like(y), []
    for train, test in splitter.split(x, groups=groups):
        model = RidgeCV(alphas, alpha_per_target=True).fit(x[train], y[train])
        predicted[test] = model.predict(x[test])
        chosen.append(model.alpha_)
    expected = [np.corrcoef(p, m)[0, 1] for p, m in zip(predicted.T, y.T)]
    np.testing.assert_allclose(got.scores, expected, atol=1e-6)
    np.testing.assert_array_equal(got.alphas, chosen)


def test_noise_is_corrected_for():
    """Half of the variance of the means is noise: r over the root of the reliability is whole."""
    x, clean = data(stimuli=400, features=5, units=30, noise=0)
    rng = np.random.default_rng(1)
    noisy = clean[:, :, None] + clean.std(0)[:, None] * 2 * rng.standard_normal((400, 30, 4))
    noisy[5, 3, 1] = np.nan
    got = encoding_scores(x, noisy)
    assert got.scores.mean() == pytest.approx(0.5**0.5, abs=0.02)
    assert got.reliability.mean() == pytest.approx(0.5, abs=0.03)
    assert got.mean == pytest.approx(1, abs=0.03)


def test_no_relation_has_no_score():
    rng = np.random.default_rng(0)
    got = encoding_scores(rng.random((60, 20)), rng.random((60, 40)))
    assert abs(got.mean) < 0.2
    with pytest.raises(ValueError, match='without trials'):
        got.corrected  # noqa: B018


def test_reliability_of_units_by_hand():
    rng = np.random.default_rng(0)
    trials = rng.random((30, 2, 2)) + rng.random((30, 2, 1))
    half = [np.corrcoef(trials[:, u, 0], trials[:, u, 1])[0, 1] for u in range(2)]
    # Two trials: halves are single trials, though which is first changes by stimulus.
    got = unit_reliability(trials, 200)
    np.testing.assert_allclose(got, [2 * r / (1 + r) for r in half], atol=0.1)


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match='same stimuli'):
        encoding_scores(np.ones((5, 2)), np.ones((4, 2)))
    with pytest.raises(ValueError, match='NaN'):
        encoding_scores(np.full((5, 2), np.nan), np.ones((5, 2)))
