"""Reading micrographs: the picture, its range and scale, and what cannot be read."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from mmclarity.restoration.io import vendors
from mmclarity.restoration.io.micrograph import (
    SEMImageError,
    from_array,
    list_images,
    read_sem,
    write_map,
    write_sem,
)
from tests.real_data import DATA, needs
from tests.restoration.io.micrographs import picture, with_bar

PAIRS = DATA / 'sem_pairs'
needs_pairs = needs('sem_pairs')
FEI = (
    '[Beam]\r\nScan=EScan\r\n[EScan]\r\nPixelWidth=5e-9\r\n[Scan]\r\nPixelWidth=4e-9\r\n'
    '[Image]\r\nResolutionX=64\r\nResolutionY=48\r\n[PrivateFei]\r\nDatabarHeight=12\r\n\0'
)
ZEISS = (
    '\r\nDP_SCAN\r\nScan = 1\r\nAP_PIXEL_SIZE\r\nPixel Size = 99 nm\r\n'
    'AP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = 5.5 nm\r\n\0'
)


@needs_pairs
def test_real_files_without_bar_and_border():
    image = read_sem(PAIRS / 'low/001.tif')
    assert image.pixels.shape == (471, 512) and image.pixels.dtype == np.uint8
    assert image.content == (slice(2, 441), slice(2, 511)) and image.lines == (1, 0, 1, 0)
    assert image.vendor == 'FEI' and image.cropped_by == 'metadata' and image.data_range == 255
    assert image.pixel_size == pytest.approx(5.82812e-9)
    reference = np.asarray(Image.open(PAIRS / 'low/001.tif'))[2:441, 2:511, 0]
    np.testing.assert_array_equal(image.image, reference)
    np.testing.assert_allclose(image.unit, reference / 255, atol=1e-7)


@needs_pairs
def test_detection_finds_in_real_files_what_metadata_tells(tmp_path):
    for name in ('low/003.tif', 'high/040.tif'):
        stripped = tmp_path / 'stripped.png'
        Image.open(PAIRS / name).save(stripped)
        image = read_sem(stripped)
        assert image.content == (slice(2, 441), slice(2, 511)) and image.lines == (1, 0, 1, 0)
        assert image.cropped_by == 'detection' and image.vendor is None


@needs_pairs
def test_whole_colour_file_is_refused_with_the_place_and_the_remedy():
    with pytest.raises(SEMImageError, match=r'low.001.tif.*row 0, column 0.*channel=0') as error:
        read_sem(PAIRS / 'low/001.tif', crop='none')
    assert isinstance(error.value, ValueError)
    assert read_sem(PAIRS / 'low/001.tif', crop='none', channel=1).image.shape == (471, 512)


def test_fei_and_zeiss_metadata(tmp_path):
    tifffile.imwrite(
        tmp_path / 'fei.tif', with_bar(), extratags=[(34682, 2, 0, FEI.encode(), True)]
    )
    image = read_sem(tmp_path / 'fei.tif')
    assert (image.vendor, image.pixel_size, image.cropped_by) == ('FEI', 4e-9, 'metadata')
    assert image.image.shape == (48, 64)
    assert read_sem(tmp_path / 'fei.tif', crop='none').image.shape == (60, 64)
    tifffile.imwrite(
        tmp_path / 'zeiss.tif', with_bar(), extratags=[(34118, 2, 0, ZEISS.encode(), True)]
    )
    image = read_sem(tmp_path / 'zeiss.tif')
    assert (image.vendor, image.cropped_by) == ('Zeiss', 'detection')
    assert image.pixel_size == pytest.approx(5.5e-9)
    assert image.image.shape == (48, 64)


def test_metadata_of_another_size_is_not_believed(tmp_path):
    # 60 rows were 48 and a bar of 12; of a file cut to 40 x 32 neither holds
    tifffile.imwrite(
        tmp_path / 'cut.tif', picture(40, 32), extratags=[(34682, 2, 0, FEI.encode(), True)]
    )
    image = read_sem(tmp_path / 'cut.tif')
    assert image.image.shape == (40, 32) and image.pixel_size is None
    assert vendors.parse_fei('[Scan]\nPixelWidth=-1\n[Image]\nResolutionX=a').pixel_size is None
    assert vendors.parse_zeiss('AP_PIXEL_SIZE\nPixel Size = 2 \xb5m').pixel_size == pytest.approx(
        2e-6
    )
    assert vendors.parse_zeiss('AP_PIXEL_SIZE\nPixel Size = 2 furlong').pixel_size is None


@pytest.mark.parametrize(
    'make',
    [
        lambda: picture(),  # noise everywhere
        lambda: np.full((60, 64), 9, np.uint8),  # one value
        lambda: np.tile(np.arange(64, dtype=np.uint8) + 1, (60, 1)),  # equal rows
        lambda: (
            np.where(np.arange(60)[:, None] < 48, picture(), 0)
            + np.uint8(0)
            + np.where(np.arange(60)[:, None] >= 48, picture() // 8, 0).astype(np.uint8)
        ),  # dark ground
        lambda: cv2.circle(np.full((60, 64), 5, np.uint8), (30, 20), 12, 200, -1),  # no noise
    ],
)
def test_pictures_without_bar_are_left_whole(tmp_path, make):
    image = make()
    cv2.imwrite(str(tmp_path / 'a.png'), image)
    assert read_sem(tmp_path / 'a.png').image.shape == image.shape


def test_white_frame_is_border_and_dark_rim_is_not(tmp_path):
    framed = np.pad(picture(40, 40), 2, constant_values=0)
    framed[2:-2, 2:-2] = framed[2:-2, 2:-2] // 2 + 60
    cv2.imwrite(str(tmp_path / 'framed.png'), framed)
    assert read_sem(tmp_path / 'framed.png').content == (slice(2, 42), slice(2, 42))
    rim = cv2.GaussianBlur(np.pad(np.full((20, 20), 200, np.uint8), 10), (0, 0), 3)
    cv2.imwrite(str(tmp_path / 'rim.png'), rim)
    assert read_sem(tmp_path / 'rim.png').image.shape == (40, 40)


def test_12_bit_data_in_16_bit_files(tmp_path):
    tifffile.imwrite(tmp_path / 'a.tif', picture(dtype='uint16') // 16)
    assert read_sem(tmp_path / 'a.tif', data_range=4095).unit.max() > 0.99
    with pytest.raises(SEMImageError, match='a.tif.*outside 0 to data_range=1000'):
        read_sem(tmp_path / 'a.tif', data_range=1000)
    for wrong in (0, -1, np.nan, 70000):
        with pytest.raises(SEMImageError, match='data_range'):
            read_sem(tmp_path / 'a.tif', data_range=wrong)


# What is refused ---------------------------------------------------------------------------------
def tiff(path: Path, data: np.ndarray, **options: object) -> None:
    tifffile.imwrite(path, data, **options)


@pytest.mark.parametrize(
    ('write', 'message'),
    [
        (lambda p: p.write_bytes(b''), 'an empty file'),
        (lambda p: p.write_bytes(b'hello world'), 'not a TIFF, PNG or BMP'),
        (lambda p: p.write_bytes(b'II*\0\x08\0\0\0\xff\xff'), 'can not be read as TIFF'),
        (lambda p: p.write_bytes(b'II*\0'), 'can not be read as TIFF'),
        (lambda p: p.write_bytes(b'\xff\xd8\xff\xe0'), 'can not be read as JPEG'),
        (lambda p: tiff(p, np.zeros((3, 20, 20), np.uint8), photometric='minisblack'), '3 pages'),
        (lambda p: tiff(p, np.zeros((20, 20), np.uint8)), 'is black'),
        (lambda p: tiff(p, picture().astype(np.int16)), 'signed pixels have no white'),
        (lambda p: tiff(p, picture().astype(np.uint32)), '32 bit pixels have no white'),
        (lambda p: tiff(p, picture().astype(np.int64)), 'save it as 8 or 16 bit'),
        (lambda p: tiff(p, picture().astype(np.complex64)), 'save it as 8 or 16 bit'),
        (lambda p: tiff(p, picture() > 9, photometric='minisblack'), 'save it as 8 or 16 bit'),
        (lambda p: Image.fromarray(picture() > 9).save(p, 'PNG'), 'only 1 bit'),
        (lambda p: Image.fromarray(picture(), 'P').quantize(9).save(p, 'PNG'), 'bit'),
        (
            lambda p: tiff(
                p,
                np.random.default_rng(0).integers(0, 255, (20, 20, 3), np.uint8),
                photometric='rgb',
            ),
            'channels differ.*channel=0',
        ),
    ],
)
def test_unusable_files_are_named(tmp_path, write, message):
    path = tmp_path / 'wrong.tif'
    write(path)
    with pytest.raises(SEMImageError, match=r'(?s)wrong\.tif.*' + message):
        read_sem(path)


@pytest.mark.parametrize('fraction', [0.1, 0.5, 0.9, 0.995])
@pytest.mark.parametrize('name', ['a.tif', 'lzw.tif', 'a.png', 'a.bmp'])
def test_truncated_files(tmp_path, name, fraction):
    path = tmp_path / name
    if name == 'lzw.tif':
        pytest.importorskip('imagecodecs')
    if path.suffix == '.tif':
        tifffile.imwrite(path, picture(), compression='lzw' if name == 'lzw.tif' else None)
    else:
        Image.fromarray(picture()).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * fraction)])
    with pytest.raises(SEMImageError, match=name):
        read_sem(path)


@pytest.mark.parametrize('first', [0, 8, 5000])
def test_a_tiff_of_which_only_the_header_was_written_is_truncated(tmp_path, first):
    """Many programs write the directory last, behind the pixels; its message was of tifffile."""
    path = tmp_path / 'a.tif'
    path.write_bytes(b'II*\0' + struct.pack('<I', first) + bytes(200 if first > 8 else 0))
    with pytest.raises(SEMImageError, match='a.tif: can not be read as TIFF: truncated'):
        read_sem(path)


def test_damage_inside_a_png_is_seen(tmp_path):
    path = tmp_path / 'a.png'
    Image.fromarray(picture()).save(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(SEMImageError, match='a.png.*checksum'):
        read_sem(path)
    # a stream that ends early, in a chunk that is whole
    body = zlib.compress(b'\0' * 10)[:-6]
    header = struct.pack('>IIBBBBB', 9, 9, 8, 0, 0, 0, 0)
    path.write_bytes(
        b'\x89PNG\r\n\x1a\n'
        + b''.join(
            struct.pack('>I', len(b)) + k + b + struct.pack('>I', zlib.crc32(k + b))
            for k, b in ((b'IHDR', header), (b'IDAT', body), (b'IEND', b''))
        )
    )
    with pytest.raises(SEMImageError, match='a.png.*pixel data ends early'):
        read_sem(path)


@pytest.mark.parametrize('bad', [np.nan, np.inf, -1.0, 8.0])
def test_values_that_are_no_grey_values(tmp_path, bad):
    values = np.ones((20, 30), np.float32)
    values[3, 4] = bad
    tifffile.imwrite(tmp_path / 'a.tif', values)
    match = 'row 3, column 4' if not np.isfinite(bad) else 'outside 0 to data_range=7'
    with pytest.raises(SEMImageError, match=r'a\.tif.*' + match):
        read_sem(tmp_path / 'a.tif', data_range=7)


def test_folders_and_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere'):
        list_images(tmp_path / 'nowhere')
    with pytest.raises(FileNotFoundError, match='holds no images'):
        list_images(tmp_path)
    for name in ('b.TIF', 'a.png', '.hidden.png', 'c.txt', 'd.bmp'):
        (tmp_path / name).write_bytes(b'x')
    assert [p.name for p in list_images(tmp_path)] == ['a.png', 'b.TIF', 'd.bmp']
    with pytest.raises(NotADirectoryError, match='a.png'):
        list_images(tmp_path / 'a.png')
    with pytest.raises(FileNotFoundError, match='no.tif'):
        read_sem(tmp_path / 'no.tif')
    with pytest.raises(SEMImageError, match='is a folder'):
        read_sem(tmp_path)
    with pytest.raises(ValueError, match="'auto' or 'none'"):
        read_sem(tmp_path / 'a.png', crop='bar')


def test_black_and_channel_options(tmp_path):
    tifffile.imwrite(tmp_path / 'a.tif', np.zeros((20, 20), np.uint8))
    assert read_sem(tmp_path / 'a.tif', allow_black=True).image.max() == 0
    with pytest.raises(SEMImageError, match='1 channel'):
        read_sem(tmp_path / 'a.tif', channel=1)


def test_images_from_memory_and_maps(tmp_path):
    with pytest.raises(SEMImageError, match='data_range'):
        from_array(np.ones((3, 3)))
    with pytest.raises(SEMImageError, match='uint8, uint16, int16 or float'):
        from_array(np.ones((3, 3), np.int64))
    with pytest.raises(SEMImageError, match=r'\(H, W\)'):
        from_array(np.ones((3, 3, 3), np.uint8))
    image = from_array(picture(), pixel_size=5e-9)
    write_sem(tmp_path / 'a.tif', 1 - image.unit, image)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / 'a.tif'), 255 - picture())
    values = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    write_map(tmp_path / 'm.tif', values, 5e-9)
    with tifffile.TiffFile(tmp_path / 'm.tif') as file:
        np.testing.assert_array_equal(file.asarray(), values)
        number, per = file.pages[0].tags['XResolution'].value
        assert number / per == pytest.approx(0.01 / 5e-9)
    with pytest.raises(FileExistsError):
        write_map(tmp_path / 'm.tif', values)
    with pytest.raises(ValueError, match=r'\(H, W\)'):
        write_map(tmp_path / 'n.tif', values[0])


@pytest.mark.parametrize(
    ('dtype', 'scale', 'shift'),
    [
        ('int16', 100, -9000),
        ('float32', 1e-3, -0.1),
        ('int8', 0.5, -64),
        ('int32', 1, 2_000_000_000),
        ('uint32', 1000, 4_000_000_000),
        ('float64', 1e-6, -1.0),
    ],
)
def test_measured_range_of_signed_and_floating_point_images(tmp_path, dtype, scale, shift):
    pixels = (picture().astype(np.float64) * scale + shift).astype(dtype)
    tifffile.imwrite(tmp_path / 'in.tif', pixels)
    image = read_sem(tmp_path / 'in.tif', data_range='measured')
    assert (image.black, image.data_range) == (pixels.min(), pixels.max())
    assert image.measured_range
    assert (image.unit.min(), image.unit.max()) == (0, 1)
    write_sem(tmp_path / 'out.tif', image.unit, image)
    back = tifffile.imread(tmp_path / 'out.tif')
    assert back.dtype == pixels.dtype
    contrast = float(pixels.max()) - float(pixels.min())
    error = np.abs(back.astype(np.float64) - pixels)
    assert error.max() <= max(2e-6 * contrast, 1e-7 if dtype[0] == 'f' else 0)
    # a number overrides, and then black is 0
    with pytest.raises(SEMImageError, match='outside 0 to'):
        read_sem(tmp_path / 'in.tif', data_range=100)


def test_measured_range_leaves_alone_what_has_a_white(tmp_path):
    tifffile.imwrite(tmp_path / 'in.tif', picture())
    image = read_sem(tmp_path / 'in.tif', data_range='measured')
    assert (image.black, image.data_range, image.measured_range) == (0, 255, False)
    with pytest.raises(SEMImageError, match='a number or'):
        read_sem(tmp_path / 'in.tif', data_range='guess')


def test_measured_range_of_bad_images(tmp_path):
    bad = picture().astype(np.float32)
    bad[3, 4] = np.nan
    tifffile.imwrite(tmp_path / 'bad.tif', bad)
    with pytest.raises(SEMImageError, match='row 3, column 4'):
        read_sem(tmp_path / 'bad.tif', data_range='measured')
    tifffile.imwrite(tmp_path / 'even.tif', np.full((20, 20), -3, np.int16))
    image = read_sem(tmp_path / 'even.tif', data_range='measured')
    assert np.ptp(image.unit) == 0


def test_tescan_tells_its_bar_and_pixel_size(tmp_path):
    text = b'\x01\0\x7f\0[MAIN]\r\nPixelSizeX=4.8828e-09\r\nPixelSizeY=4.8828e-09\r\n'
    text += b'[SEM]\r\nImageStripSize=24\r\n'
    pixels = np.random.default_rng(0).integers(0, 65535, (144, 100), np.uint16)
    tags = [(50431, 'B', len(text), text, True)]
    tifffile.imwrite(tmp_path / 'tescan.tif', pixels, extratags=tags)
    image = read_sem(tmp_path / 'tescan.tif')
    assert (image.vendor, image.cropped_by) == ('TESCAN', 'metadata')
    assert image.image.shape == (120, 100)
    assert image.pixel_size == pytest.approx(4.8828e-9)
    write_sem(tmp_path / 'out.tif', np.zeros((120, 100)), image)
    written = tifffile.imread(tmp_path / 'out.tif')
    assert (written[120:] == pixels[120:]).all() and not written[:120].any()
    assert read_sem(tmp_path / 'out.tif', allow_black=True).vendor == 'TESCAN'


@pytest.mark.parametrize(
    ('options', 'vendor', 'size'),
    [
        (
            dict(
                description='<?xml version="1.0"?><OME Creator="Phenom"><Image><Pixels '
                'PhysicalSizeX="12.5" PhysicalSizeXUnit="nm"/></Image></OME>'
            ),
            'Phenom',
            12.5e-9,
        ),
        (
            dict(description='<OME><Image><Pixels PhysicalSizeX="0.25"/></Image></OME>'),
            'OME',
            0.25e-6,
        ),
        (dict(description='<OME><Image><Pixels PhysicalSizeX="-1"/></Image></OME>'), 'OME', None),
    ],
)
def test_pixel_size_of_other_makers(tmp_path, options, vendor, size):
    tifffile.imwrite(tmp_path / 'in.tif', picture(), metadata=None, **options)
    image = read_sem(tmp_path / 'in.tif')
    assert image.vendor == vendor
    assert image.pixel_size == (size if size is None else pytest.approx(size))


def test_webp_that_is_no_plain_picture(tmp_path):
    frames = [Image.new('RGB', (40, 40), (grey,) * 3) for grey in (10, 90)]
    frames[0].save(tmp_path / 'film.webp', save_all=True, append_images=frames[1:])
    with pytest.raises(SEMImageError, match='an animation'):
        read_sem(tmp_path / 'film.webp')
    Image.new('RGBA', (40, 40), (50, 50, 50, 120)).save(tmp_path / 'glass.webp', lossless=True)
    with pytest.raises(SEMImageError, match='transparent'):
        read_sem(tmp_path / 'glass.webp')
    (tmp_path / 'broken.webp').write_bytes(b'RIFF\0\0\0\0WEBPVP8 ')
    with pytest.raises(SEMImageError, match='JPEG or WebP'):
        read_sem(tmp_path / 'broken.webp')
