"""Edges become narrower as by a blur taken off; nothing gets brighter or darker."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import maximum_filter, minimum_filter
from scipy.special import erf

from mmclarity.restoration.evaluation import count_fabrications, edge_width, find_edges
from mmclarity.restoration.ops import narrow_edges
from mmclarity.restoration.ops.edges import REACH
from mmclarity.synthetic.phantom import PhantomSettings, make_phantom


def narrowed(image: np.ndarray, variance: float, faint: float = 0.0) -> np.ndarray:
    batch = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))[None, None]
    return narrow_edges(batch, variance, faint)[0, 0].numpy()


def straight_edge(deviation: float, angle: float = 0.0, contrast: float = 0.5) -> np.ndarray:
    y, x = np.mgrid[:64, :64] - 31.5
    across = np.cos(angle) * x + np.sin(angle) * y
    return 0.2 + contrast * (0.5 + 0.5 * erf(across / (np.sqrt(2) * deviation)))


def deviation_of(edge: np.ndarray) -> float:
    """Of the Gaussian that is the slope along the middle row, where the edge is upright."""
    slope = np.gradient(edge[32])
    x = np.arange(64)
    middle = (slope * x).sum() / slope.sum()
    return float(np.sqrt((slope * (x - middle) ** 2).sum() / slope.sum()))


@pytest.mark.parametrize('deviation', [1.3, 2.0, 3.0])
@pytest.mark.parametrize('contrast', [0.1, 0.7])
def test_an_edge_gets_narrower_whatever_its_contrast_and_stays_where_it_is(deviation, contrast):
    edge = straight_edge(deviation, contrast=contrast)
    steep = narrowed(edge, 1.0)
    before, after = deviation_of(edge), deviation_of(steep)
    # the closed form, for slopes smoothed by Gaussians of 1 and 0.7 pixels
    expected = before / (1 + 1.0 / (before**2 + 1.49))
    assert after == pytest.approx(expected, rel=0.12)
    np.testing.assert_allclose(steep[:, ::-1] - 0.2, 0.2 + contrast - steep, atol=1e-4)


@pytest.mark.parametrize('angle', [0.3, 0.8, np.pi / 2, 2.5])
def test_all_directions_are_alike(angle):
    upright, slanting = (narrowed(straight_edge(2.0, a), 1.0) for a in (0.0, angle))
    y, x = np.mgrid[:64, :64] - 31.5
    across = np.cos(angle) * x + np.sin(angle) * y
    inner = np.hypot(x, y) < 20
    expected = np.interp(across[inner], np.arange(64) - 31.5, upright[32])
    assert np.abs(slanting[inner] - expected).max() < 0.02


def test_no_pixel_leaves_the_range_of_its_neighbours():
    image = np.random.default_rng(0).random((40, 50)).astype(np.float32)
    moved = narrowed(image, 3.0)
    assert np.abs(moved - image).max() > 0.1
    assert (moved <= maximum_filter(image, 3)).all() and (moved >= minimum_filter(image, 3)).all()


def test_faint_slopes_are_left_alone():
    faint = straight_edge(2.0, contrast=0.02)
    clear = straight_edge(2.0, contrast=0.5)
    assert np.abs(narrowed(faint, 1.0, 0.04) - faint).max() < 1e-4
    np.testing.assert_allclose(narrowed(clear, 1.0, 0.01), narrowed(clear, 1.0), atol=2e-3)


def test_particles_get_edges_and_no_new_ones():
    clean = make_phantom(PhantomSettings(size=192), seed=3).image
    steep = narrowed(clean, 0.8, 0.02)
    edges = find_edges(clean)
    assert edge_width(steep, edges)[0] < edges.width - 0.2
    counts = count_fabrications(steep, clean)
    assert [(one['fabricated'], one['missed']) for one in counts] == [(0, 0)] * len(counts)


def test_a_pixel_reaches_as_far_as_said_and_no_farther():
    image = np.random.default_rng(1).random((80, 80)).astype(np.float32)
    other = image.copy()
    other[40, 40] += 0.5
    changed = np.argwhere(narrowed(image, 1.0, 0.1) != narrowed(other, 1.0, 0.1))
    assert np.abs(changed - 40).max() <= REACH


@pytest.mark.parametrize('shape', [(1, 1), (1, 7), (5, 2)])
def test_small_images_and_even_ones(shape):
    image = np.random.default_rng(2).random(shape).astype(np.float32)
    assert narrowed(image, 1.0).shape == shape
    even = np.full(shape, 0.3, np.float32)
    np.testing.assert_allclose(narrowed(even, 1.0), even, atol=1e-6)
    np.testing.assert_array_equal(narrowed(image, 0.0), image)


@pytest.mark.parametrize('variance, faint', [(-1, 0), (float('nan'), 0), (1, -0.1), (1, np.inf)])
def test_wrong_numbers_are_refused(variance, faint):
    with pytest.raises(ValueError, match='variance and faint'):
        narrow_edges(torch.zeros(1, 1, 4, 4), variance, faint)
