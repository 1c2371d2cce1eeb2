"""Files as they lie on disks: units, encodings and sizes that differ, or mislead."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy.ndimage import gaussian_filter

from mmclarity.restoration.io import vendors
from mmclarity.restoration.io.micrograph import SEMImageError, read_sem
from tests.restoration.inference.test_files import Negative
from tests.restoration.io.micrographs import picture, with_bar
from tests.restoration.io.test_vendors import BAR, COLUMNS, HITACHI, ROWS, TESCAN, pixels, saved

FEI = (
    '[User]\r\nUserText=50 µm\r\n[Beam]\r\nBeam=EBeam\r\nScan=EScan\r\n[EBeam]\r\nHFW=6.4e-007\r\n'
    '[Scan]\r\nPixelWidth=5e-009\r\nPixelHeight=5e-009\r\n'
    f'[Image]\r\nResolutionX={COLUMNS}\r\nResolutionY={ROWS}\r\n'
    f'[PrivateFei]\r\nDatabarHeight={BAR}\r\n'
)
ZEISS = (
    '0\r\n0\r\n0\r\n6.25e-010\r\n0\r\nAP_WD\r\nWD =  5.1 mm\r\nAP_PIXEL_SIZE\r\n'
    'Pixel Size = 11.66 nm\r\nAP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = {}\r\n'
    f'DP_IMAGE_STORE\r\nStore resolution = {COLUMNS} * {ROWS}\r\n'
)


def tag(code: int, text: str, encoding: str = 'latin-1') -> list:
    data = text.encode(encoding)
    return [(code, 'B', len(data), data, True)]


def smooth(height: int, width: int = COLUMNS) -> np.ndarray:
    noise = np.random.default_rng(0).normal(size=(height, width))
    return (gaussian_filter(noise, 3) * 800 + 128).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize('encoding', ['latin-1', 'utf-8-sig', 'utf-16', 'utf-16-le', 'utf-16-be'])
def test_fei_in_any_encoding(tmp_path, encoding):
    image = read_sem(saved(tmp_path / 'a.tif', pixels(), tag(34682, FEI, encoding)))
    assert (image.vendor, image.image.shape) == ('FEI', (ROWS, COLUMNS))
    assert image.pixel_size == pytest.approx(5e-9)


def test_fei_with_commas_and_with_the_width_of_the_field_only(tmp_path):
    for name, text in (
        ('comma', FEI.replace('5e-009', '5,0e-009')),
        ('field', FEI.replace('PixelWidth', 'Other')),
    ):
        path = saved(tmp_path / f'{name}.tif', pixels(), tag(34682, text))
        assert read_sem(path).pixel_size == pytest.approx(5e-9), name


def test_thermo_metadata_in_xml(tmp_path):
    text = (
        '<?xml version="1.0"?><Metadata><BinaryResult><PixelSize><X unit="m">2.5E-09</X>'
        '<Y unit="m">2.5E-09</Y></PixelSize></BinaryResult></Metadata>'
    )
    image = read_sem(saved(tmp_path / 'a.tif', pixels(), tag(34683, text)))
    assert image.pixel_size == pytest.approx(2.5e-9)


@pytest.mark.parametrize(
    ('told', 'size'),
    [
        ('5.000 nm', 5e-9),
        ('5,000 nm', 5e-9),
        ('5.000 µm', 5e-6),
        ('0,005 µm', 5e-9),
        ('500.0 pm', 5e-10),
    ],
)
def test_zeiss_in_any_unit(tmp_path, told, size):
    path = saved(tmp_path / 'a.tif', pixels(ROWS), tag(34118, ZEISS.format(told)))
    assert read_sem(path).pixel_size == pytest.approx(size)


def test_zeiss_of_another_size_than_it_was_stored(tmp_path):
    """Half as many pixels, and the tag as it was: its pixel size is another image's."""
    text = tag(34118, ZEISS.format('5.000 nm'))
    path = saved(tmp_path / 'a.tif', pixels(ROWS // 2)[:, : COLUMNS // 2], text)
    assert read_sem(path).pixel_size is None


def test_zeiss_bars_are_found_where_the_stored_size_holds_them(tmp_path):
    image = smooth(ROWS)
    image[-16:] = 0
    image[-12:-4, 10:90:3] = 255
    path = saved(tmp_path / 'a.tif', image, tag(34118, ZEISS.format('5.000 nm')))
    assert read_sem(path).image.shape == (ROWS - 16, COLUMNS)


@pytest.mark.skipif(
    importlib.util.find_spec('rsciio') is None, reason='RosettaSciIO is not installed'
)
def test_sizes_as_rosettasciio_has_them(tmp_path):
    from rsciio.tiff import file_reader

    without = ZEISS.replace('AP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = {}\r\n', '')
    for name, code, text in (
        ('fei', 34682, FEI),
        ('zeiss', 34118, ZEISS.format('5.000 nm')),
        ('screen', 34118, without),
    ):
        path = saved(tmp_path / f'{name}.tif', pixels(ROWS), tag(code, text), metadata=None)
        axis = file_reader(str(path))[0]['axes'][-1]
        theirs = vendors.metres(str(axis['scale']), axis['units'])
        assert read_sem(path).pixel_size == pytest.approx(theirs, rel=1e-3), name


def test_a_data_bar_that_is_told_but_not_there_is_picture(tmp_path):
    path = saved(tmp_path / 'a.tif', smooth(ROWS + BAR), tag(50431, TESCAN))
    assert read_sem(path).image.shape == (ROWS + BAR, COLUMNS)
    image = smooth(ROWS + BAR)
    image[ROWS:] = 20
    image[ROWS + 4 : -4, 8:100:3] = 255
    path = saved(tmp_path / 'b.tif', image, tag(50431, TESCAN))
    assert read_sem(path).image.shape == (ROWS, COLUMNS)


def test_a_text_file_is_not_believed_of_an_image_that_was_resampled(tmp_path):
    (tmp_path / 'a.hdr').write_text(TESCAN)
    half = dict(imagej=True, metadata={'unit': 'nm'})
    path = saved(tmp_path / 'a.tif', pixels(60)[:, :64], resolution=(0.4, 0.4), **half)
    image = read_sem(path)
    assert image.pixel_size == pytest.approx(2.5e-9) and image.image.shape == (60, 64)
    path = saved(tmp_path / 'a.tif', pixels(), resolution=(0.8, 0.8), **half)
    assert (image := read_sem(path)).vendor == 'TESCAN' and image.image.shape == (ROWS, COLUMNS)


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'shift-jis'])
def test_hitachi_in_any_encoding_and_with_commas(tmp_path, encoding):
    path = saved(tmp_path / 'a.tif', pixels(ROWS))
    text = HITACHI.replace('SampleName=x', 'SampleName=\u8a66\u6599').replace('24.8', '24,8')
    (tmp_path / 'a.txt').write_bytes(text.encode(encoding))
    image = read_sem(path)
    assert image.vendor == 'Hitachi' and image.pixel_size == pytest.approx(24.8e-9)


