"""Writing micrographs back with everything but the picture kept."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from mmclarity.restoration.io.micrograph import (
    SEMImageError,
    check_writable,
    read_sem,
    write_sem,
)
from tests.real_data import DATA, needs
from tests.restoration.io.micrographs import picture, raw_tags

PAIRS = DATA / 'sem_pairs'
needs_pairs = needs('sem_pairs')
LAYOUT_TAGS = {273, 279, 324, 325}  # where strips and tiles lie, and how long they are


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
