"""Reading of image files: 16 bit pixels that hold fewer bits."""

import warnings

import cv2
import numpy as np
import pytest
import tifffile

from mmclarity.utils.images import decode, depth_held


def encoded(suffix, pixels):
    return cv2.imencode(suffix, pixels)[1].tobytes()


@pytest.mark.parametrize('suffix', ['.png', '.tif'])
@pytest.mark.parametrize('bits', [8, 10, 12, 14])
@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('flags', [cv2.IMREAD_COLOR, cv2.IMREAD_GRAYSCALE])
def test_data_of_few_bits_look_as_those_of_eight(suffix, bits, channels, flags):
    rng = np.random.default_rng(0)
    plain = rng.integers(0, 256, (20, 30, channels), dtype=np.uint8).squeeze()
    plain.flat[0] = 255
    noise = rng.integers(0, 2 ** (bits - 8), plain.shape)  # below what 8 bit hold
    deep = ((plain.astype(np.uint16) << (bits - 8)) + noise).astype(np.uint16)
    told = []
    found = decode(encoded(suffix, deep), flags, told.append)
    expected = decode(encoded('.png', plain), flags)
    # grey of colours is rounded once more
    assert found.dtype == np.uint8 and found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= (flags == cv2.IMREAD_GRAYSCALE)
    assert len(told) == 1 and f'{bits} bit' in told[0] and f'{2**bits - 1} is white' in told[0]


@pytest.mark.parametrize('suffix', ['.png', '.tif'])
def test_what_uses_all_bits_and_what_is_black_stays(suffix):
    dark = np.full((20, 30, 3), 200, np.uint16)
    dark[0, 0] = 65535  # a lamp at night
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert decode(encoded(suffix, dark))[5, 5].tolist() == [0 if suffix == '.png' else 1] * 3
        assert not decode(encoded(suffix, np.zeros((20, 30), np.uint16))).any()
        night = np.full((20, 30, 3), 12, np.uint8)  # 8 bit has its own white
        assert np.array_equal(decode(encoded(suffix, night)), night)


@pytest.mark.parametrize('suffix', ['.png', '.tif'])
def test_levels_of_thermal_cameras_are_spread(suffix):
    """They lie close together and far from black: by their upper eight bits all is one grey."""
    plain = np.random.default_rng(0).integers(0, 256, (200, 300), dtype=np.uint8)
    for low, span in ((7000, 1500), (20000, 3000), (3000, 300)):
        deep = (low + plain / 255 * span).round().astype(np.uint16)
        told = []
        found = decode(encoded(suffix, deep), cv2.IMREAD_GRAYSCALE, told.append)
        assert np.abs(found.astype(int) - plain).max() <= 1
        assert len(told) == 1 and 'levels that lie close together' in told[0]
    empty = (7000 + plain / 255 * 60).astype(np.uint16)  # noise, which would become a picture
    found = decode(encoded(suffix, empty), cv2.IMREAD_GRAYSCALE, told.append)
    assert np.ptp(found) <= 2


def test_one_defect_pixel_does_not_make_a_picture_black():
    plain = np.random.default_rng(0).integers(0, 256, (400, 600), dtype=np.uint8)
    deep = plain.astype(np.uint16) << 4
    deep[5, 5] = 65535
    told = []
    found = decode(encoded('.png', deep), cv2.IMREAD_GRAYSCALE, told.append)
    plain[5, 5] = 255
    assert np.array_equal(found, plain)
    assert 'none above 4095 but single pixels' in told[0]


def test_told_as_a_warning_by_default(tmp_path):
    tifffile.imwrite(tmp_path / 'a.tif', np.full((20, 30), 4000, np.uint16))
    with pytest.warns(UserWarning, match='12 bit'):
        assert (decode((tmp_path / 'a.tif').read_bytes()) == 250).all()


@pytest.mark.parametrize(
    ('brightest', 'bits'),
    [(1, 8), (255, 8), (256, 10), (1023, 10), (1024, 12), (4095, 12), (4096, 14), (16383, 14)],
)
def test_the_least_depth_that_holds_the_brightest(brightest, bits):
    assert depth_held(brightest) == bits


@pytest.mark.parametrize('brightest', [0, 16384, 65535])
def test_depth_that_is_not_known(brightest):
    assert depth_held(brightest) is None


@pytest.mark.parametrize(('dtype', 'times'), [('uint8', 1), ('uint16', 2)])
def test_a_tiff_of_8_bits_is_decoded_once(monkeypatch, dtype, times):
    content, calls = encoded('.tif', np.full((20, 30), 77, dtype)), []
    decoder = cv2.imdecode
    monkeypatch.setattr(cv2, 'imdecode', lambda *args: calls.append(args) or decoder(*args))
    decode(content, cv2.IMREAD_GRAYSCALE, lambda text: None)
    assert len(calls) == times
