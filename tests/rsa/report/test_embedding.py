"""Scaling in the plane, on configurations whose solution is known."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from mmclarity.rsa.report.embedding import classical_mds, procrustes, smacof


def plane(count=12, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 2))


def stress(points, rdm):
    found = pdist(points)
    return np.sqrt(np.square(found - rdm).sum() / np.square(found).sum())


def test_points_of_a_plane_are_found_again():
    rdm = pdist(plane())
    np.testing.assert_allclose(pdist(classical_mds(squareform(rdm))), rdm, atol=1e-10)
    points, value = smacof(rdm)
    np.testing.assert_allclose(pdist(points), rdm, atol=1e-6)
    assert value < 1e-6


def test_majorisation_improves_on_torgerson():
    rdm = np.random.default_rng(3).random(190) + 0.5
    points, value = smacof(rdm)
    start = classical_mds(squareform(rdm))
    assert value == pytest.approx(stress(points, rdm), abs=1e-10)
    assert np.square(pdist(points) - rdm).sum() < 0.9 * np.square(pdist(start) - rdm).sum()


def test_scale_of_dissimilarities_does_not_matter():
    rdm = np.random.default_rng(3).random(45) + 0.1
    first, second = smacof(rdm), smacof(rdm * 1e6)
    assert first[1] == pytest.approx(second[1], rel=1e-6)
    np.testing.assert_allclose(first[0] * 1e6, second[0], rtol=1e-4, atol=1)


def test_missing_and_negative_dissimilarities():
    rdm = pdist(plane(20))
    rdm[[3, 50]], rdm[7] = np.nan, -0.1
    points, value = smacof(rdm)
    assert np.isfinite(points).all() and 0 <= value < 0.2


def test_nothing_to_arrange():
    with pytest.raises(ValueError, match='all dissimilarities are zero'):
        smacof(np.zeros(10))


def test_procrustes_undoes_a_turn_and_a_mirror():
    points = plane()
    turn = np.array([[0.6, -0.8], [0.8, 0.6]]) @ np.diag([1, -1])
    np.testing.assert_allclose(procrustes(points @ turn, points), points, atol=1e-12)
    other = procrustes(plane(seed=5), points)
    np.testing.assert_allclose(pdist(other), pdist(plane(seed=5)))
