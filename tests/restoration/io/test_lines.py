"""Empty lines at the edge of a picture: found where there is no doubt, and left as they are."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tifffile

from mmclarity.cli.adapt import _fields
from mmclarity.restoration import Restorer
from mmclarity.restoration.datasets import SEMFolderDataset
from mmclarity.restoration.degradation.calibration import calibrate
from mmclarity.restoration.general.appraising import appraise
from mmclarity.restoration.inference.combine import combine
from mmclarity.restoration.inference.remarks import of_file
from mmclarity.restoration.io import open_stack, read_sem, shared_parts
from mmclarity.synthetic.phantom import PhantomSettings, make_phantom
from tests.restoration.io.micrographs import picture

SIDES = {'top': np.s_[:1], 'bottom': np.s_[-1:], 'left': np.s_[:, :1], 'right': np.s_[:, -1:]}


def noisy(seed: int = 0, side: int = 96, low: int = 20, high: int = 235) -> np.ndarray:
    """Discs under noise."""
    clean = make_phantom(PhantomSettings(side, median_radius=9), 4).image
    noise = np.random.default_rng(seed).normal(0, 0.08, clean.shape)
    return ((0.2 + 0.6 * clean + noise) * 255).clip(low, high).astype(np.uint8)


def emptied(image: np.ndarray, lines: tuple[int, int, int, int], value: int = 0) -> np.ndarray:
    """With so many lines of one value at the top, bottom, left and right."""
    image, (top, bottom, left, right) = image.copy(), lines
    image[:top] = image[len(image) - bottom :] = value
    image[:, :left] = image[:, image.shape[1] - right :] = value
    return image


def kept(lines: tuple[int, int, int, int], shape: tuple[int, ...]) -> tuple[slice, slice]:
    top, bottom, left, right = lines
    return slice(top, shape[0] - bottom), slice(left, shape[1] - right)


@pytest.mark.parametrize('dtype', ['uint8', 'uint16'])
@pytest.mark.parametrize(
    ('lines', 'words'),
    [
        ((1, 0, 0, 0), 'top 1'),
        ((0, 1, 0, 0), 'bottom 1'),
        ((0, 0, 1, 0), 'left 1'),
        ((0, 0, 0, 1), 'right 1'),
        ((1, 0, 1, 0), 'top 1, left 1'),
        ((3, 0, 0, 2), 'top 3, right 2'),
        ((0, 4, 4, 0), 'bottom 4, left 4'),
        ((2, 1, 3, 0), 'top 2, bottom 1, left 3'),
    ],
)
def test_empty_lines_are_no_picture(tmp_path, dtype, lines, words):
    image = emptied(picture(dtype=dtype), lines)
    tifffile.imwrite(tmp_path / 'a.tif', image)
    read = read_sem(tmp_path / 'a.tif')
    assert read.content == kept(lines, image.shape)
    assert read.lines == lines and read.cropped_by == 'detection'
    np.testing.assert_array_equal(read.pixels, image)
    assert read.origin() == f'lines without picture at its edge stay as they are: {words}'
    assert read_sem(tmp_path / 'a.tif', crop='none').image.shape == image.shape


@pytest.mark.parametrize(('dtype', 'value'), [('uint8', 1), ('uint16', 130), ('uint16', 0)])
def test_dark_pictures_have_empty_lines_too(tmp_path, dtype, value):
    """12 bit data in a 16 bit file, and a line that is as dark as the picture, or darker."""
    image = np.random.default_rng(0).integers(130, 190, (60, 64)).astype(dtype)
    tifffile.imwrite(tmp_path / 'a.tif', emptied(image, (1, 0, 2, 0), value))
    assert read_sem(tmp_path / 'a.tif').lines == (1, 0, 2, 0)


def nearly(side: str) -> np.ndarray:
    """One pixel of the line is not like the others."""
    image = picture()
    line = image[SIDES[side]]
    line[...] = 0
    line.flat[31] = 1
    return image


def ground_of_one_value() -> np.ndarray:
    """Discs without noise on black; the top line is ground and the next one is not all of it."""
    image = np.zeros((60, 64), np.uint8)
    for centre in range(6, 64, 13):
        cv2.circle(image, (centre, 13), 12, 150, -1)
    return image


def faded() -> np.ndarray:
    """A window function: black at its rim, and brighter from line to line."""
    bell = [np.sin(np.pi * np.arange(n) / (n - 1)) for n in (60, 64)]
    return (120 * np.outer(*bell)).astype(np.uint8)


def clipped() -> np.ndarray:
    """A dark ground under noise, most of it clipped at black; the first line all of it."""
    image = np.random.default_rng(0).normal(-8, 12, (60, 64)).clip(0, 255).astype(np.uint8)
    image[0] = 0
    return image


@pytest.mark.parametrize(
    'make',
    [
        *(lambda side=side: nearly(side) for side in SIDES),
        lambda: emptied(picture(), (5, 0, 0, 0)),  # more than a line or two: a black part
        lambda: emptied(picture(), (1, 0, 0, 0), value=40),  # there is darker in the picture
        lambda: emptied(picture(), (0, 1, 0, 0), value=255),  # white
        lambda: np.full((60, 64), 7, np.uint8),
        lambda: np.tile(np.arange(60, dtype=np.uint8)[:, None] + 1, (1, 64)),  # all lines constant
        lambda: emptied(picture(16, 16), (1, 0, 0, 0)),  # too small to tell
        ground_of_one_value,
        faded,
        clipped,
    ],
)
def test_what_may_be_picture_is_left_to_it(tmp_path, make):
    image = make()
    tifffile.imwrite(tmp_path / 'a.tif', image)
    read = read_sem(tmp_path / 'a.tif')
    assert read.image.shape == image.shape and read.lines == (0, 0, 0, 0)
    assert read.cropped_by == 'nothing' and read.origin() == ''


def test_a_black_picture_is_black(tmp_path):
    tifffile.imwrite(tmp_path / 'a.tif', np.zeros((60, 64), np.uint8))
    with pytest.raises(ValueError, match='is black'):
        read_sem(tmp_path / 'a.tif')
    read = read_sem(tmp_path / 'a.tif', allow_black=True)
    assert read.image.shape == (60, 64) and read.lines == (0, 0, 0, 0)


def test_lines_inside_of_border_and_above_the_bar(tmp_path):
    """As in scans of a frame grabber: bar, green border, and a black line and column in it."""
    image = np.stack([emptied(noisy(side=120), (2, 1, 2, 1))] * 3, -1)
    image[[0, -1]] = image[:, [0, -1]] = (0, 255, 0)
    bar = np.zeros((16, 120, 3), np.uint8)
    bar[5:11, 10:60:3] = 255
    tifffile.imwrite(tmp_path / 'a.tif', np.concatenate([image, bar]))
    read = read_sem(tmp_path / 'a.tif')
    assert read.content == (slice(2, 119), slice(2, 119)) and read.lines == (1, 0, 1, 0)
    said = 'the data bar, 17 rows, stays as it is; lines without picture at its edge stay as they'
    assert read.origin() == f'{said} are: top 1, left 1'


def test_black_and_white_are_measured_without_them(tmp_path):
    levels = picture().astype(np.float32) + 900
    tifffile.imwrite(tmp_path / 'a.tif', emptied(levels, (0, 1, 0, 0)))
    read = read_sem(tmp_path / 'a.tif', data_range='measured')
    assert read.lines == (0, 1, 0, 0) and read.black == levels[:-1].min() > 900
    levels[3, 3] = np.nan
    tifffile.imwrite(tmp_path / 'b.tif', emptied(levels, (0, 1, 0, 0)))
    with pytest.raises(ValueError, match='NaN'):
        read_sem(tmp_path / 'b.tif', data_range='measured')


def test_restored_end_to_end_they_stay_bit_for_bit(tmp_path):
    lines = (3, 0, 1, 0)
    image = emptied(noisy(), lines)
    inside = kept(lines, image.shape)
    tifffile.imwrite(tmp_path / 'a.tif', image)
    tifffile.imwrite(tmp_path / 'inside.tif', image[inside])
    told = []
    restorer = Restorer(tell=told.append)
    for name in ('a', 'inside'):
        restorer.restore_file(tmp_path / f'{name}.tif', tmp_path / f'{name}_out.tif')
    whole, alone = (tifffile.imread(tmp_path / f'{name}_out.tif') for name in ('a', 'inside'))
    np.testing.assert_array_equal(whole[inside], alone)  # as if they were not there
    whole[inside] = image[inside]
    np.testing.assert_array_equal(whole, image)
    assert f'{tmp_path / "a.tif"}: lines without picture at its edge' in told[0]
    # neither in the noise that is measured
    measured = [line.partition(': ')[2] for line in told if 'noise is' in line]
    assert len(measured) == 2 and measured[0] == measured[1]
    assert appraise(image, 255) != appraise(image[inside], 255)


def test_pages_of_a_stack_have_them_where_the_first_has(tmp_path):
    lines = (1, 0, 1, 0)
    pages = np.stack([emptied(noisy(seed), lines) for seed in range(3)])
    pages[1] = noisy(1)  # nothing is empty here
    tifffile.imwrite(tmp_path / 'a.tif', pages, photometric='minisblack')
    with open_stack(tmp_path / 'a.tif') as stack:
        assert [page.image.shape for page in stack] == [(95, 95)] * 3
        assert [page.lines for page in stack] == [lines] * 3
        assert [len(list(of_file(page))) for page in stack][0] == 2
    Restorer().restore_file(tmp_path / 'a.tif', tmp_path / 'b.tif')
    restored = tifffile.imread(tmp_path / 'b.tif')
    np.testing.assert_array_equal(restored[:, 0], pages[:, 0])
    np.testing.assert_array_equal(restored[:, :, 0], pages[:, :, 0])
    assert all((new != old).mean() > 0.5 for new, old in zip(restored, pages))


def written_pair(folder, low: np.ndarray, high: np.ndarray) -> None:
    for name, image in (('low', low), ('high', high)):
        (folder / name).mkdir()
        tifffile.imwrite(folder / name / '1.tif', image)


def test_both_sides_of_a_pair_lose_them(tmp_path):
    lines = (1, 0, 2, 0)
    low, high = emptied(noisy(1, 128), lines), noisy(2, 128)
    written_pair(tmp_path, low, high)
    read = [read_sem(tmp_path / name / '1.tif') for name in ('low', 'high')]
    assert [image.image.shape for image in read] == [(127, 126), (128, 128)]
    inside = kept(lines, low.shape)
    for part, whole in zip(shared_parts(*read), (low, high)):
        np.testing.assert_array_equal(part.image, whole[inside])
    sample = SEMFolderDataset([dict(gt='high', img='low')], str(tmp_path))[0]
    assert sample['img'].shape[:2] == sample['gt'].shape[:2]
    assert sample['shift'] == pytest.approx((0, 0), abs=0.1)
    calibrate(tmp_path / 'low', tmp_path / 'high', progress=lambda line: None)


def test_scans_of_one_field_go_together_whichever_has_them(tmp_path):
    scans = [emptied(noisy(1), (1, 0, 1, 0)), noisy(2), emptied(noisy(3), (0, 0, 3, 1))]
    for order in ((0, 1, 2), (1, 0, 2)):
        paths = [tmp_path / f'{number}.tif' for number in order]
        for path, number in zip(paths, order):
            tifffile.imwrite(path, scans[number])
        first = read_sem(paths[0])
        together = combine(read_sem(path) for path in paths)
        assert together.image.image.shape == first.image.shape
        for found in together.shifts:
            np.testing.assert_allclose(found.shift, 0, atol=0.3)
        fields = _fields(paths, True, {}, lambda line: None)
        assert len(fields) == 1 and fields[0].levels.shape == first.image.shape
