"""Non-local means where they are closer than the network, told without the truth."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.signal import lfilter

from mmclarity.restoration import Restorer
from mmclarity.restoration.general import closer
from mmclarity.restoration.general.appraisal import appraise
from mmclarity.restoration.general.closer import take_closer
from mmclarity.synthetic.phantom import PhantomSettings, make_phantom

SIZE, SIGMA = 256, 0.05


def boxes(seed=7):
    """Rectangles of even grey: edges of one pixel."""
    rng = np.random.default_rng(seed)
    image = np.full((SIZE, SIZE), 60, np.uint8)
    for _ in range(14):
        x, y = (int(v) for v in rng.integers(0, SIZE, 2))
        right, bottom = x + int(rng.integers(10, 90)), y + int(rng.integers(5, 60))
        cv2.rectangle(image, (x, y), (right, bottom), int(rng.integers(80, 230)), -1)
    return image / 255.0


def noise(kind, shape, seed=1):
    rng = np.random.default_rng(seed)
    if kind == 'heavy tails':
        return SIGMA * rng.standard_t(3, shape) / np.sqrt(3)
    white = rng.standard_normal((shape[0], shape[1] + 32))
    if kind == 'along the line':
        white = lfilter([np.sqrt(0.75)], [1, -0.5], white, axis=1)
    return SIGMA * white[:, 32:]


def eight_bits(image):
    return (255 * image.clip(0, 1)).round().astype(np.uint8)


def psnr(image, clean):
    return -10 * np.log10(np.mean(np.square(image - clean)))


@pytest.mark.parametrize('kind', ['white', 'along the line'])
def test_the_error_is_known_without_the_truth(kind):
    clean = boxes()
    noisy = (clean + noise(kind, clean.shape)).astype(np.float32)
    soft = gaussian_filter(clean, 1.5).astype(np.float32)
    like = appraise(noisy)
    like = replace(like, slope=0.0, intercept=(SIGMA * like.gain) ** 2)
    band = closer._Band(noisy, soft, like, 1.0, 0.0, 0, np.ones((4, 4), np.float32))
    true = band._mean(closer._power(soft - clean, band.variance()) / band.variance())
    # What is left out is nothing here, for this answer does not hang on the noise. Residuals count
    # up to a limit, so that where edges are a little less is seen.
    found = band.least_error()
    assert np.abs(found - true)[true < 0.3].max() < 0.25
    assert np.corrcoef(found.ravel(), true.ravel())[0, 1] > 0.95
    along = closer._along(noisy, like, 1.0, 0.0)
    means = closer._means(noisy, band.variance())
    theirs = band._mean(np.square(means - clean) / band.variance())
    whole = slice(0, SIZE // closer.STEP)
    assert band.error_of_means(whole, along, 1.0).mean() == pytest.approx(theirs.mean(), abs=0.06)


@pytest.mark.parametrize('kind', ['white', 'along the line', 'heavy tails'])
def test_sharp_edges_come_back_closer_to_the_truth(kind):
    clean = boxes()
    pixels = eight_bits(clean + noise(kind, clean.shape))
    noisy = (pixels / 255).astype(np.float32)
    soft = gaussian_filter(clean, 2).astype(np.float32)
    answer = soft.copy()
    share = take_closer(noisy, answer, appraise(noisy))
    assert 0.05 < share < 0.95
    assert psnr(answer, clean) > psnr(soft, clean) + (1 if kind == 'heavy tails' else 3)
    # the same of other levels, and of an image that lies on its side
    other = soft.copy()
    assert take_closer(noisy * 100 + 20, other, appraise(noisy), 100.0, 20.0) == pytest.approx(
        share, abs=1e-3
    )
    np.testing.assert_allclose(other, answer, atol=1e-3)


def test_the_shipped_network_yields_to_them(recwarn):
    clean = boxes(3)
    restorer = Restorer(dtype='float32')
    pixels = eight_bits(clean + noise('white', clean.shape))
    with pytest.warns(UserWarning, match='edges are sharper than all that the network was trained'):
        answer = restorer(pixels)
    told = Restorer(dtype='float32', strength=1.01)(pixels)  # more is to be taken away: it stays
    assert psnr(answer, clean) > psnr(told, clean) + 2


def test_it_stays_where_the_network_is_the_better():
    phantom = make_phantom(PhantomSettings(SIZE), 2).image.astype(np.float64)
    for kind in ('white', 'along the line', 'heavy tails'):
        noisy = (phantom + noise(kind, phantom.shape)).clip(0, 1).astype(np.float32)
        near = phantom.astype(np.float32)
        before = near.copy()
        assert take_closer(noisy, near, appraise(noisy)) == 0, kind
        np.testing.assert_array_equal(near, before)


def test_noise_that_is_stronger_than_measured_is_no_structure():
    """By half its variance, everywhere: what all places have."""
    phantom = make_phantom(PhantomSettings(SIZE), 2).image.astype(np.float64)
    like = appraise((phantom + noise('white', phantom.shape)).astype(np.float32))
    noisy = (phantom + 1.22 * noise('white', phantom.shape)).astype(np.float32)
    assert take_closer(noisy, phantom.astype(np.float32), like) == 0


def test_bands_do_not_show(monkeypatch):
    clean = boxes()
    noisy = (clean + noise('white', clean.shape)).astype(np.float32)
    soft = gaussian_filter(clean, 2).astype(np.float32)
    answers = []
    for rows in (256, 64):
        monkeypatch.setattr(closer, 'BAND', rows)
        answers.append(soft.copy())
        take_closer(noisy, answers[-1], appraise(noisy))
    gain = [psnr(answer, clean) - psnr(soft, clean) for answer in answers]
    assert gain[1] == pytest.approx(gain[0], rel=0.15)


def test_noise_of_few_electrons_and_noise_that_grows_are_no_structure():
    """Both are stronger in places than they are measured to be on the whole."""
    phantom = make_phantom(PhantomSettings(SIZE), 2).image.astype(np.float64)
    rng = np.random.default_rng(4)
    growing = phantom + rng.standard_normal(phantom.shape) * np.linspace(0.02, 0.12, SIZE)
    for noisy in (rng.poisson(16 * phantom) / 16, rng.poisson(60 * phantom) / 60, growing):
        noisy = noisy.clip(0, 1).astype(np.float32)
        assert take_closer(noisy, phantom.astype(np.float32), appraise(noisy)) == 0


@pytest.mark.parametrize('shape', [(20, 300), (300, 20), (1, 1)])
def test_small_images_stay_as_they_are(shape):
    noisy = np.random.default_rng(0).random(shape).astype(np.float32)
    restored = np.full(shape, 0.5, np.float32)
    assert take_closer(noisy, restored, appraise(noisy)) == 0
    assert (restored == 0.5).all()


def test_odd_sizes_pure_noise_and_scans_from_top_to_bottom():
    clean = boxes()[:251, :203]
    noisy = (clean + noise('along the line', clean.shape)).astype(np.float32)
    like = appraise(noisy)
    soft = gaussian_filter(clean, 2).astype(np.float32)
    lying, upright = soft.copy(), soft.T.copy()
    assert take_closer(noisy, lying, like) > 0
    take_closer(noisy.T.copy(), upright, replace(like, upright=True))
    assert np.array_equal(upright.T, lying)
    alone = (0.5 + noise('white', (SIZE, SIZE))).astype(np.float32)
    flat = np.full((SIZE, SIZE), 0.5, np.float32)
    assert take_closer(alone, flat, appraise(alone)) == 0
