"""Reading micrographs, and writing them back with everything else kept."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from mmclarity.restoration.io import vendors
from mmclarity.restoration.io.micrograph import (
    SEMImageError,
    check_writable,
    from_array,
    list_images,
    read_sem,
    write_map,
    write_sem,
)
from tests.real_data import DATA, needs

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
LAYOUT_TAGS = {273, 279, 324, 325}  # where strips and tiles lie, and how long they are


def picture(height: int = 60, width: int = 64, dtype: str = 'uint8') -> np.ndarray:
    top = np.iinfo(dtype).max
    return np.random.default_rng(1).integers(1, top, (height, width)).astype(dtype)


def with_bar(height: int = 48, bar: int = 12, width: int = 64) -> np.ndarray:
    image = picture(height + bar, width)
    image[height:] = 0
    image[height + 3 : height + 8, 5:30:3] = 255
    return image


def raw_tags(path: Path) -> dict[int, bytes]:
    """The bytes of every tag's value, parsed here from the file."""
    data = path.read_bytes()
    order = '<' if data[:2] == b'II' else '>'
    sizes = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
    (at,) = struct.unpack(order + 'I', data[4:8])
    (count,) = struct.unpack(order + 'H', data[at : at + 2])
    tags = {}
    for i in range(count):
        entry = data[at + 2 + 12 * i : at + 14 + 12 * i]
        code, kind, number = struct.unpack(order + 'HHI', entry[:8])
        size = sizes[kind] * number
        (where,) = struct.unpack(order + 'I', entry[8:])
        tags[code] = entry[8 : 8 + size] if size <= 4 else data[where : where + size]
    return tags


# Reading -----------------------------------------------------------------------------------------
@needs_pairs
def test_real_files_without_bar_and_border():
    image = read_sem(PAIRS / 'low/001.tif')
    assert image.pixels.shape == (471, 512) and image.pixels.dtype == np.uint8
    assert image.content == (slice(1, 441), slice(1, 511))
    assert image.vendor == 'FEI' and image.cropped_by == 'metadata' and image.data_range == 255
    assert image.pixel_size == pytest.approx(5.82812e-9)
    reference = np.asarray(Image.open(PAIRS / 'low/001.tif'))[1:441, 1:511, 0]
    np.testing.assert_array_equal(image.image, reference)
    np.testing.assert_allclose(image.unit, reference / 255, atol=1e-7)


@needs_pairs
def test_detection_finds_in_real_files_what_metadata_tells(tmp_path):
    for name in ('low/003.tif', 'high/040.tif'):
        stripped = tmp_path / 'stripped.png'
        Image.open(PAIRS / name).save(stripped)
        image = read_sem(stripped)
        assert image.content == (slice(1, 441), slice(1, 511))
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


@pytest.mark.parametrize(
    'options',
    [
        dict(compression='lzw'),
        dict(compression='zlib', predictor=True),
        dict(tile=(16, 32)),
        dict(compression='packbits'),
        dict(photometric='miniswhite'),
        dict(byteorder='>'),
        dict(bigtiff=True),
        dict(rowsperstrip=7),
        dict(compression='lzw', tile=(32, 32)),
    ],
)
@pytest.mark.parametrize('dtype', ['uint8', 'uint16'])
def test_ways_of_packing_a_tiff_round_trip(tmp_path, options, dtype):
    if options.get('compression') != 'zlib':
        pytest.importorskip('imagecodecs')
    image = picture(dtype=dtype)
    path, copy = tmp_path / 'a.tif', tmp_path / 'b.tif'
    tifffile.imwrite(path, image, resolution=(300, 200), description='hello', **options)
    top = np.iinfo(dtype).max
    values = read_sem(path)
    inverted = 'photometric' in options
    np.testing.assert_array_equal(values.image, top - image if inverted else image)
    restored = 1 - values.unit.astype(np.float64)
    write_sem(copy, restored, values)
    expected = np.rint(restored * top).astype(dtype)
    np.testing.assert_array_equal(read_sem(copy).image, expected)
    stored = top - expected if inverted else expected
    np.testing.assert_array_equal(tifffile.imread(copy), stored)
    if 'bigtiff' not in options:
        before, after = raw_tags(path), raw_tags(copy)
        assert before.keys() == after.keys()
        assert {c for c in before if before[c] != after[c]} <= LAYOUT_TAGS
        with Image.open(copy) as second:  # another reader
            if not inverted:
                np.testing.assert_array_equal(np.asarray(second), expected)
            assert (second.tag_v2[282], second.tag_v2[283]) == (300, 200)


@needs_pairs
def test_writing_a_real_file_changes_the_picture_only(tmp_path):
    source, copy = PAIRS / 'low/002.tif', tmp_path / 'copy.tif'
    image = read_sem(source)
    restored = np.random.default_rng(0).random(image.image.shape)
    write_sem(copy, restored, image)
    assert raw_tags(copy) == raw_tags(source)
    before, after = tifffile.imread(source), tifffile.imread(copy)
    inside = np.zeros(before.shape[:2], bool)
    inside[image.content] = True
    np.testing.assert_array_equal(before[~inside], after[~inside])
    expected = np.rint(restored * 255)
    for channel in range(3):
        np.testing.assert_array_equal(after[image.content][..., channel], expected)
    # what is written unchanged is the same file, byte for byte
    write_sem(copy, image.unit, image, overwrite=True)
    assert copy.read_bytes() == source.read_bytes()


