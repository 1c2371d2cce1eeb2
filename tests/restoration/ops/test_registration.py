"""Registration against shifts that are known and against another library."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.registration import phase_cross_correlation

from mmclarity.restoration.ops.registration import (
    MIN_CONFIDENCE,
    Registration,
    move,
    register,
    valid_region,
)
from tests.real_data import DATA, needs

PAIRS = DATA / 'sem_pairs'
ENDS = slice(16, 112), slice(-112, -16)  # of the lines of a real picture


@pytest.fixture
def scene():
    rng = np.random.default_rng(0)
    image = gaussian_filter(rng.standard_normal((360, 300)), 2)
    return 128 + 30 * image / image.std()


@pytest.mark.parametrize('shift', [(0, 0), (3, -5), (2.3, -1.65), (-20.4, 11.15)])
def test_finds_a_shift_as_skimage_does(scene, shift):
    wide = np.pad(scene, 30, mode='reflect')
    moved = move(wide, shift)[30:-30, 30:-30]
    found = register(moved, scene)
    assert found.shift == pytest.approx(shift, abs=0.06)
    assert found.drift == pytest.approx((0, 0), abs=0.15)
    assert found.stretch == pytest.approx((0, 0), abs=0.15)
    other = phase_cross_correlation(moved, scene, upsample_factor=20, normalization=None)[0]
    assert found.shift == pytest.approx(tuple(other), abs=0.15)
    assert found.confidence > 0.95


def test_finds_drift(scene):
    moved = move(scene, (1.5, -0.7), (-2.0, 1.2))
    found = register(moved, scene)
    assert found.shift == pytest.approx((1.5, -0.7), abs=0.1)
    assert found.drift == pytest.approx((-2.0, 1.2), abs=0.25)


@pytest.mark.parametrize('stretch', [(0.0, -2.4), (0.8, 3.0)])
def test_finds_stretch_beside_drift(scene, stretch):
    moved = move(scene, (1.5, -0.7), (-2.0, 1.2), stretch=stretch)
    found = register(moved, scene)
    assert found.shift == pytest.approx((1.5, -0.7), abs=0.1)
    assert found.drift == pytest.approx((-2.0, 1.2), abs=0.25)
    assert found.stretch == pytest.approx(stretch, abs=0.25)


def test_noise_does_not_mislead(scene):
    rng = np.random.default_rng(1)
    moved = move(scene, (2.3, -1.65)) + 40 * rng.standard_normal(scene.shape)
    found = register(moved, scene)
    assert found.shift == pytest.approx((2.3, -1.65), abs=0.2)
    assert found.stretch == pytest.approx((0, 0), abs=0.4)
    assert found.confidence > MIN_CONFIDENCE


def test_another_field_is_not_trusted(scene):
    other = gaussian_filter(np.random.default_rng(5).standard_normal(scene.shape), 2)
    assert register(scene, other).confidence < MIN_CONFIDENCE


def test_a_blank_half_does_not_break_the_drift(scene):
    half = scene.copy()
    half[:180] = 100
    found = register(move(half, (1.0, 2.0)), half)
    assert np.isfinite([*found.shift, *found.drift]).all()
    assert found.shift == pytest.approx((1.0, 2.0), abs=0.5)


@pytest.mark.parametrize(
    'pair', [(np.zeros((64, 64)), np.eye(64)), (np.eye(8), np.eye(8)), (np.eye(64), np.eye(65))]
)
def test_refuses(pair):
    with pytest.raises(ValueError, match='constant|16 x 16'):
        register(*pair)


def test_move_is_exact_on_waves_and_region_is_what_it_covers():
    y, x = np.mgrid[0:96, 0:96]
    wave = np.sin(2 * np.pi * (x / 9 + y / 13))
    shift, drift, stretch = (2.4, -3.3), (1.5, -0.5), (0.4, 2.2)
    moved = move(wave, shift, drift, stretch=stretch)
    part = valid_region(wave.shape, shift, drift, 6, stretch)
    found = Registration(shift, drift, 0.9, stretch)
    assert np.array_equal(found.move(wave), moved)
    assert found.region(wave.shape, margin=6) == part
    time, along = (y + 0.5) / 96 - 0.5, (x + 0.5) / 96 - 0.5
    rows, columns = (
        at - by - more * time - wider * along
        for at, by, more, wider in zip((y, x), shift, drift, stretch)
    )
    exact = np.sin(2 * np.pi * (columns / 9 + rows / 13))
    assert np.abs(moved - exact)[part].max() < 2e-3
    # both ends of the stretch reach out of the picture
    wide = valid_region((10, 10), (0, 0), stretch=(0.0, 3.0))
    assert wide == (slice(0, 10), slice(2, 8))
    assert valid_region((10, 10), (3.2, -2.0)) == (slice(4, 10), slice(0, 8))
    assert move(wave, (0, 0)).dtype == np.float32


@needs('sem_pairs')
def test_real_pairs_register_and_strangers_do_not():
    from mmclarity.restoration.io.micrograph import read_sem

    low, high, other = (
        read_sem(PAIRS / name).unit for name in ('low/001.tif', 'high/001.tif', 'high/008.tif')
    )
    found = register(low, high)
    assert found.confidence > 0.99
    assert found.shift == pytest.approx((-3.7, 2.0), abs=0.4)
    assert abs(found.drift[0]) > 1
    # The beam does not follow a quick line as far as a slow one: without the stretch, the left and
    # the right of the two do not lie upon one another.
    assert -3.5 < found.stretch[1] < -1.5
    assert abs(found.stretch[0]) < 0.4
    unlike = []
    for stretch in ((0.0, 0.0), found.stretch):
        laid = move(high, found.shift, found.drift, stretch=stretch)
        parts = [
            np.concatenate([gaussian_filter(image, 1.5)[16:-16, part] for part in ENDS], 1)
            for image in (low, laid)
        ]
        unlike.append(1 - np.corrcoef(parts[0].ravel(), parts[1].ravel())[0, 1])
    assert unlike[1] < 0.7 * unlike[0]
    assert register(low, other).confidence < MIN_CONFIDENCE
