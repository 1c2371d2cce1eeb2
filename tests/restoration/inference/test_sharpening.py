"""Sharpened restorations: narrower, nothing stronger, the same in tiles; doubts stay."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import maximum_filter, minimum_filter

from mmclarity.errors import UsageError
from mmclarity.restoration import Restorer
from mmclarity.restoration.evaluation import edge_width, find_edges
from mmclarity.restoration.general.appraisal import Appraisal
from mmclarity.restoration.general.appraising import appraise
from mmclarity.restoration.inference.sharpening import sharpened
from mmclarity.synthetic.phantom import PhantomSettings, make_phantom


def spheres() -> np.ndarray:
    clean = make_phantom(PhantomSettings(200), seed=5).image
    noise = 0.09 * np.random.default_rng(5).standard_normal(clean.shape)
    return np.rint(255 * (0.1 + 0.8 * clean + noise).clip(0, 1)).astype(np.uint8)


def test_sharpened_edges_are_narrower_and_nothing_gets_stronger():
    clean, noisy = make_phantom(PhantomSettings(200), seed=5).image, spheres()
    edges, (plain, sharp, more) = (
        find_edges(clean),
        (Restorer(sharpen=amount)(noisy) for amount in (0, 1, 1.5)),
    )
    widths = [edge_width(image, edges)[0] for image in (plain, sharp, more)]
    assert widths[0] > widths[1] + 0.3 and widths[1] > widths[2]
    step = 1e-6
    assert (sharp <= maximum_filter(plain, 3) + step).all()
    assert (sharp >= minimum_filter(plain, 3) - step).all()


def test_sharpening_is_the_same_in_tiles_and_at_any_contrast():
    noisy = spheres()
    whole = Restorer(sharpen=1, dtype='float32')
    plain = Restorer(dtype='float32')(noisy)
    like = appraise(noisy, 255)
    small = dict(tile=64, align=16)
    cut = sharpened(plain, like, 1.0, small, torch.device('cpu'))
    np.testing.assert_allclose(cut, whole(noisy), atol=1e-5)
    dark = whole(20.0 + 0.1 * noisy, data_range=255.0)
    np.testing.assert_allclose((255 * dark - 20) / 25.5, whole(noisy), atol=2e-3)


def test_doubts_are_those_of_the_image_before_it_was_sharpened():
    noisy = spheres()
    plain, sharp = (Restorer(sharpen=amount).with_doubts(noisy) for amount in (0, 1))
    np.testing.assert_array_equal(plain.particles, sharp.particles)
    np.testing.assert_array_equal(plain.chance, sharp.chance)
    np.testing.assert_array_equal(plain.std, sharp.std)
    np.testing.assert_array_equal(sharp.restored, Restorer(sharpen=1)(noisy))
    np.testing.assert_array_equal(sharp.restored, Restorer(sharpen=1).with_uncertainty(noisy)[0])


def test_little_noise_is_little_sharpened():
    little, much = (Appraisal(0, (0.9 * sigma) ** 2, 0, 0, 0, 1) for sigma in (0.02, 0.2))
    assert little.narrowing()[0] < 0.1 * much.narrowing()[0]
    assert little.narrowing()[1] == pytest.approx(0.1 * much.narrowing()[1])
    assert much.narrowing(2)[0] == 2 * much.narrowing()[0]


def test_sharpening_is_of_the_general_network():
    with pytest.raises(UsageError, match=r'generator\.sharpen in its config'):
        Restorer('ssim_unet_sem.py', 'weights.pth', sharpen=1)
    for amount in (-0.1, 4, float('nan'), 'much'):
        with pytest.raises(ValueError, match='sharpen must lie within 0 and 3'):
            Restorer(sharpen=amount)
