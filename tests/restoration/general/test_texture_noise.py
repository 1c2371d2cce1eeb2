"""Noise among texture, against textures whose kurtosis and noise whose power are known."""

import cv2
import numpy as np
import pytest
from scipy.ndimage import convolve1d, gaussian_filter
from skimage import data

from mmclarity.restoration import Restorer
from mmclarity.restoration.evaluation import count_fabrications
from mmclarity.restoration.general import appraise, texture_noise
from mmclarity.restoration.general.content import KINDS, make_structure
from mmclarity.restoration.general.texture_noise import noise_among_texture
from mmclarity.synthetic.phantom import PhantomSettings, make_phantom

SIDE = 256


def white(seed):
    return np.random.default_rng(seed).standard_normal((SIDE, SIDE))


def mixture(strength, width=0.5):
    """Fine texture whose local variance is lognormal: of one kurtosis, whatever the filter."""
    patchy = gaussian_filter(white(100), 6)
    patchy /= patchy.std()
    grain = gaussian_filter(white(200), width)
    texture = grain * np.exp(strength * patchy)
    return texture / texture.std()


def smeared(noise, side):
    noise = convolve1d(noise, [side, 1, side], axis=1, mode='wrap')
    return noise / noise.std()


def one(level):
    return np.ones_like(level)


@pytest.mark.parametrize('sigma', [0.2, 0.4, 0.8])
@pytest.mark.parametrize('side', [0.0, 0.28, 0.5])
def test_noise_on_a_scale_mixture_is_found(sigma, side):
    image = mixture(0.8) + sigma * smeared(white(1), side)
    found = noise_among_texture(image, one)
    assert found.variance**0.5 == pytest.approx(sigma, rel=0.2, abs=0.08)
    if sigma > 0.3:
        assert found.correlation == pytest.approx(2 * side / (1 + 2 * side**2), abs=0.08)


def test_more_mixed_textures_have_more_kurtosis():
    found = [noise_among_texture(mixture(s) + 0.4 * white(1), one) for s in (0.4, 0.6, 0.8)]
    kurtosis = [texture.kurtosis for texture in found]
    assert kurtosis == sorted(kurtosis)
    assert kurtosis[-1] > 2.5 * kurtosis[0]


def test_what_is_gaussian_is_not_told_from_noise():
    grain = gaussian_filter(white(3), 0.8)
    assert noise_among_texture(grain / grain.std() + 0.3 * white(1), one) is None


@pytest.mark.parametrize('side', [0.0, 0.28, 0.5])
def test_noise_alone_is_no_texture(side):
    assert not any(noise_among_texture(smeared(white(seed), side), one) for seed in range(20))


@pytest.mark.parametrize('width', [0.5, 0.7, 0.9])
def test_noise_that_was_smoothed_is_not_measured(width):
    smooth = gaussian_filter(white(1), width)
    smooth *= 0.6 / smooth.std()
    assert noise_among_texture(mixture(0.8, 1.2) + smooth, one) is None


def test_noise_that_grows_with_the_level_is_no_texture():
    # of several strengths within a block, which by itself has kurtosis
    level = gaussian_filter(white(4), 12)
    level = 0.5 + 0.45 * np.tanh(2 * level / level.std())
    image = level + 0.02 * np.sqrt(level) * white(1)
    even = noise_among_texture(image, one)
    assert even.variance < 0.5 * 0.0004 * level.mean()  # it is taken for texture
    assert noise_among_texture(image, lambda x: 0.0004 * x) is None


def test_units_do_not_matter():
    image = mixture(0.8) + 0.4 * white(1)
    found = noise_among_texture(image, one)
    other = noise_among_texture(1000 * image - 7, lambda level: 1e6 * one(level))
    assert other.variance == pytest.approx(found.variance)
    assert other.kurtosis == pytest.approx(found.kurtosis)


def test_turned_upside_down_it_is_the_same():
    image = mixture(0.8) + 0.4 * white(1)
    found, turned = (noise_among_texture(x, one) for x in (image, image[::-1, ::-1]))
    assert turned.variance == pytest.approx(found.variance, rel=0.15)


@pytest.mark.parametrize('shape', [(1, 1), (38, 300), (37, 37), (60, 60), (300, 20)])
def test_too_small_a_picture_says_nothing(shape):
    assert noise_among_texture(np.random.default_rng(0).laplace(size=shape), one) is None


@pytest.mark.filterwarnings('error')
def test_even_pictures_and_large_ones():
    assert noise_among_texture(np.full((100, 100), 0.3), one) is None
    stripes = np.tile(np.arange(100.0) % 2, (100, 1))
    assert noise_among_texture(stripes, one) is None
    large = np.tile(mixture(0.8), (4, 6)) + 0.4 * np.random.default_rng(5).standard_normal(
        (4 * SIDE, 6 * SIDE)
    )
    assert noise_among_texture(large, one).variance == pytest.approx(0.16, rel=0.3)


