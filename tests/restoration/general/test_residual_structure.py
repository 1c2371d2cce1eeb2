"""Fine structure is no noise: gratings, lattices, small print, clean pictures, upright scans."""

import warnings

import cv2
import numpy as np
import pytest
from scipy.ndimage import convolve1d, gaussian_filter

from mmclarity.restoration import Restorer
from mmclarity.restoration.general import appraise
from mmclarity.restoration.general.residual_structure import put_back
from mmclarity.restoration.general.spectrum import measure_floor, periodic_share
from mmclarity.synthetic.phantom import PhantomSettings, make_phantom

SIDE = 192
SMEARED = 0.6667  # correlation of neighbours under the taps 1, 2, 1


def noise(sigma, axis=1, seed=5, shape=(SIDE, SIDE)):
    """Smeared along an axis, as of a slow detector."""
    white = np.random.default_rng(seed).standard_normal(shape)
    smeared = convolve1d(white, [1, 2, 1], axis=axis, mode='wrap')
    return sigma * smeared / smeared.std()


def grating(period, angle=0.0):
    """Lines of half the period, at 0.2 and 0.8, with the beam's blur."""
    place = np.arange(4 * SIDE) / 4
    along = place[:, None] * np.sin(angle) + place * np.cos(angle)
    lines = np.where(along / period % 1 < 0.5, 0.8, 0.2).astype(np.float32)
    return gaussian_filter(cv2.resize(lines, (SIDE, SIDE), interpolation=cv2.INTER_AREA), 0.5)


def lattice(period):
    rows, columns = np.mgrid[:SIDE, :SIDE]
    waves = (columns, columns / 2 + rows * 0.866, rows * 0.866 - columns / 2)
    return 0.5 + 0.12 * sum(np.cos(2 * np.pi * wave / period) for wave in waves)


def print_():
    picture = np.full((2 * SIDE, 2 * SIDE), 51, np.uint8)
    for line in range(10):
        cv2.putText(picture, 'SEM 5kV 2um abc', (4, 30 + 38 * line), 0, 0.5 + 0.06 * line, 204, 2)
    small = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return gaussian_filter(small / 255, 0.5)


def texture():
    rough = gaussian_filter(np.random.default_rng(4).standard_normal((SIDE, SIDE)), 1)
    return 0.5 + 0.12 * rough / rough.std()


@pytest.fixture(scope='module')
def spheres():
    return 0.1 + 0.8 * make_phantom(PhantomSettings(SIDE, median_radius=6), 3).image


def stored(levels):
    return np.rint(255 * np.clip(levels, 0, 1)).astype(np.uint8)


def psnr(levels, clean):
    return -10 * np.log10(np.mean(np.square(levels - clean)))


def restored(image, **options):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        found = Restorer(**options)(image)
    return found, ' '.join(str(one.message) for one in said)


FINE = dict(
    upright_3=grating(3),
    lying_4=grating(4, np.pi / 2),
    slanted_4=grating(4, np.pi / 5),
    lying_6=grating(6, np.pi / 2),
    lattice_5=lattice(5),
    lattice_8=lattice(8),
    print_=print_(),
)


@pytest.mark.parametrize('name', FINE)
def test_noise_is_measured_among_fine_structure(name):
    found = appraise(stored(FINE[name] + noise(0.05)), 255)
    much = 0.2 if name == 'print_' else 0.1  # letters have some power at all frequencies
    assert found.sigma * (found.high - found.low) == pytest.approx(0.05, rel=much)
    assert found.correlation == pytest.approx(SMEARED, abs=0.05)
    assert not found.warnings()


def pores():
    rng, picture = np.random.default_rng(8), np.full((SIDE, SIDE), 170, np.uint8)
    for _ in range(120):
        centre, radius = rng.integers(0, SIDE, 2).tolist(), int(rng.integers(1, 5))
        cv2.circle(picture, centre, radius, int(rng.integers(20, 90)), -1)
    return picture / 255


@pytest.mark.parametrize('sigma', [0.02, 0.05])
@pytest.mark.parametrize('clean', [pores(), print_()], ids=['pores', 'print'])
def test_edges_of_one_pixel_are_not_taken_for_noise(clean, sigma):
    """They have power at all frequencies, but not everywhere."""
    found = appraise(stored(clean + sigma * np.random.default_rng(1).standard_normal(clean.shape)))
    assert found.sigma * (found.high - found.low) == pytest.approx(255 * sigma, rel=0.25)