@pytest.mark.parametrize(
    ('unit', 'resolution', 'size'),
    [
        ('inch', 72, None),
        ('cm', 28.35, None),
        ('cm', 2e6, 5e-9),
        ('\u03bcm', 40, 25e-9),
        ('\\u00B5m', 40, 25e-9),
        ('nanometers', 0.5, 2e-9),
        ('micrometre', 40, 25e-9),
        ('pixel', 1, None),
    ],
)
def test_units_of_imagej(tmp_path, unit, resolution, size):
    text = f'ImageJ=1.54f\nunit={unit}\n'.encode()
    tifffile.imwrite(
        tmp_path / 'a.tif',
        pixels(ROWS),
        resolution=(resolution, resolution),
        resolutionunit='NONE',
        metadata=None,
        extratags=[(270, 's', 0, text, True)],
    )
    found = read_sem(tmp_path / 'a.tif').pixel_size
    assert found == (size if size is None else pytest.approx(size, rel=1e-4))


def ome_series(path: Path, *sizes: tuple[int, int, float]) -> Path:
    with tifffile.TiffWriter(path) as writer:
        for height, width, size in sizes:
            told = {'axes': 'YX', 'PhysicalSizeX': size, 'PhysicalSizeXUnit': 'nm'}
            writer.write(pixels(height)[:, :width], metadata=told)
    return path


def test_every_image_of_an_ome_file_has_its_own_pixel_size(tmp_path):
    path = ome_series(tmp_path / 'a.ome.tif', (100, 128, 5), (70, 64, 50), (70, 64, 70))
    found = [read_sem(path, page=page).pixel_size for page in range(3)]
    assert found == [pytest.approx(size) for size in (5e-9, 50e-9, 70e-9)]


def test_ome_units_in_any_spelling_and_images_that_were_resampled(tmp_path):
    path = ome_series(tmp_path / 'a.ome.tif', (100, 128, 5))
    text = tifffile.TiffFile(path).pages[0].description
    for name, change, size in (
        ('entity', ('"nm"', '"&#181;m"'), 5e-6),
        ('greek', ('"nm"', '"\u03bcm"'), 5e-6),
        ('resampled', ('SizeX="128"', 'SizeX="256"'), None),
        ('cut', ('</OME>', ''), 5e-9),
    ):
        changed = text.replace(*change).encode()
        saved(tmp_path / 'b.tif', pixels(100), description=changed, metadata=None)
        found = read_sem(tmp_path / 'b.tif').pixel_size
        assert found == (size if size is None else pytest.approx(size)), name


