"""Light and cameras against closed forms."""

import numpy as np
import pytest

from mmclarity.detection.datasets import camera


@pytest.fixture(autouse=True)
def seeded():
    np.random.seed(0)


def draws(monkeypatch, *values):
    """What is drawn evenly, one after the other."""
    left = list(values)
    monkeypatch.setattr(camera, 'uniform', lambda low, high: left.pop(0))


def ramp():
    return np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, 2)


def test_gamma_and_gain(monkeypatch):
    x = np.arange(256) / 255
    for change, gamma, gain in ((camera.darkened, 2.5, 0.7), (camera.brightened, 0.6, 1.3)):
        draws(monkeypatch, gamma, gain)
        expected = np.clip(255 * gain * x**gamma, 0, 255).round()
        np.testing.assert_array_equal(change(ramp())[0, :, 1], expected)


def test_contrast_is_drawn_towards_a_level(monkeypatch):
    draws(monkeypatch, 0.5, 0.4)
    got = camera.of_low_contrast(ramp())[0, :, 0].astype(float)
    np.testing.assert_allclose(got, 102 + 0.5 * (np.arange(256) - 102), atol=0.51)


def test_dark_frames_are_darkened_only_as_far_as_there_is_something_to_see():
    night = np.random.default_rng(0).integers(0, 40, (60, 80, 3), np.uint8)
    day = np.random.default_rng(0).integers(60, 200, (60, 80, 3), np.uint8)
    left = {}
    for name, image in (('night', night), ('day', day)):
        shares = [camera.darkened(image).mean() / image.mean() for _ in range(60)]
        left[name] = min(shares)
        assert max(shares) <= 1
    assert left['night'] > 0.3 > left['day']


def test_noise_has_the_variance_that_it_says(monkeypatch):
    for level in (60, 190):
        draws(monkeypatch, 10.0, 1.5)
        monkeypatch.setattr(np.random, 'rand', lambda: 0.9)  # each channel its own
        image = np.full((300, 400, 3), level, np.uint8)
        noise = camera.noisy(image).astype(float) - level
        assert noise.var() == pytest.approx(10**2 + 1.5 * level + 1 / 12, rel=0.03)
        assert abs(noise.mean()) < 0.2
        flat = noise.reshape(-1, 3)
        assert abs(np.corrcoef(flat[:, 0], flat[:, 1])[0, 1]) < 0.02
    draws(monkeypatch, 10.0, 0.0)
    monkeypatch.setattr(np.random, 'rand', lambda: 0.1)  # of brightness alone
    noise = camera.noisy(np.full((30, 40, 3), 90, np.uint8))
    assert (noise == noise[..., :1]).all() and noise.std() > 5


def test_motion_keeps_the_mean_and_blurs_along_its_line(monkeypatch):
    image = np.zeros((41, 41, 3), np.uint8)
    image[20, 20] = 210
    draws(monkeypatch, 0.0, 7.0)
    monkeypatch.setattr(np.random, 'rand', lambda: 0.1)
    got = camera.in_motion(image)[..., 0]
    assert got[20, 17:24].tolist() == [30] * 7 and got.sum() == 210


def test_focus_jpeg_and_few_pixels_leave_size_and_mean_and_take_detail():
    rng = np.random.default_rng(1)
    image = rng.integers(0, 2, (64, 96, 1), np.uint8).repeat(3, 2) * 200
    for change in (camera.out_of_focus, camera.coarse):
        for _ in range(10):
            got = change(image).astype(float)
            assert got.mean() == pytest.approx(image.mean(), abs=4)
            assert got.std() < 0.9 * image.std()
    packed = [camera.packed(image) for _ in range(10)]
    assert all(p.shape == image.shape and (p != image).any() for p in packed)
