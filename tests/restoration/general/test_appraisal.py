"""The appraisal of one image, against noise of known level, law and correlation."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from mmclarity.restoration.degradation.physics import detector_noise, line_filter
from mmclarity.restoration.general import appraise
from mmclarity.synthetic.phantom import PhantomSettings, make_phantom


@pytest.fixture(scope='module')
def clean():
    image = make_phantom(PhantomSettings(384, median_radius=10, texture=0.0), 3).image
    return (0.1 + 0.8 * image).astype(np.float32)


def noisy(clean, slope, intercept, lags=(), seed=0):
    shot = slope * clean
    return detector_noise(
        clean, shot + intercept, line_filter(lags), np.random.default_rng(seed), None
    )


@pytest.mark.parametrize('sigma', [0.02, 0.05, 0.12])
def test_white_noise_is_measured(clean, sigma):
    found = appraise(noisy(clean, 0, sigma**2))
    assert found.sigma * (found.high - found.low) == pytest.approx(sigma, rel=0.1)
    assert abs(found.correlation) < 0.05
    assert not found.warnings()
    assert 'independent' in found.describe()[0]


def test_shot_noise_and_its_smearing_are_told_apart(clean):
    found = appraise(noisy(clean, 0.02, 0.0, (0.5, 0.1)))
    assert found.slope / found.gain == pytest.approx(0.02, rel=0.2)
    assert found.correlation == pytest.approx(0.5, abs=0.06)
    assert 'shot noise' in found.describe()[0]
    assert 'scan line' in found.describe()[0]


def test_what_the_network_is_told_does_not_depend_on_the_scale_of_grey_levels(clean):
    image = np.clip(noisy(clean, 0.002, 0.0002), 0.01, 0.99)
    plain = appraise(image)
    for stretched, scale, black in (
        (image * 4095, 65535.0, 0.0),  # 12 bit data in 16 bits
        (image * 0.1 + 0.4, 1.0, 0.0),  # little contrast
        (image * 3000 - 1500, 3000.0, -1500.0),  # signed
    ):
        other = appraise(stretched, scale, black)
        assert other.sigma == pytest.approx(plain.sigma, rel=1e-2)
        # the law at the dark, middle and bright ends of the contrast
        for level in (0.05, 0.5, 0.95):
            variance = [np.dot(a.told()[:2], (level, 1)) for a in (plain, other)]
            assert variance[1] == pytest.approx(variance[0], rel=0.1)
    assert 'stretched' in appraise(image * 0.1 + 0.4).describe()[1]
    assert 'stretched' not in plain.describe()[1]


def test_gain_and_offset_bring_the_contrast_where_training_had_it(clean):
    found = appraise(clean * 0.2 + 0.3)
    assert found.gain * found.low + found.offset == pytest.approx(0.05)
    assert found.gain * found.high + found.offset == pytest.approx(0.95)


def test_strength_is_a_factor_on_the_deviation(clean):
    found = appraise(noisy(clean, 0.01, 0.001))
    assert found.told(2.0)[:2] == pytest.approx([4 * v for v in found.told()[:2]])
    assert found.told(2.0)[2] == found.told()[2]


def test_says_what_training_did_not_cover(clean):
    assert any('slower scan' in text for text in appraise(noisy(clean, 0, 0.5**2)).warnings())
    assert any('hardly any' in text for text in appraise(clean).warnings())
    smoothed = gaussian_filter(noisy(clean, 0, 0.2**2), 0.6)
    assert any('neighbouring lines' in text for text in appraise(smoothed).warnings())


def test_noise_without_a_picture_is_said_to_be_that(clean):
    for seed, lags in enumerate([(), (0.5, 0.1)]):
        found = appraise(noisy(np.full_like(clean, 0.5), 0, 0.05**2, lags, seed))
        assert found.is_noise_alone
        assert 'nothing is seen' in found.warnings()[0]
        # a picture as faint as its noise is one
        assert not appraise(noisy(0.5 + 0.1 * (clean - 0.5), 0, 0.05**2, lags, seed)).is_noise_alone


def test_few_counts_are_noise(clean):
    # nearly all grey levels are cut off at black: their noise was said to be none, or too much
    for counts in (0.3, 2.0, 4.0):
        image = np.random.default_rng(0).poisson(counts * clean) / 8
        found = appraise(np.minimum(image, 1))
        expected = np.sqrt(counts * clean.mean()) / 8
        assert found.sigma * (found.high - found.low) == pytest.approx(expected, rel=0.3)
        assert not any('hardly any' in line for line in found.warnings())


def test_single_pixels_far_off_are_named(clean):
    rng = np.random.default_rng(0)
    image = noisy(clean, 0, 0.01**2)
    image = np.where(rng.random(image.shape) < 0.04, rng.integers(2, size=image.shape), image)
    found = appraise(np.rint(255 * image.clip(0, 1)).astype(np.uint8), 255)
    assert found.spikes == pytest.approx(0.04, rel=0.3)
    # the network is told of the noise of the others
    assert found.sigma * (found.high - found.low) < 0.03
    assert any('Despeckle' in line for line in found.warnings())
    assert not any('hardly any' in line for line in found.warnings())


def test_flicker_of_lines_is_no_smoothing(clean):
    flicker = 0.06 * np.random.default_rng(1).standard_normal((len(clean), 1))
    said = ' '.join(appraise(noisy(clean, 0, 0.04**2) + flicker).warnings())
    assert 'flickers' in said and 'enlarged' not in said
    assert 'flickers' not in ' '.join(appraise(noisy(clean, 0, 0.1**2, (0.7, 0.4, 0.2))).warnings())


@pytest.mark.parametrize('shape', [(1, 1), (2, 40), (5, 5), (31, 31), (40, 33)])
def test_small_and_even_images_are_no_error(shape):
    assert appraise(np.zeros(shape)).warnings()[0].startswith('the picture has no contrast')
    found = appraise(np.random.default_rng(0).uniform(0, 1, shape))
    assert ('too small' in ' '.join(found.warnings())) == (shape[0] == 2)
    assert np.isfinite(found.told()).all()
    assert found.intercept >= 0


def test_a_drawing_has_no_noise_and_no_warning_of_arithmetic():
    import warnings

    image = np.full((96, 96), 0.2)
    image[:, 48:] = 0.8
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        found = appraise(image)
    assert found.sigma == 0 and found.correlation == 0