@pytest.mark.parametrize('planar', ['contig', 'separate'])
def test_detectors_side_by_side_are_refused_and_transparency_is_not(tmp_path, planar):
    two = np.random.default_rng(0).integers(1, 255, (60, 64, 2)).astype(np.uint8)
    stored = two if planar == 'contig' else np.ascontiguousarray(np.moveaxis(two, -1, 0))
    layout = dict(photometric='minisblack', planarconfig=planar, metadata=None)
    path = saved(tmp_path / 'a.tif', stored, extrasamples=['unspecified'], **layout)
    with pytest.raises(SEMImageError, match='a.tif.* 2 channels side by side'):
        read_sem(path)
    path = saved(tmp_path / 'b.tif', stored, extrasamples=['unassalpha'], **layout)
    np.testing.assert_array_equal(read_sem(path).image, two[..., 0])
    two[..., 1] = 255  # transparency of a program that does not say so
    stored = two if planar == 'contig' else np.ascontiguousarray(np.moveaxis(two, -1, 0))
    path = saved(tmp_path / 'c.tif', stored, extrasamples=['unspecified'], **layout)
    np.testing.assert_array_equal(read_sem(path).image, two[..., 0])


def test_a_palette_whose_entries_are_of_8_bits(tmp_path):
    grey = np.repeat(np.arange(256, dtype=np.uint16)[None], 3, 0)
    path = saved(tmp_path / 'a.tif', pixels(ROWS), photometric='palette', colormap=grey)
    np.testing.assert_array_equal(read_sem(path).image, pixels(ROWS))


def test_stacks_behind_one_directory_are_restored_whole(tmp_path):
    data = np.random.default_rng(0).integers(1, 255, (5, 40, 48)).astype(np.uint8)
    path = tmp_path / 'a.tif'
    tifffile.imwrite(path, data, truncate=True, photometric='minisblack')
    assert len(tifffile.TiffFile(path).pages) == 1
    Negative().restore_file(path, tmp_path / 'b.tif')
    np.testing.assert_array_equal(tifffile.imread(tmp_path / 'b.tif'), 255 - data)
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(SEMImageError, match='truncated: 5 pictures'):
        Negative().restore_file(path, tmp_path / 'c.tif')


@pytest.mark.parametrize('blank', [0, 2])
def test_a_blank_page_stays_and_the_others_are_restored(tmp_path, blank):
    """Also where it is the first, which has no say in where the data bar is."""
    data = np.stack([with_bar(80, 16, 96) for _ in range(4)])
    data[blank] = 0
    tifffile.imwrite(tmp_path / 'a.tif', data, photometric='minisblack')
    with pytest.warns(UserWarning, match=f'of its 4 pages 1 hold one value.*: {blank + 1}$'):
        Negative().restore_file(tmp_path / 'a.tif', tmp_path / 'b.tif')
    written = tifffile.imread(tmp_path / 'b.tif')
    whole = [page for page in range(4) if page != blank]
    np.testing.assert_array_equal(written[whole, :80], 255 - data[whole, :80])
    np.testing.assert_array_equal(written[whole, 80:], data[whole, 80:])


def test_a_stack_of_blank_pages_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / 'a.tif', np.zeros((3, 40, 48), np.uint8), photometric='minisblack')
    with pytest.raises(SEMImageError, match='a.tif: the picture is black, or of one value, on ev'):
        Negative().restore_file(tmp_path / 'a.tif', tmp_path / 'b.tif')
    assert not (tmp_path / 'b.tif').exists()


def test_a_text_file_of_two_images_is_copied_once(tmp_path):
    """Hitachi writes a BMP and a TIFF, and one text for both."""
    session = tmp_path / 'session'
    session.mkdir()
    saved(session / 'a.tif', pixels(ROWS))
    Image.fromarray(pixels(ROWS)).save(session / 'a.bmp')
    (session / 'a.txt').write_text(HITACHI)
    report = Negative().restore_folder(session, tmp_path / 'out')
    assert not report.failed
    names = sorted(path.name for path in (tmp_path / 'out').iterdir())
    assert names == ['a.bmp', 'a.tif', 'a.txt']
    (tmp_path / 'out/a.txt').write_text('of something else')
    (tmp_path / 'out/a.tif').unlink()
    report = Negative().restore_folder(session, tmp_path / 'out')
    assert 'a.txt: exists already' in report.failed[session / 'a.tif']


