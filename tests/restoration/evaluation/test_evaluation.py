"""Honesty and sharpness against closed forms, brute force and real images."""

from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, gaussian_laplace
from skimage.metrics import structural_similarity

from mmclarity.restoration.evaluation import (
    DetectionSettings,
    FabricationMetric,
    FidelityMetric,
    SharpnessMetric,
    count_fabrications,
    detect_particles,
    edge_width,
    fidelity,
    find_edges,
    fourier_ring_correlation,
    frc_resolution,
    match_particles,
    sharpness,
)
from tests.real_data import DATA, needs

PAIRS = DATA / 'sem_pairs/high'
SPOTS = [(30, 40, 6, 0.5), (70, 90, 10, 0.4), (100, 30, 4, 0.3), (35, 110, 14, 0.6)]


def draw(spots=SPOTS, shape=(130, 140), blur=0.7):
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = np.full(shape, 0.1)
    for cy, cx, radius, contrast in spots:
        image = np.maximum(
            image, 0.1 + contrast * np.clip(radius + 0.5 - np.hypot(y - cy, x - cx), 0, 1)
        )
    return gaussian_filter(image, blur)


def test_finds_discs_where_they_are():
    found = detect_particles(draw(), DetectionSettings(most_radius=30))
    strong = found[found[:, 3] > 0.05]
    assert len(strong) == len(SPOTS)
    for y, x, radius, contrast in SPOTS:
        nearest = strong[np.argmin(np.hypot(strong[:, 0] - y, strong[:, 1] - x))]
        assert nearest[:2] == pytest.approx((y, x), abs=1)
        assert nearest[2] == pytest.approx(radius, rel=0.25)
        assert nearest[3] == pytest.approx(0.74 * contrast, rel=0.2)


def test_strength_is_the_normalised_laplacian():
    image = draw([(40, 40, 8, 0.5)], (80, 80))
    y, x, radius, strength = detect_particles(image)[0]
    sigma = radius / np.sqrt(2)
    expected = -(sigma**2) * gaussian_laplace(image, sigma)[int(y), int(x)]
    assert strength == pytest.approx(expected, rel=0.03)


def test_an_edge_is_no_row_of_particles():
    image = np.zeros((100, 100))
    image[:, 50:] = 0.5
    image[:, 48:52] += 0.3
    assert not len(detect_particles(gaussian_filter(image, 1)))


@pytest.mark.parametrize('image', [np.zeros((0, 5)), np.zeros((2, 2)), np.full((50, 60), 0.3)])
def test_nothing_to_find(image):
    assert detect_particles(image).shape == (0, 4)


@pytest.mark.parametrize('image', [np.zeros(5), np.full((20, 20), np.nan)])
def test_refuses_images(image):
    with pytest.raises(ValueError, match='finite'):
        detect_particles(image)


def test_matching_is_optimal_and_one_to_one():
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = (np.column_stack([rng.uniform(0, 12, (5, 2)), np.full(5, 4.0)]) for _ in range(2))
        pairs, alone, others = match_particles(a, b, tolerance=3.0)
        distance = np.hypot(*(a[:, None, :2] - b[None, :, :2]).transpose(2, 0, 1))
        best = max(
            (
                (distance[range(5), p] <= 3).sum(),
                -distance[range(5), p][distance[range(5), p] <= 3].sum(),
            )
            for p in permutations(range(5))
        )
        assert len(pairs) == best[0]
        assert distance[pairs[:, 0], pairs[:, 1]].sum() == pytest.approx(-best[1])
        assert len(pairs) + len(alone) == 5 == len(pairs) + len(others)
    assert len(match_particles(np.zeros((0, 4)), a)[2]) == 5
    # A particle of another size at the same place is another particle.
    assert not len(match_particles(np.array([[5, 5, 3.0]]), np.array([[5, 5, 9.0]]))[0])


def test_counts_what_was_added_and_taken_away():
    reference = draw()
    restored = draw([*SPOTS[1:], (110, 110, 6, 0.5), (60, 20, 4, 0.4)])
    for count in count_fabrications(restored, reference):
        assert (count['fabricated'], count['missed']) == (2, 1)
        assert (count['found'], count['present']) == (5, 4)
        assert count['precision'] == pytest.approx(3 / 5)
        assert count['recall'] == pytest.approx(3 / 4)
    assert count['sizes']['medium']['missed'] == 1


def test_two_sides_of_a_threshold_are_no_fabrication():
    weak, strong = draw([(40, 40, 8, 0.10)]), draw([(40, 40, 8, 0.12)])
    threshold = (detect_particles(weak)[0, 3] + detect_particles(strong)[0, 3]) / 2
    (count,) = count_fabrications(strong, weak, [threshold])
    assert (count['fabricated'], count['missed']) == (0, 0)


def test_exact_list_and_hidden_particles():
    exact = np.array(SPOTS)[:, :3]
    assert all(c['fabricated'] == c['missed'] == 0 for c in count_fabrications(draw(), exact))
    gone = count_fabrications(draw(SPOTS[:3]), exact)
    assert all(c['missed'] == 1 for c in gone)
    hidden = np.array([False, False, False, True])
    assert all(c['missed'] == 0 for c in count_fabrications(draw(SPOTS[:3]), exact, ignore=hidden))
    assert all(c['fabricated'] == 0 for c in count_fabrications(draw(), exact, ignore=hidden))


