"""Several scans of one field used together."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import Image

from mmclarity.cli.adapt import _fields
from mmclarity.errors import UsageError
from mmclarity.restoration.general.appraising import appraise
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
    with pytest.raises(UsageError, match='does not show what .* within 32 pixels'):
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


def test_copies_of_a_scan_count_once(tmp_path):
    """Byte for byte, in another format or depth, or stored with a loss: their noise is one."""
    scans = burst()
    with pytest.warns(UserWarning, match='is a copy of the image, left out'):
        together = combine([scans[0], from_array(scans[0].pixels.copy()), scans[1]])
    assert len(together.shifts) == 1
    Image.fromarray(scans[0].pixels).save(tmp_path / 'a.png')
    tifffile.imwrite(tmp_path / 'b.tif', scans[0].pixels.astype(np.uint16) * 257)
    with (
        pytest.warns(UserWarning, match='b.tif: is a copy of .*a.png'),
        pytest.raises(UsageError, match='one scan cannot be combined'),
    ):
        combine([read_sem(tmp_path / 'a.png'), read_sem(tmp_path / 'b.tif')])
    Image.fromarray(scans[0].pixels).save(tmp_path / 'c.jpg', quality=75)
    with pytest.warns(UserWarning, match='c.jpg: has the noise of .*a.png: a copy'):
        combine([read_sem(tmp_path / 'a.png'), read_sem(tmp_path / 'c.jpg')])


def test_two_scans_without_drift_are_no_copies():
    noise = np.random.default_rng(8).normal(0, 8, field().shape)
    other = from_array((field() + noise).clip(0, 255).astype(np.uint8))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        together = combine([burst(sigma=8)[0], other])
    assert np.abs(together.shifts[0].shift).max() < 0.05


def test_scans_of_other_depth_are_brought_to_the_first():
    """12 bits in 16: a sixteenth of the contrast, and no more noise against it."""
    scans, told = burst(), []
    deep = from_array(scans[1].pixels.astype(np.uint16) * 16)
    together = combine([scans[0], deep], told.append)
    assert error(together.image.unit) < 0.75 * error(scans[0].unit)
    assert any('has 0.06' in line for line in told)


@pytest.mark.parametrize('gain', [0.4, 0.25])
def test_a_faint_scan_makes_nothing_worse(gain):
    """Its noise is as strong as that of the others, its picture is not: it counts for less."""
    scans = burst(gains=(1, gain, gain, gain))
    together = combine(scans)
    assert error(together.image.unit) < 0.95 * error(scans[0].unit)
    first = combine([*scans[1:], scans[0]])  # the good one is the last
    moved = move(first.image.unit, np.negative(SHIFTS[1]))
    unlike = np.corrcoef(moved[12:-12, 12:-12].ravel(), field()[12:-12, 12:-12].ravel())[0, 1]
    assert unlike > 0.9 > np.corrcoef(scans[1].unit.ravel(), move(field(), SHIFTS[1]).ravel())[0, 1]


def test_another_magnification_is_refused():
    first, second = (replace(scan, pixel_size=5e-9) for scan in burst()[:2])
    combine([first, replace(second, pixel_size=5.05e-9)])  # rounded by the maker
    with pytest.raises(UsageError, match='pixels of 6 nm, the image of 5 nm.*one magnification'):
        combine([first, replace(second, pixel_size=6e-9)])


@pytest.mark.parametrize('kind', ['imagej', 'ome'])
def test_channels_are_no_scans(tmp_path, kind):
    pages = np.stack([scan.pixels for scan in burst()]).reshape(2, 2, 192, 192)
    path = tmp_path / 'a.tif'
    tifffile.imwrite(
        path, pages, metadata={'axes': 'TCYX'}, photometric='minisblack', **{kind: True}
    )
    with pytest.raises(UsageError, match='pages are of 2 channels'):
        Negative().combine_files([path], tmp_path / 'b.tif')
    colour = dict(metadata={'axes': 'CYX', 'mode': 'composite'}, photometric='minisblack')
    if kind == 'imagej':  # two channels and nothing else, which it shows in colours
        tifffile.imwrite(path, pages[:, 0], imagej=True, **colour)
        with pytest.raises(UsageError, match='pages are of 2 channels'):
            Negative().combine_files([path], tmp_path / 'b.tif')
    tifffile.imwrite(path, pages[:, 0], metadata={'axes': 'TYX'}, **{kind: True})
    assert Negative().combine_files([path], tmp_path / 'b.tif')


def test_slices_in_depth_are_named(tmp_path):
    """So are the channels that tifffile makes of a stack whose axes are not told."""
    pages = np.stack([scan.pixels for scan in burst()])
    path = tmp_path / 'a.tif'
    for told, kind in (
        ({'axes': 'ZYX', 'spacing': 4.0}, 'imagej'),
        ({'axes': 'ZYX'}, 'ome'),
        ({}, 'imagej'),
    ):
        tifffile.imwrite(path, pages, metadata=told, **{kind: True})
        with pytest.warns(UserWarning, match='a.tif: its pages are slices at several depths'):
            Negative().combine_files([path], tmp_path / 'b.tif', overwrite=True)


@pytest.mark.parametrize('blank', [0, 2])
def test_blank_pages_of_a_stack_are_left_out_by_name(tmp_path, blank):
    """The beam was off for one scan; the others are combined as if it were not there."""
    pages, path = np.stack([scan.pixels for scan in burst()]), tmp_path / 'a.tif'
    others = [page for i, page in enumerate(pages) if i != blank]
    tifffile.imwrite(tmp_path / 'o.tif', np.stack(others), photometric='minisblack', metadata=None)
    Negative().combine_files([tmp_path / 'o.tif'], tmp_path / 'wanted.tif')
    pages[blank] = 7
    tifffile.imwrite(path, pages, photometric='minisblack', metadata=None)
    with pytest.warns(UserWarning, match=rf'a.tif \(page {blank + 1} of 4\): holds one value'):
        Negative().combine_files([path], tmp_path / 'b.tif')
    np.testing.assert_array_equal(
        tifffile.imread(tmp_path / 'b.tif'), tifffile.imread(tmp_path / 'wanted.tif')
    )
    pages[:] = 7
    tifffile.imwrite(path, pages, photometric='minisblack', metadata=None)
    with (
        pytest.raises(UsageError, match='at least two'),
        pytest.warns(UserWarning, match='holds one value'),
    ):
        Negative().combine_files([path], tmp_path / 'c.tif')


def test_adapting_takes_no_channels_for_scans_and_leaves_blank_pages_out(tmp_path):
    pages, path = np.stack([scan.pixels for scan in burst()]), tmp_path / 'a.tif'
    told = {'axes': 'TCYX'}
    tifffile.imwrite(path, pages.reshape(2, 2, 192, 192), imagej=True, metadata=told)
    with pytest.raises(UsageError, match='pages are of 2 channels'):
        _fields([path], True, {}, lambda line: None)
    pages[1] = 0
    tifffile.imwrite(path, pages, photometric='minisblack')
    said = []
    assert len(_fields([path], False, {}, said.append)) == 3
    assert any(re.search(r'left out: .*page 2 of 4\): holds one value', line) for line in said)


@pytest.mark.parametrize('channel', [0, 1])
def test_channels_that_lie_in_another_file_do_not_count(tmp_path, channel):
    name = f'a_C{channel}.ome.tif'
    planes = ''.join(
        f'<TiffData IFD="{t}" FirstT="{t}" FirstC="{c}" PlaneCount="1">'
        f'<UUID FileName="a_C{c}.ome.tif">urn:uuid:{c}</UUID></TiffData>'
        for c in range(2)
        for t in range(4)
    )
    text = (
        f'<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
        f'UUID="urn:uuid:{channel}"><Image ID="Image:0"><Pixels ID="Pixels:0" Type="uint8" '
        'DimensionOrder="XYTCZ" SizeX="192" SizeY="192" SizeZ="1" SizeC="2" SizeT="4">'
        f'<Channel ID="Channel:0:0"/><Channel ID="Channel:0:1"/>{planes}</Pixels></Image></OME>'
    )
    pages = np.stack([scan.pixels for scan in burst()])
    layout = dict(description=text.encode(), metadata=None, photometric='minisblack')
    tifffile.imwrite(tmp_path / name, pages, **layout)
    assert Negative().combine_files([tmp_path / name], tmp_path / 'b.tif')