def test_planar_colour_palette_and_transparent_tiffs(tmp_path):
    image = picture()
    tifffile.imwrite(
        tmp_path / 'planar.tif', np.stack([image] * 3), photometric='rgb', planarconfig='separate'
    )
    planar = read_sem(tmp_path / 'planar.tif')
    np.testing.assert_array_equal(planar.image, image)
    write_sem(tmp_path / 'planar2.tif', 1 - planar.unit, planar)
    np.testing.assert_array_equal(
        tifffile.imread(tmp_path / 'planar2.tif'), np.stack([255 - image] * 3)
    )
    ramp = np.arange(255, -1, -1, dtype=np.uint16) * 257  # index 0 is white
    tifffile.imwrite(
        tmp_path / 'palette.tif', image, photometric='palette', colormap=np.stack([ramp] * 3)
    )
    palette = read_sem(tmp_path / 'palette.tif')
    np.testing.assert_array_equal(palette.image, 255 - image)
    write_sem(tmp_path / 'palette2.tif', palette.unit, palette)
    assert (tmp_path / 'palette2.tif').read_bytes() == (tmp_path / 'palette.tif').read_bytes()
    alpha = np.stack([image, image, image, image // 2], -1)
    tifffile.imwrite(tmp_path / 'alpha.tif', alpha, photometric='rgb', extrasamples=['unassalpha'])
    transparent = read_sem(tmp_path / 'alpha.tif')
    write_sem(tmp_path / 'alpha2.tif', 1 - transparent.unit, transparent)
    written = tifffile.imread(tmp_path / 'alpha2.tif')
    np.testing.assert_array_equal(written[..., 3], image // 2)
    np.testing.assert_array_equal(written[..., 1], 255 - image)


@pytest.mark.parametrize('mode', ['L', 'RGB', 'RGBA', 'LA', 'I;16', 'P'])
def test_png_keeps_resolution_text_and_transparency(tmp_path, mode):
    grey = picture(dtype='uint16' if mode == 'I;16' else 'uint8')
    source = Image.fromarray(grey)
    if mode in ('RGB', 'RGBA', 'LA'):
        source = source.convert(mode)
        if 'A' in mode:
            source.putalpha(Image.fromarray(grey[::-1]))
    elif mode == 'P':
        source = Image.fromarray(grey, 'P')
        source.putpalette(sum(([i] * 3 for i in range(256)), []))
    info = PngInfo()
    info.add_text('Comment', 'ETD 10 kV')
    source.save(tmp_path / 'a.png', pnginfo=info, dpi=(254, 254))
    image = read_sem(tmp_path / 'a.png')
    np.testing.assert_array_equal(image.image, grey)
    write_sem(tmp_path / 'b.png', 1 - image.unit.astype(np.float64), image)
    with Image.open(tmp_path / 'a.png') as a, Image.open(tmp_path / 'b.png') as b:
        assert a.mode == b.mode and a.info == b.info
        assert b.info['Comment'] == 'ETD 10 kV' and b.info['dpi'][0] == pytest.approx(254, abs=0.1)
        after, before = np.asarray(b), np.asarray(a)
    top = int(image.data_range)
    if after.ndim == 3:
        colours = {3: 3, 4: 3, 2: 1}[after.shape[2]]
        np.testing.assert_array_equal(after[..., colours:], before[..., colours:])
        after = after[..., 0]
    np.testing.assert_array_equal(after.astype(int), top - grey.astype(int))


def test_png_of_16_bit_colour_is_not_cut_to_8_bits(tmp_path):
    grey = picture(dtype='uint16')
    cv2.imwrite(str(tmp_path / 'a.png'), np.stack([grey] * 3, -1))
    image = read_sem(tmp_path / 'a.png')
    assert image.data_range == 65535
    np.testing.assert_array_equal(image.image, grey)
    write_sem(tmp_path / 'b.png', 1 - image.unit.astype(np.float64), image)
    written = cv2.imread(str(tmp_path / 'b.png'), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(written, np.stack([65535 - grey] * 3, -1))


@pytest.mark.parametrize('mode', ['L', 'RGB'])
def test_bmp(tmp_path, mode):
    grey = picture(31, 33)  # lines are padded
    Image.fromarray(grey).convert(mode).save(tmp_path / 'a.bmp', dpi=(100, 100))
    image = read_sem(tmp_path / 'a.bmp')
    np.testing.assert_array_equal(image.image, grey)
    write_sem(tmp_path / 'b.bmp', 1 - image.unit, image)
    with Image.open(tmp_path / 'b.bmp') as b:
        assert b.mode == mode and b.info['dpi'][0] == pytest.approx(100, abs=0.1)
        np.testing.assert_array_equal(np.asarray(b.convert('L')), 255 - grey)


def test_float_needs_its_range_and_keeps_it(tmp_path):
    values = np.random.default_rng(0).random((20, 30)).astype(np.float32) * 7
    tifffile.imwrite(tmp_path / 'a.tif', values)
    with pytest.raises(SEMImageError, match=r'a\.tif.*give data_range'):
        read_sem(tmp_path / 'a.tif')
    image = read_sem(tmp_path / 'a.tif', data_range=7)
    np.testing.assert_allclose(image.unit, values / 7)
    write_sem(tmp_path / 'b.tif', 1 - image.unit, image)
    np.testing.assert_allclose(tifffile.imread(tmp_path / 'b.tif'), 7 - values, atol=1e-5)


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
    with pytest.raises(FileNotFoundError, match='holds no .tif'):
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


# Writing -----------------------------------------------------------------------------------------
def test_what_is_not_written(tmp_path):
    path = tmp_path / 'a.tif'
    tifffile.imwrite(path, picture())
    image, good = read_sem(path), np.full((60, 64), 0.5)
    before = path.read_bytes()
    bad = good.copy()
    bad[1, 2] = np.nan
    for values, error, message in [
        (good[:-1], SEMImageError, r'\(59, 64\).*\(60, 64\)'),
        (bad, SEMImageError, 'NaN'),
        (good * 3, SEMImageError, r'not within \[0, 1\]'),
        (np.ones((60, 64), int), TypeError, 'float'),
    ]:
        with pytest.raises(error, match=message):
            write_sem(tmp_path / 'b.tif', values, image)
    with pytest.raises(FileExistsError, match='a.tif'):
        write_sem(path, good, image)
    with pytest.raises(FileNotFoundError, match='nowhere'):
        write_sem(tmp_path / 'nowhere/b.tif', good, image)
    with pytest.raises(SEMImageError, match='is a TIFF file'):
        write_sem(tmp_path / 'b.png', good, image)
    with pytest.raises(SEMImageError, match='is a TIFF file'):
        check_writable(tmp_path / 'b.png', image)
    assert [p.name for p in tmp_path.iterdir()] == ['a.tif'] and path.read_bytes() == before
    write_sem(path, good, image, overwrite=True)
    assert (tifffile.imread(path) == 128).all()
    tifffile.imwrite(path, picture(9, 9))
    with pytest.raises(SEMImageError, match='has changed'):
        write_sem(tmp_path / 'b.tif', good, image)
    assert [p.name for p in tmp_path.iterdir()] == ['a.tif']


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / 'a.tif'
    tifffile.imwrite(path, picture())
    image, before = read_sem(path), path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('shutil.copyfile', full)
    with pytest.raises(OSError, match='a.tif: the disk is full'):
        write_sem(path, image.unit, image, overwrite=True)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize('colour', [False, True])
@pytest.mark.parametrize('options', [{}, dict(tile=(32, 48)), dict(compression='zstd')])
def test_what_was_compressed_with_a_loss_is_written_without(tmp_path, colour, options):
    pytest.importorskip('imagecodecs')
    image = cv2.GaussianBlur(picture(80, 96), (0, 0), 2)
    stored = np.stack([image] * 3, -1) if colour else image
    photometric = 'rgb' if colour else 'minisblack'
    tifffile.imwrite(
        tmp_path / 'a.tif',
        stored,
        photometric=photometric,
        resolution=(300, 200),
        description='hello',
        **{'compression': 'jpeg', **options},
    )
    read = read_sem(tmp_path / 'a.tif')
    assert read.lossy == ('compression' not in options)
    restored = np.random.default_rng(0).random(image.shape)
    check_writable(tmp_path / 'b.tif', read)
    write_sem(tmp_path / 'b.tif', restored, read)
    expected = np.rint(restored * 255).astype(np.uint8)
    with Image.open(tmp_path / 'b.tif') as other:  # another reader
        assert other.info['compression'] == 'tiff_adobe_deflate'
        np.testing.assert_array_equal(np.asarray(other.convert('L')), expected)
        assert (other.tag_v2[282], other.tag_v2[283]) == (300, 200)
        assert other.tag_v2[270] == 'hello'
    np.testing.assert_array_equal(
        tifffile.imread(tmp_path / 'b.tif'), np.stack([expected] * 3, -1) if colour else expected
    )


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


@pytest.mark.parametrize('lossless', [True, False])
def test_webp_is_read_and_restored_as_tiff(tmp_path, lossless):
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64), np.uint8)
    Image.fromarray(pixels).convert('RGB').save(tmp_path / 'a.webp', lossless=lossless)
    read = read_sem(tmp_path / 'a.webp')
    assert read.pixels.shape == (48, 64) and read.lossy is not lossless
    assert (read.pixels == pixels).all() == lossless
    write_sem(tmp_path / 'b.tif', read.unit, read)
    assert (tifffile.imread(tmp_path / 'b.tif') == read.pixels).all()
    with pytest.raises(SEMImageError, match=r'written as TIFF.*again'):
        write_sem(tmp_path / 'b.webp', read.unit, read)


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