def test_counting_refuses():
    with pytest.raises(ValueError, match='reference must be'):
        count_fabrications(draw(), np.zeros((5, 7)))
    with pytest.raises(ValueError, match='positive'):
        count_fabrications(draw(), draw(), [0])


@pytest.mark.parametrize('sigma', [1.0, 1.5, 2.0])
def test_edge_width_is_that_of_a_gaussian_edge(sigma):
    y, x = np.mgrid[:160, :160]
    from scipy.special import erf

    disc = 0.3 - 0.25 * erf((np.hypot(y - 80.3, x - 79.6) - 30) / (np.sqrt(2) * sigma))
    edges = find_edges(disc, np.array([[80, 80, 30.0]]))
    width, count = edge_width(disc, edges)
    assert count == 1
    assert width == pytest.approx(2.563 * sigma, rel=0.05)


def test_blur_is_worse_and_noise_is_not_better():
    rng, reference = np.random.default_rng(0), draw(blur=1.0)
    edges = find_edges(reference)
    sharp = edge_width(reference, edges)[0]
    widths = [edge_width(gaussian_filter(reference, s), edges)[0] for s in (0.7, 1.4)]
    assert sharp < widths[0] < widths[1]
    noisy = [
        edge_width(reference + 0.05 * rng.standard_normal(reference.shape), edges)[0]
        for _ in range(5)
    ]
    assert np.mean(noisy) > 0.97 * sharp
    moved = edge_width(np.roll(reference, 2, 1), edges)[0]
    assert moved > 1.1 * sharp
    assert edge_width(np.full_like(reference, 0.4), edges)[0] == 10
    assert np.isnan(edge_width(reference, find_edges(np.full((50, 50), 0.4)))[0])


def test_ring_correlation_is_the_brute_force_sum():
    rng = np.random.default_rng(1)
    a = rng.standard_normal((32, 40))
    b = a + rng.standard_normal(a.shape)
    frequency, correlation = fourier_ring_correlation(a, b)
    window = np.outer(np.hanning(32), np.hanning(40))
    fa, fb = (np.fft.fft2((i - i.mean()) * window) for i in (a, b))
    index = np.rint(np.hypot(np.fft.fftfreq(32)[:, None], np.fft.fftfreq(40)) * 32).astype(int)
    for ring in (1, 5, 12, 15):
        m = index == ring
        expected = (fa[m] * fb[m].conj()).sum().real / np.sqrt(
            (abs(fa[m]) ** 2).sum() * (abs(fb[m]) ** 2).sum()
        )
        assert correlation[ring - 1] == pytest.approx(expected, abs=1e-9)
    assert frequency[-1] == 0.5


def test_resolution():
    rng, image = np.random.default_rng(2), draw()
    assert frc_resolution(image, image) == 2
    noisy = [
        frc_resolution(image + s * rng.standard_normal(image.shape), image) for s in (0.05, 0.2)
    ]
    assert 2 < noisy[0] < noisy[1]
    with pytest.raises(ValueError, match='one shape'):
        frc_resolution(image, image[1:])


def test_fidelity_is_that_of_scikit_image():
    rng, image = np.random.default_rng(3), draw()
    noisy = image + 0.1 * rng.standard_normal(image.shape)
    found = fidelity(noisy, image)
    assert found['psnr'] == pytest.approx(-10 * np.log10(np.mean((noisy - image) ** 2)))
    assert found['ssim'] == pytest.approx(
        structural_similarity(
            image,
            noisy,
            data_range=1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )
    assert fidelity(image, image)['psnr'] == np.inf
    with pytest.raises(ValueError, match='11 x 11'):
        fidelity(image[:5], image[:5])


def test_metrics_of_a_perfect_restoration():
    image = torch.tensor(draw()[None] * 255)
    sample = dict(output=dict(pred_img=image), gt_img=image)
    for metric, expected in (
        (FidelityMetric(), {'sem/ssim': 1.0}),
        (
            FabricationMetric(),
            {'sem/fabricated': 0.0, 'sem/missed': 0.0, 'sem/precision@0.05': 1.0},
        ),
        (SharpnessMetric(), {'sem/frc': 2.0}),
    ):
        metric.process(None, [sample, sample])
        out = metric.evaluate(2)
        assert {key: out[key] for key in expected} == pytest.approx(expected)


@needs('sem_pairs')
def test_a_real_image_against_itself_and_blurred():
    from mmclarity.restoration.io.micrograph import read_sem

    image = read_sem(PAIRS / '036.tif').unit
    assert all(c['fabricated'] == c['missed'] == 0 for c in count_fabrications(image, image))
    assert len(detect_particles(image, DetectionSettings(least_radius=4))) > 50
    edges = find_edges(image)
    blurred = sharpness(gaussian_filter(image, 1), image, edges)
    assert blurred['edges'] > 50
    assert blurred['edge_width'] > 1.15 * blurred['edge_width_reference']


def test_the_figure_counts_what_it_circles():
    from mmclarity.restoration.evaluation.report import _within

    particles = np.array([[10.0, 10, 3, 0.1], [40, 12, 3, 0.1], [10, 80, 3, 0.1], [63.5, 63, 3, 1]])
    window = (slice(0, 64), slice(0, 64))
    assert _within(particles, window).tolist() == particles[[0, 1, 3]].tolist()
    assert _within(particles[:0], window).shape == (0, 4)
