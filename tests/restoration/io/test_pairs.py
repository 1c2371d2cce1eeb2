"""Two sides of a pair whose borders are found differently."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

from mmclarity.restoration.datasets import SEMFolderDataset
from mmclarity.restoration.degradation.calibration import calibrate
from mmclarity.restoration.io.micrograph import read_sem
from mmclarity.restoration.io.pairs import shared_parts

ROWS, COLUMNS, BAR = 442, 512, 29


def field() -> np.ndarray:
    scene = gaussian_filter(np.random.default_rng(0).standard_normal((ROWS, COLUMNS)), 3)
    return (128 + 40 * scene / scene.std()).clip(30, 225)


def bordered(image: np.ndarray) -> np.ndarray:
    image = np.stack([image] * 3, -1)
    image[[0, -1]] = image[:, [0, -1]] = (0, 255, 0)
    return image


def with_bar(image: np.ndarray) -> np.ndarray:
    bar = np.zeros((BAR, *image.shape[1:]), np.uint8)
    bar[5:15, 10:200:3] = 255
    return np.concatenate([image, bar])


LOW = {
    'border and bar': lambda image: with_bar(bordered(image)),
    'border': bordered,
    'bar': with_bar,
    'picture': lambda image: image,
    'cut to the inside': lambda image: image[1:-1, 1:-1],
}


@pytest.mark.parametrize('kind', LOW)
def test_both_are_cropped_to_what_they_share(tmp_path, kind):
    """512 x 442 on one side, 510 x 440 on the other, in every way that leads there."""
    scene = field()
    noisy = (scene + np.random.default_rng(1).normal(0, 12, scene.shape)).clip(0, 255)
    for name, image in (
        ('low', LOW[kind](noisy.astype(np.uint8))),
        ('high', scene.astype(np.uint8)),
    ):
        (tmp_path / name).mkdir()
        tifffile.imwrite(tmp_path / name / '1.tif', image)
    low, high = (read_sem(tmp_path / name / '1.tif') for name in ('low', 'high'))
    assert high.image.shape == (442, 512)
    whole = kind in ('bar', 'picture')
    assert low.image.shape == ((442, 512) if whole else (440, 510))
    parts = shared_parts(low, high)
    assert parts[0].image.shape == parts[1].image.shape == low.image.shape
    inside = np.s_[:, :] if whole else np.s_[1:-1, 1:-1]
    np.testing.assert_array_equal(parts[0].image, noisy.astype(np.uint8)[inside])
    np.testing.assert_array_equal(parts[1].image, scene.astype(np.uint8)[inside])
    data = SEMFolderDataset([dict(gt='high', img='low')], str(tmp_path))
    assert data[0]['shift'] == pytest.approx((0, 0), abs=0.1)
    if kind == 'border':
        calibrate(tmp_path / 'low', tmp_path / 'high', progress=lambda line: None)


def test_pictures_of_other_fields_are_left_as_they_are(tmp_path):
    tifffile.imwrite(tmp_path / 'a.tif', field().astype(np.uint8))
    tifffile.imwrite(tmp_path / 'b.tif', field().astype(np.uint8)[:400, :400])
    low, high = (read_sem(tmp_path / name) for name in ('a.tif', 'b.tif'))
    parts = shared_parts(low, high)
    assert parts[0].image.shape == (442, 512) and parts[1].image.shape == (400, 400)
