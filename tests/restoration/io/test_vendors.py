"""Pixel size and data bar as the makers' files tell them; the files are made here."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from mmclarity.restoration.io import vendors
from mmclarity.restoration.io.micrograph import read_sem, write_sem
from mmclarity.restoration.io.sidecars import read_sidecar, sidecar_name

ROWS, COLUMNS, BAR = 96, 128, 24
JEOL_OLD = (
    '$CM_FORMAT JEOL/SEM\r\n$CM_VERSION 1.0\r\n$CM_INSTRUMENT 7600F\r\n$CM_MAG 30000\r\n'
    f'$CM_FULL_SIZE {COLUMNS} {ROWS}\r\n$$SM_MICRON_BAR 84\r\n$$SM_MICRON_MARKER 100nm\r\n'
)
JEOL_NEW = (
    f'$CM_FORMAT JEOL/SEM\r\n$CM_IMAGE_SIZE {COLUMNS} {ROWS}\r\n$SM_PNU_HEIGHT {BAR}\r\n'
    '$CM_FIELD_OF_VIEW 1.28µm 0.96µm\r\n$CM_PIXEL_SIZE 10.00nm 10.00nm\r\n'
    '$SM_MICRON_BAR 50\r\n$SM_MICRON_MARKER 500nm\r\n'
)
FIBICS = (
    '<?xml version="1.0" encoding="iso-8859-1"?>\r\n<Fibics version="1.0"><Application>'
    '<Version>NPVE v4.5</Version></Application>'
    f'<Image><Width>{COLUMNS}</Width><Height>{ROWS}</Height>'
    '<OriginalWidth>0</OriginalWidth></Image><Scan><Dwell units="ns">10000</Dwell>'
    '<FOV_X units="um">0.64</FOV_X><FOV_Y units="um">0.48</FOV_Y></Scan></Fibics>\r\n\0'
)
HITACHI = (
    '[SemImageFile]\r\nInstructName=S-4800\r\nSampleName=x\r\nFormat=tif\r\n'
    f'DataSize={COLUMNS}x{ROWS}\r\nPixelSize=24.8\r\nMagnification=4000\r\n'
)
TESCAN = (
    '[MAIN]\r\nDate=2020-01-01\r\nDevice=MIRA3\r\nImageStripSize=24\r\n'
    'Magnification=90000\r\nPixelSizeX=1.25e-09\r\nPixelSizeY=1.25e-09\r\n\r\n[SEM]\r\nHV=5000\r\n'
)


def pixels(height: int = ROWS + BAR, dtype: str = 'uint8') -> np.ndarray:
    """Noise, and where there is a bar, something that no detector takes for one."""
    top = np.iinfo(dtype).max
    return np.random.default_rng(0).integers(1, top, (height, COLUMNS)).astype(dtype)


def saved(path: Path, image: np.ndarray, tags: list | None = None, **options: object) -> Path:
    tifffile.imwrite(path, image, extratags=tags or [], **options)
    return path


def described(path: Path) -> tuple[str | None, tuple[int, int], float]:
    image = read_sem(path)
    return image.vendor, image.image.shape, image.pixel_size


def test_tescan_of_16_bits_with_a_bar_of_120_rows(tmp_path):
    text = b'\x02\0\0\0\x9c\x03TESCAN\0' + TESCAN.replace('=24', '=120').encode()
    image = pixels(360 + 120, 'uint16')
    path = saved(tmp_path / 'a.tif', image, [(50431, 'B', len(text), text, True)])
    read = read_sem(path)
    assert (read.vendor, read.image.shape, read.cropped_by) == ('TESCAN', (360, 128), 'metadata')
    assert read.pixel_size == pytest.approx(1.25e-9)
    write_sem(tmp_path / 'b.tif', np.full((360, 128), 0.5), read)
    written = tifffile.imread(tmp_path / 'b.tif')
    np.testing.assert_array_equal(written[360:], image[360:])
    assert (written[:360] == 32768).all()


@pytest.mark.parametrize('name', ['a-tif.hdr', 'a.hdr'])
def test_tescan_with_a_text_file_beside_the_image(tmp_path, name):
    path = saved(tmp_path / 'a.tif', pixels())
    (tmp_path / name).write_text(TESCAN)
    assert described(path) == ('TESCAN', (ROWS, COLUMNS), pytest.approx(1.25e-9))
    assert read_sem(path).sidecar == tmp_path / name


@pytest.mark.parametrize(
    ('text', 'size'), [(JEOL_OLD, 100e-9 / 84), (JEOL_NEW, 10e-9)], ids=['old', 'new']
)
@pytest.mark.parametrize('encoding', ['utf-8', 'latin-1', 'utf-16'])
def test_jeol_with_a_text_file_beside_the_image(tmp_path, text, size, encoding):
    path = saved(tmp_path / 'a.tif', pixels())
    (tmp_path / 'a.txt').write_bytes(text.encode(encoding))
    assert described(path) == ('JEOL', (ROWS, COLUMNS), pytest.approx(size))


def test_jeol_without_its_bar(tmp_path):
    path = saved(tmp_path / 'a.tif', pixels(ROWS))
    (tmp_path / 'a.txt').write_text(JEOL_NEW)
    assert described(path) == ('JEOL', (ROWS, COLUMNS), pytest.approx(10e-9))


def test_jeol_in_the_maker_note(tmp_path):
    note = b'JEOL\0\0\x01\0' + JEOL_NEW.encode('latin-1')
    inside = saved(tmp_path / 'a.tif', pixels(), [(37500, 7, len(note), note, True)])
    assert described(inside) == ('JEOL', (ROWS, COLUMNS), pytest.approx(10e-9))
    # in the EXIF directory of a TIFF, whose tag tifffile does not write: another one is renamed
    path = saved(tmp_path / 'exif.tif', pixels(), [(65000, 4, 1, 8, True)])
    with tifffile.TiffFile(path) as tiff:
        entry = tiff.pages[0].tags[65000].offset
    with path.open('r+b') as file:
        at = file.seek(0, 2)
        file.write(struct.pack('<HHHII', 1, 37500, 7, len(note), at + 18) + bytes(4) + note)
        file.seek(entry)
        file.write(struct.pack('<HHII', 34665, 4, 1, at))
    assert Image.open(path).getexif().get_ifd(34665)[37500] == note
    assert described(path) == ('JEOL', (ROWS, COLUMNS), pytest.approx(10e-9))
    # and in that of a JPEG, as Pillow writes it
    image, exif = Image.fromarray(pixels()), Image.Exif()
    exif.get_ifd(0x8769)[37500] = note
    image.save(tmp_path / 'exif.jpg', exif=exif)
    assert described(tmp_path / 'exif.jpg') == ('JEOL', (ROWS, COLUMNS), pytest.approx(10e-9))


def test_hitachi_with_a_text_file_beside_the_image(tmp_path):
    path = saved(tmp_path / 'a.tif', pixels(ROWS))
    (tmp_path / 'a.txt').write_text(HITACHI)
    assert described(path) == ('Hitachi', (ROWS, COLUMNS), pytest.approx(24.8e-9))


def test_text_files_of_something_else_tell_nothing(tmp_path):
    path = saved(tmp_path / 'a.tif', pixels(ROWS))
    for text in ('shopping list', '', JEOL_NEW.replace(str(COLUMNS), '512'), '\xff\xfe\x00'):
        (tmp_path / 'a.txt').write_bytes(text.encode('latin-1'))
        assert described(path) == (None, (ROWS, COLUMNS), None)
        assert read_sem(path).sidecar is None
    assert read_sidecar(b'\xff\xfe\x00\xd8').vendor is None


def test_copies_of_text_files_are_named_as_the_copy(tmp_path):
    image, copy = tmp_path / 'a.tif', tmp_path / 'b_restored.tif'
    for name, wanted in [
        ('a.txt', 'b_restored.txt'),
        ('a.TXT', 'b_restored.TXT'),
        ('a.hdr', 'b_restored.hdr'),
        ('a-tif.hdr', 'b_restored-tif.hdr'),
    ]:
        assert sidecar_name(tmp_path / name, image, copy) == tmp_path / wanted


@pytest.mark.parametrize(
    ('xml', 'size'),
    [
        (FIBICS, 5e-9),
        (FIBICS.replace('units="um">0.64', 'units="nm">640'), 5e-9),
        (FIBICS.replace('<FOV_X units="um">0.64</FOV_X>', '<Ux>3e-3</Ux><Uy>-4e-3</Uy>'), 5e-9),
        (FIBICS.replace('</Image>', '</Broken>'), None),
        (FIBICS.replace('0.64', 'wide'), None),
    ],
)
def test_fibics_atlas(tmp_path, xml, size):
    tag = (51023, 2, len(xml), xml, True)
    path = saved(tmp_path / 'a.tif', pixels(ROWS), [tag])
    assert described(path) == (
        'Fibics',
        (ROWS, COLUMNS),
        size if size is None else pytest.approx(size),
    )


def test_openfibsem(tmp_path):
    told = dict(
        image=dict(resolution=[128, 96], hfw=1.5e-4, dwell_time=1e-6),
        version='v3',
        pixel_size=dict(x=9.765625e-08, y=9.765625e-08),
        microscope_state=dict(timestamp=1.0),
    )
    path = saved(tmp_path / 'a.tif', pixels(ROWS), description=json.dumps(told), metadata=None)
    assert described(path) == ('OpenFIBSEM', (ROWS, COLUMNS), pytest.approx(9.765625e-08))
    for text in ('{"shape": [96, 128]}', '{"pixel_size": 5}', '{broken', '[1]'):
        assert vendors.parse_fibsem(text).pixel_size is None


def test_phenom(tmp_path):
    xml = (
        '<?xml version="1.0"?><FeiImage><databarHeight>24</databarHeight>'
        '<pixelWidth unit="um">0.0125</pixelWidth></FeiImage>'
    )
    path = saved(tmp_path / 'a.tif', pixels(), [(34683, 2, len(xml), xml, True)])
    assert described(path) == ('Phenom', (ROWS, COLUMNS), pytest.approx(12.5e-9))
    Image.fromarray(pixels()).save(tmp_path / 'a.jpg')
    with (tmp_path / 'a.jpg').open('ab') as file:
        file.write(xml.encode())
    assert described(tmp_path / 'a.jpg') == ('Phenom', (ROWS, COLUMNS), pytest.approx(12.5e-9))


@pytest.mark.parametrize(
    ('unit', 'resolution', 'size'),
    [
        ('um', 40, 25e-9),
        (r'\u00B5m', 40, 25e-9),
        ('micron', 40, 25e-9),
        ('nm', 0.5, 2e-9),
        (r'\u00C5', 0.1, 1e-10 * 10),
        ('furlong', 3, None),
    ],
)
def test_imagej(tmp_path, unit, resolution, size):
    tifffile.imwrite(
        tmp_path / 'a.tif',
        pixels(ROWS),
        imagej=True,
        resolution=(resolution, resolution),
        metadata={'unit': unit},
    )
    assert described(tmp_path / 'a.tif') == (
        'ImageJ',
        (ROWS, COLUMNS),
        size if size is None else pytest.approx(size, rel=1e-6),
    )


def test_resolution_of_a_plain_tiff_counts_where_no_print_is_as_fine(tmp_path):
    for name, per, unit, size in [
        ('fine', 2e6, 'CENTIMETER', 5e-9),
        ('print', 300, 'INCH', None),
        ('press', 2400, 'INCH', None),
        ('none', 2e6, 'NONE', None),
    ]:
        path = saved(
            tmp_path / f'{name}.tif', pixels(ROWS), resolution=(per, per), resolutionunit=unit
        )
        found = read_sem(path).pixel_size
        assert found == (size if size is None else pytest.approx(size))


def test_numbers_that_make_no_sense_are_none():
    assert vendors.parse_jeol('$CM_PIXEL_SIZE 0nm\n$CM_MAG 3').pixel_size is None
    assert vendors.parse_jeol('$CM_FIELD_OF_VIEW 1um 1um').pixel_size is None  # of which width?
    assert vendors.parse_jeol('nothing').vendor is None
    assert vendors.parse_hitachi('[SemImageFile]\nPixelSize=-3').pixel_size is None
    assert vendors.parse_imagej('ImageJ=1.53\nunit=um', None).pixel_size is None
    assert vendors.metres('inf', 'nm') is None and vendors.metres('3', '') is None
