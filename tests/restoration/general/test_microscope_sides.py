"""What is told, or refused, of quick and slow scans that do not go together."""

import dataclasses
import unicodedata

import numpy as np
import pytest
import tifffile

from mmclarity.errors import DataError
from mmclarity.restoration.degradation.measure import measure_noise
from mmclarity.restoration.general.excess_noise import excess_noise
from mmclarity.restoration.general.microscope import lesson
from mmclarity.restoration.io import from_array
from tests.restoration.general.scan_folders import GAIN, clean_levels, quickly, read


def test_clean_images_as_rough_as_the_noisy_ones_teach_nothing():
    rng = np.random.default_rng(0)
    one = measure_noise(100 + rng.normal(0, 10, (128, 128)))
    with pytest.raises(DataError, match='rough: is no clean image: .* varies by 9'):
        excess_noise([one], [measure_noise(100 + rng.normal(0, 9.8, (128, 128)))], ['rough'])
    smooth = measure_noise(100 + rng.normal(0, 1e-3, (128, 128)))
    assert excess_noise([one], [smooth], ['smooth']).strength == pytest.approx(1.0, abs=1e-4)


def test_sides_the_wrong_way_round_are_refused(scans):
    with pytest.raises(DataError, match=r'0\.tif: is no clean image: .* change the two sides'):
        lesson(read(scans / 'slow'), read(scans / 'quick'))
    with pytest.raises(DataError, match='at least one noisy image'):
        lesson([], read(scans / 'slow'))


def with_pixels(image, size):
    return dataclasses.replace(image, pixel_size=size)


@pytest.mark.parametrize(
    ('quick_size', 'slow_size', 'told'),
    [(4e-9, 8e-9, True), (4e-9, 4.2e-9, False), (4e-9, None, False)],
)
def test_other_magnifications_are_told(scans, quick_size, slow_size, told):
    said = []
    quick = [with_pixels(image, quick_size) for image in read(scans / 'quick')]
    slow = [with_pixels(image, slow_size) for image in read(scans / 'slow')]
    lesson(quick, slow, say=said.append)
    assert bool(said) == told
    if told:
        assert 'slow scans have pixels of 8 nm, the quick ones of 4 nm' in said[0]
        assert 'are 0.5 times as large' in said[0]


def test_names_that_differ_on_both_sides_are_told(scans, tmp_path):
    for number in range(2):
        quick = tmp_path / f'{number}_quick.tif'
        quick.write_bytes((scans / f'quick/{number}.tif').read_bytes())
    said = []
    found = lesson(read(tmp_path), read(scans / 'slow'), say=said.append)
    assert len(said) == 1 and 'no file has the same name on both sides' in said[0]
    assert not any('--high' in line for line in (*said, *found.found.notes))


def test_letters_that_macos_takes_apart_are_the_same(scans, tmp_path):
    sides = []
    for side, form in (('quick', 'NFC'), ('slow', 'NFD')):
        (tmp_path / side).mkdir()
        for number in range(2):
            name = unicodedata.normalize(form, f'Prä{number}.tif')
            (tmp_path / side / name).write_bytes((scans / f'{side}/{number}.tif').read_bytes())
        sides.append(read(tmp_path / side))
    said = []
    assert len(lesson(*sides, say=said.append).found.pairs) == 2
    assert not any('same name' in line for line in said)


def test_grey_levels_that_are_no_two_images_the_same_are_told(scans, tmp_path):
    said = []
    floating = {
        side: [
            dataclasses.replace(
                from_array(image.image.astype(np.float32), 'measured'), path=image.path
            )
            for image in read(scans / side)
        ]
        for side in ('quick', 'slow')
    }
    found = lesson(floating['quick'], floating['slow'], say=said.append)
    assert len(found.held) == 2 and found.held[0].truth is not None and found.levels is None
    assert len(said) == 1 and 'weights that were made with --data-range' in said[0]
    for number, contrast in enumerate((1.0, 0.6)):
        image = quickly(clean_levels(9400 + number) * contrast, number)
        tifffile.imwrite(tmp_path / f'{number}.tif', image)
    said.clear()
    lesson(read(tmp_path), read(scans / 'slow'), say=said.append)
    assert len(said) == 1 and 'brightness and contrast differ from pair to pair' in said[0]


def test_slow_scans_of_twelve_bits_beside_quick_ones_of_eight_are_told(scans):
    said = []
    slow = [
        dataclasses.replace(from_array(image.image.astype(np.uint16) * 16), path=image.path)
        for image in read(scans / 'slow')
    ]
    found = lesson(read(scans / 'quick'), slow, say=said.append)
    assert found.levels[0] == pytest.approx(GAIN * 65535 / 255 / 16, rel=0.02)
    assert len(said) == 1 and 'are 14 times as dark as the quick ones' in said[0]
