"""The simulated microscope against what was asked of it, and calibration against the simulation."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from mmengine.config import Config
from scipy.ndimage import gaussian_filter

from mmclarity.restoration.degradation import SimulateLowCostSEM, calibrate
from mmclarity.restoration.degradation.calibration import config_text, transform_options
from mmclarity.restoration.degradation.measure import (
    fit_blur,
    fit_noise,
    line_jitter,
    measure_noise,
    measure_pair,
)
from mmclarity.restoration.degradation.physics import (
    beam_blur,
    detector_noise,
    displace_lines,
    line_filter,
    stretch_lines,
)
from tests import running

REPO = Path(__file__).resolve().parents[3]
OFF = dict(
    blur=None,
    line_blur=None,
    slope=None,
    intercept=None,
    drift=None,
    jitter=None,
    gain=None,
    offset=None,
)


def discs(seed=0, shape=(300, 320)):
    """Bright discs on a dark ground, levels 30 to 200."""
    rng, image = np.random.default_rng(seed), np.full(shape, 40.0)
    y, x = np.mgrid[: shape[0], : shape[1]]
    for _ in range(60):
        centre, radius = rng.uniform(0, shape), rng.uniform(6, 40)
        image[np.hypot(y - centre[0], x - centre[1]) < radius] = rng.uniform(70, 190)
    return gaussian_filter(image, 0.8).astype(np.float32)


def run(image, **options):
    return SimulateLowCostSEM(**{**OFF, 'quantise': False, 'seed': 0, **options}).transform(
        dict(gt=image, sample_idx=3)
    )['img']


def test_line_filter_gives_the_correlations_asked_for():
    taps = line_filter((0.5, 0.09, 0.01))
    found = [np.dot(taps[lag:], taps[: len(taps) - lag]) for lag in range(5)]
    assert found == pytest.approx([1, 0.5, 0.09, 0.01, 0], abs=1e-6)
    assert line_filter(()) == pytest.approx([1])
    impossible = line_filter((0.9, 0.0))
    assert np.isfinite(impossible).all() and np.square(impossible).sum() == pytest.approx(1)


@pytest.mark.parametrize(
    'sigma, astigmatism, angle',
    [(1.5, 0, 0), (1.5, 0.4, 0), (1.2, 0.6, 0.7), (1.2, 0.6, np.pi / 2)],
)
def test_beam_has_the_covariance_asked_for(sigma, astigmatism, angle):
    point = np.zeros((61, 61))
    point[30, 30] = 1
    spot = beam_blur(point, sigma, astigmatism, angle)
    assert spot.sum() == pytest.approx(1, abs=1e-3)
    y, x = np.mgrid[-30:31, -30:31]
    found = [[(spot * a * b).sum() for a in (x, y)] for b in (x, y)]
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    expected = (
        turn @ np.diag([sigma**2 * np.exp(astigmatism), sigma**2 * np.exp(-astigmatism)]) @ turn.T
    )
    assert np.array(found) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize('poisson', [True, False])
def test_noise_has_variance_and_correlation_asked_for(poisson):
    image = np.repeat(np.array([[20.0], [60.0], [180.0]], np.float32), 200, 0)
    image = np.repeat(image, 600, 1)
    noisy = run(
        image,
        slope=3.0,
        intercept=50.0,
        correlation=(0.5, 0.09),
        correlation_spread=0,
        poisson=poisson,
    )
    residual = (noisy - image).reshape(3, 200, 600)
    assert residual.mean((1, 2)) == pytest.approx([0, 0, 0], abs=0.3)
    assert residual.var((1, 2)) == pytest.approx(3 * np.array([20, 60, 180]) + 50, rel=0.03)
    unit = residual / residual.std((1, 2), keepdims=True)
    assert (unit[..., 1:] * unit[..., :-1]).mean() == pytest.approx(0.5, abs=0.01)
    assert (unit[..., 2:] * unit[..., :-2]).mean() == pytest.approx(0.09, abs=0.01)
    assert (unit[:, 1:] * unit[:, :-1]).mean() == pytest.approx(0, abs=0.01)


def test_shot_noise_is_skewed_as_counts_are():
    image = np.full((400, 400), 30.0, np.float32)
    rng = np.random.default_rng(0)
    noise = detector_noise(image, 3 * image, np.ones(1), rng, shot=3 * image) - image
    # A Poisson count of 10 has skewness 1 / sqrt(10).
    assert (noise**3).mean() / noise.std() ** 3 == pytest.approx(10**-0.5, abs=0.03)
    dark = detector_noise(0 * image, 0 * image, np.ones(1), rng, shot=0 * image)
    assert not dark.any()


def test_variance_curve_is_followed_and_extrapolated():
    levels = np.array([10.0, 50.0, 100.0, 220.0], np.float32)
    image = np.repeat(levels[:, None], 100, 0).repeat(900, 1)
    noisy = run(image, variance=[(50, 100), (100, 400)], correlation=())
    found = (noisy - image).reshape(4, 100, 900).var((1, 2))
    assert found == pytest.approx([0, 100, 400, 1120], rel=0.04, abs=1e-6)


def test_geometry_moves_what_it_should():
    ramp = np.tile(np.arange(50.0), (40, 1))
    moved = displace_lines(ramp, np.full(40, 2.5))
    assert moved[:, 10:40] == pytest.approx(ramp[:, 10:40] - 2.5, abs=1e-4)
    drifted = stretch_lines(ramp, 0, 4.0)
    assert (drifted[-1] - drifted[0])[10:40] == pytest.approx(-4 * 39 / 40, abs=1e-4)


def test_everything_off_is_the_identity_and_switches_work():
    image = discs()
    assert np.array_equal(run(image), image)
    assert run(image, gain=0.5, offset=3.0) == pytest.approx(0.5 * image + 3)
    assert np.array_equal(run(image, quantise=True), np.rint(image))
    coarse = run(image, downsample=2.0)
    assert coarse.shape == image.shape
    assert np.square(np.diff(coarse)).sum() < 0.9 * np.square(np.diff(image)).sum()


def test_seed_makes_it_a_function_of_the_sample():
    transform = SimulateLowCostSEM(seed=1)
    image = discs()
    first = transform.transform(dict(gt=image, sample_idx=0))['img']
    assert np.array_equal(first, transform.transform(dict(gt=image, sample_idx=0))['img'])
    assert not np.array_equal(first, transform.transform(dict(gt=image, sample_idx=1))['img'])
    free = SimulateLowCostSEM()
    np.random.seed(5)
    one = free.transform(dict(gt=image))['img']
    np.random.seed(5)
    assert np.array_equal(one, free.transform(dict(gt=image))['img'])
    assert first.min() >= 0 and first.max() <= 255 and np.array_equal(first, np.rint(first))


def test_keeps_the_channel_axis_and_the_source():
    image = discs()[..., None]
    results = SimulateLowCostSEM(seed=0, source='a', target='b').transform(dict(a=image.copy()))
    assert results['b'].shape == image.shape and results['b'].dtype == np.float32
    assert np.array_equal(results['a'], image)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(blur=(2, 1)), 'blur must be'),
        (dict(blur=-1), 'negative'),
        (dict(slope=(0, float('nan'))), 'slope must be'),
        (dict(downsample=0.5), 'at least 1'),
        (dict(correlation=(1.5,)), 'lie within'),
        (dict(gain='a'), 'gain must be'),
        (dict(variance=[(5, 1), (3, 2)]), 'rising level'),
        (dict(variance=[(5, -1)]), 'rising level'),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        SimulateLowCostSEM(**options)


@pytest.mark.parametrize('image', [np.zeros((8, 8, 3)), [[1, 2]], None, np.zeros(5)])
def test_refuses_images(image):
    with pytest.raises(TypeError, match='one channel'):
        SimulateLowCostSEM().transform(dict(gt=image))


def test_calibration_finds_what_was_simulated():
    noise, pairs = [], []
    for seed in range(4):
        image = discs(seed)
        low = run(
            image,
            slope=2.5,
            intercept=60.0,
            correlation=(0.5, 0.09),
            blur=0.5,
            line_blur=0.8,
            gain=0.9,
            offset=8.0,
            correlation_spread=0,
            seed=seed,
        )
        noise.append(measure_noise(low))
        pairs.append(measure_pair(np.roll(low, (2, -3), (0, 1)), image))
    slope, intercept = fit_noise(noise)
    assert slope == pytest.approx(2.5, rel=0.12)
    assert intercept == pytest.approx(60, abs=20)
    rho = np.mean([sample.correlation for sample in noise], 0)
    assert rho[:3] == pytest.approx([0.5, 0.09, 0], abs=0.03)
    assert np.mean([p.gain for p in pairs]) == pytest.approx(0.9, abs=0.02)
    assert np.mean([p.offset for p in pairs]) == pytest.approx(8, abs=2.5)
    along, across = fit_blur(pairs)
    assert along == pytest.approx(np.hypot(0.5, 0.8), abs=0.15)
    assert across == pytest.approx(0.5, abs=0.2)


@pytest.mark.parametrize('jitter', [0.0, 0.2, 0.6])
def test_jitter_is_told_from_noise_blur_and_slow_motion(jitter):
    found = []
    for seed in range(6):
        image = discs(seed)
        wobble = 1.5 * np.sin(np.arange(300) / 40)
        low = displace_lines(
            beam_blur(image, 0.6),
            wobble + jitter * np.random.default_rng(seed).standard_normal(300),
        )
        found.append(line_jitter(run(low, slope=2.0, correlation=(0.5, 0.09), seed=seed), image))
    assert np.mean(found) == pytest.approx(jitter**2, abs=0.012 + 0.12 * jitter**2)


def test_jitter_of_what_shows_none_is_zero():
    assert line_jitter(np.ones((40, 64)), np.ones((40, 64))) == 0


@pytest.mark.parametrize(
    'image, message',
    [
        (np.zeros((40, 40)), 'constant'),
        (np.zeros((8, 8)), '32 x 32'),
        (np.full((40, 40), np.nan), 'NaN'),
    ],
)
def test_noise_of_nothing_is_refused(image, message):
    with pytest.raises(ValueError, match=message):
        measure_noise(image)


@pytest.fixture
def folders(tmp_path):
    for name in ('low', 'high'):
        (tmp_path / name).mkdir()
    for seed in range(2):
        image = discs(seed)
        low = run(
            image,
            slope=2.5,
            intercept=60.0,
            blur=0.5,
            gain=0.9,
            offset=8.0,
            seed=seed,
            quantise=True,
        )
        tifffile.imwrite(tmp_path / f'high/{seed}.tif', np.rint(image).astype(np.uint8))
        tifffile.imwrite(tmp_path / f'low/{seed}.tif', low.astype(np.uint8))
    return tmp_path


def test_tool_writes_a_config_that_trains(folders):
    command = [
        'calibrate_degradation.py',
        folders / 'low',
        '--high',
        folders / 'high',
        '--out',
        folders / 'out',
    ]
    done = running.run(folders, *command)
    assert done.returncode == 0, done.stderr
    assert 'slope' in done.stdout and '+-' in done.stdout
    cfg = Config.fromfile(folders / 'out/degradation.py').degradation
    assert cfg.pop('type') == 'SimulateLowCostSEM'
    SimulateLowCostSEM(**cfg).transform(dict(gt=discs()))
    assert (folders / 'out/degradation.png').stat().st_size > 10000
    again = running.run(folders, *command)
    assert again.returncode == 2 and '--overwrite' in again.stderr


def test_low_images_alone_and_what_is_missing(folders):
    found = calibrate(folders / 'low', progress=lambda text: None)
    assert any('pairs' in note for note in found.notes)
    assert 'blur' not in transform_options(found)
    assert 'variance' in transform_options(found, linear=False)
    assert 'slope' in config_text(found, linear=True)
    (folders / 'high/1.tif').unlink()
    with pytest.raises(ValueError, match=r'1\.tif has no partner'):
        calibrate(folders / 'low', folders / 'high', progress=lambda text: None)
    with pytest.raises(FileNotFoundError, match='matches include'):
        calibrate(folders / 'low', include='x')
    tifffile.imwrite(folders / 'high/1.tif', np.rint(discs(9)).astype(np.uint8))
    with pytest.raises(ValueError, match='one field of view'):
        calibrate(folders / 'low', folders / 'high', progress=lambda text: None)


def test_strength_is_a_factor_on_the_noise():
    flat = np.full((200, 200), 120.0, np.float32)
    noise = dict(slope=3.0, correlation=(), strength=0.5, quantise=False)
    simulate = SimulateLowCostSEM(**{**OFF, **noise})
    once, thrice = (
        simulate.degrade(flat, np.random.default_rng(0), **options).std()
        for options in ({}, dict(strength=3.0))
    )
    assert once == pytest.approx(0.5 * np.sqrt(3.0 * 120), rel=0.03)
    assert thrice == pytest.approx(3 * once, rel=0.03)