@pytest.mark.parametrize('electrons', [50, 200, 800])
@pytest.mark.parametrize(
    'clean', [print_(), 1 - print_(), 1 - pores()], ids=['dark', 'bright', 'p']
)
def test_less_shot_noise_where_it_is_dark_is_no_reason_to_expect_less_elsewhere(clean, electrons):
    found = appraise(np.random.default_rng(0).poisson(electrons * clean) / electrons)
    level = found.gain * clean.mean() + found.offset
    said = np.sqrt(found.slope * level + found.intercept) / found.gain
    assert 0.9 < said / np.sqrt(clean.mean() / electrons) < 1.5


def test_edges_are_not_measured_along_with_the_noise():
    """Where lines share nothing, so that nothing else says that there is structure."""
    rng = np.random.default_rng(3)
    steps = np.repeat(rng.choice([0.2, 0.8], (SIDE, SIDE // 4)), 4, axis=1)
    clean = np.where(np.arange(SIDE)[:, None] < 150, 0.5, steps)
    found = appraise(clean + 0.02 * rng.standard_normal(clean.shape))
    level = found.gain * 0.5 + found.offset
    said = np.sqrt(found.slope * level + found.intercept) / found.gain
    assert said < 0.03


@pytest.mark.parametrize('name', ['upright_3', 'lying_4', 'slanted_4', 'lying_6', 'lattice_5'])
def test_the_range_of_grey_levels_holds_a_fine_pattern(name):
    clean = FINE[name]
    found = appraise(stored(clean + noise(0.05)), 255)
    low, high = np.quantile(clean, (0.01, 0.99))
    assert found.high - found.low == pytest.approx(high - low, rel=0.3)


def test_the_range_of_other_pictures_is_that_of_four_pixels(spheres):
    noisy = spheres + noise(0.05)
    small = cv2.resize(noisy.astype(np.float32), (SIDE // 4, SIDE // 4), interpolation=3)
    found = appraise(noisy)
    assert (found.low, found.high) == pytest.approx(np.quantile(small, (0.001, 0.999)), abs=1e-5)


@pytest.mark.parametrize('name', FINE)
def test_fine_structure_survives(name):
    clean, image = FINE[name], stored(FINE[name] + noise(0.05))
    found, _ = restored(image)
    assert np.corrcoef(found.ravel(), clean.ravel())[0, 1] > 0.95
    assert psnr(found, clean) > psnr(image / 255, clean)
    assert abs(found.mean() - image.mean() / 255) < 0.08


@pytest.mark.parametrize('clean', [grating(4, np.pi / 2), lattice(5), print_(), texture()], ids=str)
def test_a_clean_picture_comes_back(clean):
    assert psnr(restored(stored(clean))[0], clean) > 32


def test_grain_as_fine_as_noise_is_not_lost():
    # it may be noise that was smoothed: both are said
    clean, image = texture(), stored(texture() + noise(0.05))
    found, said = restored(image)
    assert psnr(found, clean) > psnr(image / 255, clean)
    assert 'lines share' in said and 'fine texture' in said


def test_pure_noise_is_not_put_back():
    image = stored(0.5 + noise(0.05))
    found, said = restored(image)
    assert found.std() < 0.006
    assert 'nothing is seen in it' in said
    assert 'structure' not in said


def test_noise_that_is_uneven_is_not_put_back(spheres):
    rows = np.arange(SIDE)[:, None]
    uneven = np.where(rows < SIDE // 2, 0.02, 0.1) * np.random.default_rng(1).standard_normal(
        spheres.shape
    )
    like = appraise(stored(spheres + uneven), 255)
    clean = spheres.astype(np.float32)
    back = clean.copy()
    assert put_back((clean + uneven).astype(np.float32), back, like) < 0.02
    assert np.std(back - clean) < 0.1 * uneven.std()


@pytest.mark.parametrize('shape', [(60, 61), (48, 130), (131, 49)])
def test_what_was_taken_away_is_put_back_where_it_can_be_no_noise(shape):
    columns = np.arange(shape[1])
    wave = np.broadcast_to(0.2 * np.cos(2 * np.pi * columns / 5), shape)
    white = 0.03 * np.random.default_rng(0).standard_normal(shape)
    noisy = (0.5 + wave + white).astype(np.float32)
    back = np.full(shape, 0.5, np.float32)
    assert put_back(noisy, back, appraise(noisy)) > 0.9
    assert psnr(back, 0.5 + wave) > psnr(noisy, 0.5 + wave) + 3
    # of noise, next to nothing
    plain = (0.5 + white).astype(np.float32)
    back = np.full(shape, 0.5, np.float32)
    assert put_back(plain, back, appraise(plain)) == 0
    assert back.std() < 0.3 * white.std()


def test_a_scan_from_top_to_bottom_is_restored_as_one_from_left_to_right(spheres):
    image = stored(spheres + noise(0.1))
    upright = appraise(np.ascontiguousarray(image.T), 255)
    assert upright.upright and not appraise(image, 255).upright
    assert upright.told() == pytest.approx(appraise(image, 255).told(), rel=1e-6)
    assert 'columns' in upright.describe()[0]
    plain, _ = restored(image, tile=64)
    turned, said = restored(np.ascontiguousarray(image.T), tile=64)
    assert np.allclose(turned.T, plain, atol=1e-6)
    assert 'lines share' not in said


def test_an_upright_scan_is_adapted_to_lying(spheres):
    from mmclarity.restoration.general.blind_spot import noisy_field
    from mmclarity.restoration.io import from_array

    image = stored(spheres + noise(0.1))[:, :128]
    one, other = (noisy_field(from_array(np.ascontiguousarray(i))) for i in (image, image.T))
    assert np.allclose(one.levels, other.levels)
    assert (one.along, one.across) == (other.along, other.across)


@pytest.mark.parametrize('quality', [30, 50])
def test_jpeg_and_enlarging_are_no_structure(spheres, quality):
    white = 0.08 * np.random.default_rng(2).standard_normal(spheres.shape)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    coded = cv2.imencode('.jpg', stored(spheres + 0.6 * white), options)[1]
    small = cv2.resize(spheres, (SIDE // 2, SIDE // 2)) + white[::2, ::2]
    for image in (cv2.imdecode(coded, 0), stored(cv2.resize(small, (SIDE, SIDE)))):
        found = appraise(image, 255)
        assert not found.structure
        assert any('enlarged' in line for line in found.warnings())


def test_the_strength_that_is_recommended_for_an_enlarged_image_helps(spheres):
    small = cv2.resize(spheres.astype(np.float32), (SIDE // 2, SIDE // 2), interpolation=3)
    clean = cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    white = 0.08 * np.random.default_rng(2).standard_normal(small.shape)
    image = stored(cv2.resize((small + white).astype(np.float32), (SIDE, SIDE)))
    plain, said = restored(image)
    strength = float(said.split('a strength of ')[1].split('.  ')[0][:3])
    assert strength > 2
    assert psnr(restored(image, strength=strength)[0], clean) > psnr(plain, clean) + 0.2


def test_periods_are_told_from_noise_of_any_kind():
    for plain in (noise(0.1), noise(0.1, 0), texture()):
        assert periodic_share(plain) < 0.02
    assert periodic_share(grating(4, np.pi / 2) + noise(0.05)) > 0.7


@pytest.mark.parametrize('shape', [(32, 32), (48, 700), (1500, 60)])
def test_the_floor_is_the_noise(shape):
    found = measure_floor(noise(0.1, shape=shape, seed=1))
    assert found.variance == pytest.approx(0.01, rel=0.25)
    assert found.correlation == pytest.approx(SMEARED, abs=0.12)
    assert abs(found.lines) < 0.25
    flicker = 0.1 * np.random.default_rng(0).standard_normal((shape[0], 1))
    assert measure_floor(noise(0.05, shape=shape) + flicker).lines > 0.5


def thin_wires():
    rng, picture = np.random.default_rng(0), np.full((4 * SIDE, 4 * SIDE), 64, np.uint8)
    for _ in range(30):
        ends = rng.integers(0, 4 * SIDE, 4).tolist()
        cv2.line(picture, ends[:2], ends[2:], int(rng.uniform(128, 230)), int(rng.uniform(4, 13)))
    return cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA) / 255


@pytest.mark.parametrize('sigma', [0.02, 0.05])
def test_wires_of_one_to_three_pixels_are_closer_to_the_truth_than_recorded(sigma):
    """What is put back as it was recorded brings most of its noise with it."""
    clean = thin_wires()
    image = stored(clean + noise(sigma))
    found, _ = restored(image)
    assert psnr(found, clean) > psnr(image / 255, clean) + 2


@pytest.mark.parametrize('sigma', [0.02, 0.05])
def test_pores_are_closer_to_the_truth_than_recorded(sigma):
    """Of edges of one pixel all over, no frequency is stronger than noise can be."""
    clean = pores()
    image = stored(clean + sigma * np.random.default_rng(1).standard_normal(clean.shape))
    found, _ = restored(image)
    assert psnr(found, clean) > psnr(image / 255, clean) + 5


def test_non_local_means_stay_where_they_are_needed():
    clean = np.hstack([thin_wires(), np.full((SIDE, SIDE), 0.25)])
    image = stored(clean + 0.03 * np.random.default_rng(2).standard_normal(clean.shape))
    found, _ = restored(image)
    even = found[:, SIDE + 32 :]
    assert np.std(even) < 0.006


def test_images_in_memory_are_warned_of_every_time():
    restorer = Restorer()
    image = stored(0.5 + noise(0.05))
    for _ in range(2):
        with pytest.warns(UserWarning, match='nothing is seen in it'):
            restorer(image)
