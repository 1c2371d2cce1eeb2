"""Several scans of one field used together."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import tifffile

from mmclarity.errors import UsageError
from mmclarity.restoration.general.appraisal import appraise
from mmclarity.restoration.inference.combine import combine
from mmclarity.restoration.io.micrograph import from_array, read_sem
from mmclarity.restoration.ops.registration import move
from mmclarity.synthetic.phantom import PhantomSettings, make_phantom
from tests.restoration.inference.test_files import Negative

SHIFTS = ((0.0, 0.0), (3.3, -2.6), (-4.7, 1.2), (6.0, 5.5))


def field(seed: int = 5, side: int = 192) -> np.ndarray:
    return 40 + 170 * make_phantom(PhantomSettings(side, median_radius=9), seed).image


def burst(sigma: float = 20.0, gains: tuple = (1, 1, 1, 1), drift: float = 0.0) -> list:
    """Noisy scans of one field, which moved between and during them."""
    rng, scans = np.random.default_rng(1), []
    for i, (shift, gain) in enumerate(zip(SHIFTS, gains)):
        moved = gain * move(field(), shift, (drift, -drift) if i else (0, 0))
        noisy = moved + rng.normal(0, sigma, moved.shape)
        scans.append(from_array(noisy.clip(0, 255).astype(np.uint8)))
    return scans


def error(image: np.ndarray) -> float:
    inner = np.s_[12:-12, 12:-12]
    return float(np.sqrt(np.mean((255 * image - field())[inner] ** 2)))


@pytest.mark.parametrize('drift', [0.0, 3.0])
def test_the_mean_of_four_has_half_the_noise(drift):
    scans, told = burst(drift=drift), []
    together = combine(iter(scans), told.append)
    assert error(scans[0].unit) > 18
    assert error(together.image.unit) < 0.58 * error(scans[0].unit)
    for found, shift in zip(together.shifts, SHIFTS[1:]):
        np.testing.assert_allclose(found.shift, np.negative(shift), atol=0.4)
    assert '4 scans combined, moved by up to 8' in told[0]


def test_brightness_and_contrast_are_those_of_the_first():
    together = combine(burst(gains=(1, 0.8, 1.15, 0.9)))
    assert error(together.image.unit) < 13
    edge = together.image.unit[:3] * 255 - field()[:3]  # covered by fewer scans
    assert abs(edge.mean()) < 4


def test_what_cannot_be_combined():
    scans = burst()
    with pytest.raises(UsageError, match='at least two'):
        combine(scans[:1])
    with pytest.raises(UsageError, match='have one size'):
        combine([scans[0], from_array(scans[1].pixels[:-8])])
    other = field(77).astype(np.uint8)
    with pytest.raises(UsageError, match='does not show what'):
        combine([scans[0], from_array(other)])
    with pytest.raises(UsageError, match='constant'):
        combine([scans[0], from_array(np.full_like(other, 9))])


def test_a_scan_that_hardly_fits_is_named():
    """Half of another field: more than chance, less than scans of one field have."""
    scans = burst()
    half = scans[1].pixels.copy()
    half[:, 96:] = field(77).astype(np.uint8)[:, 96:]
    with pytest.warns(UserWarning, match='Is it of the same field'):
        combine([scans[0], from_array(half)])
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        combine(scans)


def test_in_strong_noise():
    """Where one scan alone shows next to nothing, the others are still found."""
    for found, shift in zip(combine(burst(sigma=90)).shifts, SHIFTS[1:]):
        np.testing.assert_allclose(found.shift, np.negative(shift), atol=1.5)


def test_noise_stays_independent_from_pixel_to_pixel():
    together = appraise(combine(burst(drift=2)).image.unit)
    assert together.across < 0.15 and together.correlation < 0.1
    assert together.sigma < 0.6 * appraise(burst()[0].unit).sigma
    assert not together.warnings()


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.int16, np.float32])
def test_files_and_stacks(tmp_path, dtype):
    pages = np.stack([scan.pixels for scan in burst()]).astype(dtype)
    for i, page in enumerate(pages):
        tifffile.imwrite(
            tmp_path / f'{i}.tif',
            page,
            resolution=(2e6, 2e6),
            resolutionunit='CENTIMETER',
            description=f'scan {i}',
        )
    tifffile.imwrite(
        tmp_path / 'stack.tif',
        pages[..., :],
        photometric='minisblack',
        resolution=(2e6, 2e6),
        resolutionunit='CENTIMETER',
    )
    names = [tmp_path / f'{i}.tif' for i in range(4)]
    restorer = Negative()
    done = restorer.combine_files([*names, names[0]], tmp_path / 'a.tif', uncertainty=True)
    assert [path.name for path in done] == ['a.tif', 'a_uncertainty.tif', 'a_doubtful.png']
    restorer.combine_files([tmp_path / 'stack.tif'], tmp_path / 'b.tif')
    one, other = tifffile.imread(tmp_path / 'a.tif'), tifffile.imread(tmp_path / 'b.tif')
    assert one.dtype == other.dtype == dtype and one.shape == (192, 192)
    if np.dtype(dtype).itemsize == 1:
        expected = np.rint(255 * (1 - combine(burst()).image.unit))
        np.testing.assert_array_equal(one, expected)
        np.testing.assert_array_equal(other, expected)
    with tifffile.TiffFile(tmp_path / 'a.tif') as copy:
        assert copy.pages[0].description == 'scan 0'
    assert read_sem(tmp_path / 'b.tif', data_range='measured').pixel_size == pytest.approx(5e-9)
    with pytest.raises(UsageError, match='is one of the scans'):
        restorer.combine_files(names, names[1], overwrite=True)
    with pytest.raises(FileExistsError, match='a.tif'):
        restorer.combine_files(names, tmp_path / 'a.tif')


def test_data_bar_is_that_of_the_first():
    scans = burst()
    barred = [
        replace(
            scan,
            pixels=np.pad(scan.pixels, ((0, 20), (0, 0)), constant_values=i + 1),
            content=np.s_[0:192, 0:192],
        )
        for i, scan in enumerate(scans)
    ]
    together = combine(barred).image
    assert together.pixels.shape == (212, 192) and (together.pixels[192:] == 1).all()
    np.testing.assert_array_equal(together.image, combine(scans).image.image)