@pytest.mark.parametrize('across', [0.0, 0.3])
def test_filters_see_as_much_of_noise_as_they_are_taken_to(across):
    correlations, power = texture_noise._powers(across)
    for index in (0, len(correlations) // 2, len(correlations) - 1):
        noise = np.random.default_rng(index).standard_normal((512, 512))
        spectrum = np.fft.rfft2(noise)
        shared = np.zeros((2, 512))
        one_way = [
            texture_noise._of_gaussian(across),
            texture_noise._of_three(correlations[index])
            if not across and correlations[index] < texture_noise.THREE
            else texture_noise._of_gaussian(correlations[index]),
        ]
        for row, lags in zip(shared, one_way):
            row[: len(lags)] = lags
            row[-len(lags) + 1 :] = lags[:0:-1]
        down, along = np.maximum(np.fft.fft(shared[0]).real, 0), np.fft.rfft(shared[1]).real
        spectrum *= np.sqrt(down[:, None] * np.maximum(along, 0))
        noise = np.fft.irfft2(spectrum)
        seen = texture_noise._responses(noise)[..., texture_noise._FILTERS].var((0, 1))
        assert seen == pytest.approx(power[index], rel=0.15, abs=0.01)


@pytest.mark.parametrize('name', ['grass', 'gravel'])
@pytest.mark.parametrize('percent', [1, 2, 3, 5])
def test_noise_on_photographs_of_texture(name, percent):
    clean = getattr(data, name)()[:SIDE, :SIDE] / 255
    image = np.rint(255 * (clean + percent / 100 * white(5)).clip(0, 1)).astype(np.uint8)
    found = appraise(image, 255)
    assert 100 * found.sigma * (found.high - found.low) == pytest.approx(percent, rel=0.2, abs=0.45)
    assert found.structure == 'fine'
    assert not any('neighbouring lines' in line for line in found.warnings())


@pytest.mark.parametrize('share', [0.25, 0.75])
def test_even_places_beside_texture_say_how_much_noise_there_is_at_most(share):
    clean = data.grass()[:SIDE, :SIDE] / 255
    clean[:, : round(SIDE * share)] = 0.5
    found = appraise(np.rint(255 * (clean + 0.02 * white(5)).clip(0, 1)).astype(np.uint8), 255)
    assert found.sigma * (found.high - found.low) == pytest.approx(0.02, rel=0.2)


@pytest.mark.parametrize(
    ('texture', 'blank'),
    [(data.gravel, 0.0), (data.gravel, 0.3), (data.gravel, 1.0), (None, 0.0), (None, 1.0)],
)
def test_gaps_of_a_mosaic_are_no_flat_places(texture, blank):
    if texture is None:  # Gaussian, not told by kurtosis
        clean = make_structure('surface', SIDE, 5).astype(float)
    else:
        clean = texture()[:SIDE, :SIDE] / 255
    image = clean + 0.04 * white(5)
    image[:, : SIDE // 3] = blank  # a third of all blocks; noise was said to be 0
    image[-SIDE // 5 :, -SIDE // 4 :] = blank
    found = appraise(np.rint(255 * image.clip(0, 1)).astype(np.uint8), 255)
    assert found.sigma * (found.high - found.low) == pytest.approx(0.04, rel=0.25)


@pytest.mark.parametrize('width', [0.8, 1.0])
def test_smoothed_noise_beside_things_does_not_come_back_as_particles(width):
    clean = 0.1 + 0.8 * make_phantom(PhantomSettings(SIDE, median_radius=6), 3).image
    noise = gaussian_filter(white(6), width)
    image = np.rint(255 * (clean + 0.06 * noise / noise.std()).clip(0, 1)).astype(np.uint8)
    with pytest.warns(UserWarning, match='neighbouring lines share noise'):
        restored = Restorer()(image)
    counts = count_fabrications(restored / 0.8, clean / 0.8)
    assert np.mean([one['fabricated'] for one in counts]) < 12  # 33 before, with the same noise


@pytest.mark.filterwarnings('ignore:the image')
@pytest.mark.parametrize('name', ['grass', 'gravel'])
@pytest.mark.parametrize('percent', [2, 5])
def test_texture_is_kept(name, percent):
    clean = getattr(data, name)()[:SIDE, :SIDE] / 255
    image = np.rint(255 * (clean + percent / 100 * white(5)).clip(0, 1)).astype(np.uint8)
    error = np.mean((Restorer()(image) - clean) ** 2)
    assert error < np.mean((image / 255 - clean) ** 2)  # it was ten times as much


def made_by(program, image):
    """(H, W) in [0, 1] as programs for pictures and microscopes leave it."""
    grey = np.rint(255 * image.clip(0, 1)).astype(np.uint8)
    if program == 'median filter':
        return cv2.medianBlur(grey, 3)
    if program == 'bilateral filter':
        smooth = cv2.bilateralFilter(grey.astype(np.float32) / 255, 5, 0.15, 1.5)
        return np.rint(255 * smooth).astype(np.uint8)
    if program == 'enlarged':
        large = cv2.resize(image, None, fx=1.5, fy=1.5, interpolation=cv2.INTER_AREA)
        return np.rint(255 * large[:SIDE, :SIDE].clip(0, 1)).astype(np.uint8)
    return cv2.imdecode(cv2.imencode('.jpg', grey, [cv2.IMWRITE_JPEG_QUALITY, 20])[1], 0)


@pytest.mark.filterwarnings('ignore:the image')
@pytest.mark.parametrize(
    ('kind', 'seed', 'sigma', 'program', 'gained'),
    [
        ('fibres', 2, 0.08, 'median filter', 0.7),
        ('grains', 1, 0.08, 'bilateral filter', 2.0),
        ('grains', 1, 0.03, 'enlarged', 4.0),
        ('pores', 3, 0.08, 'JPEG', 2.0),
        ('fibres', 3, 0.08, 'bilateral filter', 1.0),
    ],
)
def test_noise_that_a_program_made_uneven_is_no_texture(kind, seed, sigma, program, gained):
    """Filters and JPEG leave it beside edges, as if it were texture of strong details."""
    clean = KINDS[kind](SIDE, np.random.default_rng(100 + seed))
    clean = 0.1 + 0.8 * (clean - clean.min()) / np.ptp(clean)
    image = made_by(program, clean + sigma * white(seed))
    truth = made_by(program, clean) / 255 if program == 'enlarged' else clean
    recorded, left = (np.mean((one - truth) ** 2) for one in (image / 255, Restorer()(image)))
    assert 10 * np.log10(recorded / left) > gained