def test_a_jpeg_that_viewers_turn_becomes_a_tiff_that_they_turn(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(pixels(ROWS)).save(tmp_path / 'a.jpg', exif=exif, quality=95)
    Negative().restore_file(tmp_path / 'a.jpg', tmp_path / 'b.tif')
    assert tifffile.TiffFile(tmp_path / 'b.tif').pages[0].tags[274].value == 6
    assert tifffile.imread(tmp_path / 'b.tif').shape == (ROWS, COLUMNS)


def test_a_few_pixels_do_not_take_all_levels(tmp_path):
    """Of what is left of 24 bits, the picture would be three grey levels."""
    image = np.random.default_rng(0).normal(100, 20, (60, 64)).astype(np.float32)
    image[7, 9] = 1e5
    path = saved(tmp_path / 'a.tif', image)
    read = read_sem(path, data_range='measured')
    np.testing.assert_allclose(read.unit * (1e5 - read.black) + read.black, image, atol=0.05)
    for value in (1e9, -3.4e38):
        image[7, 9] = value
        path = saved(tmp_path / 'b.tif', image)
        with pytest.raises(SEMImageError, match='b.tif: its pixels lie between.*far outside of'):
            read_sem(path, data_range='measured')
    sparse = np.zeros((60, 64), np.float32)
    sparse[3, 4] = 1e9  # all there is to see
    assert read_sem(saved(tmp_path / 'c.tif', sparse), data_range='measured').data_range == 1e9


@pytest.mark.parametrize('first', [0, 1])
def test_every_page_has_its_own_data_bar(tmp_path, first):
    """Snapshots of a session in one file: some with a bar, some without."""
    data = np.stack([with_bar(80, 16, 96), picture(96, 96)][:: 1 - 2 * first] * 2)
    tifffile.imwrite(tmp_path / 'a.tif', data, photometric='minisblack')
    Negative().restore_file(tmp_path / 'a.tif', tmp_path / 'b.tif')
    written = tifffile.imread(tmp_path / 'b.tif')
    np.testing.assert_array_equal(written[1 - first :: 2], 255 - data[1 - first :: 2])
    np.testing.assert_array_equal(written[first::2, :80], 255 - data[first::2, :80])
    np.testing.assert_array_equal(written[first::2, 80:], data[first::2, 80:])


def test_a_colour_that_stands_for_all_is_said(tmp_path):
    colours = np.random.default_rng(0).integers(1, 255, (60, 64, 3)).astype(np.uint8)
    path, restorer, told = saved(tmp_path / 'a.tif', colours, photometric='rgb'), Negative(), []
    restorer.tell = told.append
    restorer.restore_file(path, tmp_path / 'b.tif', channel=1)
    assert any('channel 1 is taken, and stands for all' in line for line in told)
    told.clear()
    grey = np.repeat(colours[..., :1], 3, 2)
    restorer.restore_file(saved(tmp_path / 'c.tif', grey, photometric='rgb'), tmp_path / 'd.tif')
    assert not any('channel' in line for line in told)


def test_small_pictures_that_show_something_else_stay(tmp_path):
    """Some programs mark an overview of the chamber as a small copy; true copies are made anew."""
    data, overview = smooth(120), smooth(200)[-60:, ::2].copy()
    with tifffile.TiffWriter(tmp_path / 'a.tif') as writer:
        writer.write(data, metadata=None)
        writer.write(overview, subfiletype=1, metadata=None)
        writer.write(data[::2, ::2], subfiletype=1, metadata=None)
    Negative().restore_file(tmp_path / 'a.tif', tmp_path / 'b.tif')
    written = [page.asarray() for page in tifffile.TiffFile(tmp_path / 'b.tif').pages]
    np.testing.assert_array_equal(written[0], 255 - data)
    np.testing.assert_array_equal(written[1], overview)
    assert np.abs(written[2] - (255.0 - data[::2, ::2])).mean() < 15


@pytest.mark.parametrize('step', [1, 2])
def test_pictures_below_others_are_refused(tmp_path, step):
    """A thumbnail first and the picture below it, or a second detector below the first."""
    data = smooth(120)
    with tifffile.TiffWriter(tmp_path / 'a.tif') as writer:
        kind = int(step > 1)
        writer.write(data[::step, ::step], subfiletype=kind, subifds=1, metadata=None)
        writer.write(255 - data, subfiletype=0, metadata=None)
    with pytest.raises(SEMImageError, match=r'a.tif.*pictures lie below others in it \(SubIFDs\)'):
        Negative().restore_file(tmp_path / 'a.tif', tmp_path / 'b.tif')
