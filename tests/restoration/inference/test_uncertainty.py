"""Spread of restorations, and the particles it makes doubtful."""

from __future__ import annotations

import numpy as np
import pytest

from mmclarity.restoration.inference.uncertainty import (
    augmented,
    doubtful_particles,
    draw_particles,
    faint_particles,
    mean_and_spread,
    shown_range,
    well_shown,
)


def discs(shape, *particles) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = np.full(shape, 0.2, np.float32)
    for row, column, radius, contrast in particles:
        image[np.hypot(y - row, x - column) <= radius] += contrast
    return image


def test_mean_and_spread_are_those_of_numpy():
    stack = np.random.default_rng(0).random((7, 20, 30), np.float32)
    mean, std = mean_and_spread([lambda m=m: m for m in stack])
    np.testing.assert_allclose(mean, stack.mean(0), atol=1e-6)
    np.testing.assert_allclose(std, stack.std(0, ddof=1), atol=1e-6)
    for wrong, message in (
        ([lambda: stack[0]], 'at least 2'),
        ([lambda: stack[0], lambda: stack[1, :3]], 'do not compare'),
    ):
        with pytest.raises(ValueError, match=message):
            mean_and_spread(wrong)


def test_mirror_images_are_turned_back():
    image = np.random.default_rng(0).random((6, 9), np.float32)
    seen = []

    def restore(copy):
        assert copy.flags['C_CONTIGUOUS']
        seen.append(copy.copy())
        return copy**2

    members = augmented(restore, image)
    assert len(members) == 4 and not seen
    for member in members:
        np.testing.assert_array_equal(member(), image**2)
    for expected in (image, image[:, ::-1], image[::-1], image[::-1, ::-1]):
        assert any(np.array_equal(expected, copy) for copy in seen)
    # a restorer that does not depend on the side has no spread, one that does has
    _, std = mean_and_spread(members)
    assert std.max() == 0
    lopsided = augmented(lambda copy: copy + np.arange(9, dtype=np.float32), image)
    assert mean_and_spread(lopsided)[1].max() > 1


def test_noise_is_repeatable_and_spares_the_first_copy():
    image = np.full((50, 60), 0.5, np.float32)
    first, *others = [m() for m in augmented(lambda c: c, image, noise=0.1, repeats=2, seed=3)]
    again = [m() for m in augmented(lambda c: c, image, noise=0.1, repeats=2, seed=3)][1:]
    np.testing.assert_array_equal(first, image)
    assert len(others) == 7
    for a, b in zip(others, again):
        np.testing.assert_array_equal(a, b)
        assert a.std() == pytest.approx(0.1, rel=0.1)
    assert not np.array_equal(others[3], others[0])
    for options in (dict(repeats=2), dict(repeats=0), dict(noise=-1), dict(noise=np.nan)):
        with pytest.raises(ValueError):
            augmented(lambda c: c, image, **options)


@pytest.mark.parametrize('radius', [1.5, 4, 9])
def test_a_particle_that_one_of_four_lacks_is_doubtful(radius):
    real, made_up = (30.4, 25.0, radius, 0.5), (30.0, 75.6, radius, 0.5)
    noise = np.random.default_rng(0)
    members = [
        discs((60, 100), real, *([made_up] if i else []))
        + noise.normal(0, 0.01, (60, 100)).astype(np.float32)
        for i in range(4)
    ]
    mean, std = mean_and_spread([lambda m=m: m for m in members])
    found = doubtful_particles(mean, std, np.array([real, made_up]))
    assert found.tolist() == [False, True]
    # (N - 1) / sqrt(N) = 1.5 spreads: below that factor nothing is doubted
    assert doubtful_particles(mean, std, np.array([real, made_up]), 1.3).tolist() == [False, False]


def test_particles_on_the_edge_outside_and_none():
    image = discs((40, 40), (0, 0, 5, 0.5), (39, 20, 5, 0.5))
    std = np.full_like(image, 0.01)
    particles = np.array([[0, 0, 5, 1], [39, 20, 5, 1], [200, 5, 3, 1], [-90, -90, 2, 1]])
    assert doubtful_particles(image, std, particles).tolist() == [False, False, True, True]
    assert doubtful_particles(image, std, np.zeros((0, 4))).shape == (0,)
    # one that fills the image has nothing around it to stand out from
    assert doubtful_particles(image, std, np.array([[20, 20, 500, 1]])).tolist() == [True]
    for wrong, message in (
        (np.ones((2, 3)), r'\(K, 4\)'),
        (np.full((1, 4), np.nan), 'finite'),
        (np.array([[1, 1, 0, 1]]), 'radii'),
    ):
        with pytest.raises(ValueError, match=message):
            doubtful_particles(image, std, wrong)
    with pytest.raises(ValueError, match='alike'):
        doubtful_particles(image, std[:3], particles)


def test_drawing_marks_red_and_green():
    image = discs((40, 80), (20, 20, 5, 0.5), (20, 60, 5, 0.5))
    drawn = draw_particles(
        image, np.array([[20, 20, 5, 1], [20, 60, 5, 1]]), np.array([False, True])
    )
    assert drawn.shape == (40, 80, 3) and drawn.dtype == np.uint8
    red = (drawn[..., 2].astype(int) - drawn[..., 1]) > 100
    green = (drawn[..., 1].astype(int) - drawn[..., 2]) > 100
    assert green[:, :40].any() and not red[:, :40].any()
    assert red[:, 40:].any() and not green[:, 40:].any()
    np.testing.assert_array_equal(drawn[0], np.full((80, 3), 51))


def test_a_particle_as_faint_as_the_noise_is_doubted():
    rng, size = np.random.default_rng(0), 160
    noise = 0.1 * rng.standard_normal((size, size))
    clear, faint = (40.0, 40.0, 4.0, 0.4), (110.0, 110.0, 4.0, 0.01)
    y, x = np.indices((size, size))
    restored = np.full((size, size), 0.3)
    for row, column, radius, strength in (clear, faint):
        restored += strength / 0.74 * (np.hypot(y - row, x - column) < radius)
    particles = np.array([clear, faint])
    assert faint_particles(restored + noise, restored, particles).tolist() == [False, True]
    # without noise nothing is faint; a lot of it drowns both
    assert faint_particles(restored, restored, particles).tolist() == [False, False]
    assert faint_particles(restored + 40 * noise, restored, particles).tolist() == [True, True]
    assert faint_particles(restored, restored, np.zeros((0, 4))).shape == (0,)
    with pytest.raises(ValueError, match='alike'):
        faint_particles(restored[1:], restored, particles)


def test_a_picture_of_little_contrast_is_shown_stretched():
    image = discs((60, 60), (30, 30, 9, 0.5)).astype(np.float32)
    assert well_shown(image) is image
    narrow = 0.4 + 0.03 * image
    shown = well_shown(narrow)
    assert shown_range(narrow) == pytest.approx((0.406, 0.421), abs=1e-3)
    assert shown.min() == pytest.approx(0, abs=0.02) and shown.max() == pytest.approx(1, abs=0.02)
    even = np.full((9, 9), 0.3)
    assert (well_shown(even) == even).all()
