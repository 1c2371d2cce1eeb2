"""Formats of RosettaSciIO; files are written by it, or by hand where it only reads."""

from __future__ import annotations

import importlib.util
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from mmclarity.restoration.io import files
from mmclarity.restoration.io.foreign import SUFFIXES
from mmclarity.restoration.io.micrograph import READABLE, SEMImageError, read_sem, write_sem
from mmclarity.restoration.io.stack import open_stack
from tests.restoration.inference.test_files import Negative

needs_rosetta = pytest.mark.skipif(
    importlib.util.find_spec('rsciio') is None, reason='RosettaSciIO is not installed'
)


def scan(*shape: int, dtype: str = 'uint16') -> np.ndarray:
    return np.random.default_rng(0).integers(1, 30000, shape).astype(dtype)


def signal(data: np.ndarray, scale: float = 2.5, units: str = 'nm', navigate: int = 0) -> dict:
    """A signal as RosettaSciIO has it."""
    names = ['z', 'y', 'x'][-data.ndim :]
    return dict(
        data=data,
        axes=[
            dict(
                size=size,
                index_in_array=i,
                name=name,
                scale=scale,
                offset=0.0,
                units=units,
                navigate=i < navigate,
            )
            for i, (size, name) in enumerate(zip(data.shape, names))
        ],
        metadata=dict(General=dict(title='test'), Signal=dict(signal_type='')),
        original_metadata={},
        tmp_parameters={},
        package_info=dict(package='test', package_version='1'),
        attributes=dict(_lazy=False),
        learning_results={},
        models={},
    )


def write(path: Path, *arguments: object, **options: object) -> Path:
    name = {'.hspy': 'hspy', '.emd': 'emd', '.unf': 'semper'}[path.suffix]
    module = importlib.import_module(f'rsciio.{name}')
    module.file_writer(str(path), signal(*arguments, **options))
    return path


def write_dm3(path: Path, image: np.ndarray, scale: float, units: str) -> Path:
    """A minimal Gatan DigitalMicrograph 3 file: groups of tags, values little-endian."""

    def group(**entries: bytes | tuple) -> bytes:
        body = b''.join(entry(name, value) for name, value in entries.items())
        return struct.pack('>BBi', 0, 0, len(entries)) + body

    def entry(name: str, value: bytes | tuple) -> bytes:
        label = b'' if name.startswith('_') else name.replace('__', ' ').encode()
        kind = 20 if isinstance(value, bytes) else 21
        return (
            struct.pack('>BH', kind, len(label)) + label + (value if kind == 20 else data(*value))
        )

    def data(code: int, value: object) -> bytes:
        if code == 20:  # an array
            code_of, array = value
            info = struct.pack('>iii', 20, code_of, array.size)
            return b'%%%%' + struct.pack('>i', 3) + info + array.tobytes()
        form = {3: '<i', 5: '<I', 6: '<f', 8: '<B'}[code]
        return b'%%%%' + struct.pack('>ii', 1, code) + struct.pack(form, value)

    def text(value: str) -> tuple:
        return 20, (4, np.frombuffer(value.encode('utf-16-le'), '<u2'))

    calibration = group(Origin=(6, 0.0), Scale=(6, scale), Units=text(units))
    image_data = group(
        Calibrations=group(
            Brightness=group(Origin=(6, 0.0), Scale=(6, 1.0), Units=text('')),
            Dimension=group(_0=calibration, _1=calibration),
        ),
        Data=(20, (2, image.astype('<i2'))),
        DataType=(5, 1),
        Dimensions=group(_0=(5, image.shape[1]), _1=(5, image.shape[0])),
        PixelDepth=(5, 2),
    )
    listed = group(ImageData=image_data, ImageTags=group(x=(5, 1)), Name=text('a'))
    root = group(ImageList=group(_0=listed))
    path.write_bytes(struct.pack('>iii', 3, len(root), 1) + root + bytes(8))
    return path


@needs_rosetta
@pytest.mark.parametrize('suffix', ['.hspy', '.emd', '.unf'])
def test_pictures_become_tiff_with_calibration(tmp_path, suffix):
    image = scan(40, 56, dtype='int16' if suffix == '.unf' else 'uint16')
    path = write(tmp_path / f'a{suffix}', image)
    read = read_sem(path, data_range=40000 if suffix != '.unf' else 30000)
    np.testing.assert_array_equal(read.image, image)
    assert read.pixel_size == pytest.approx(2.5e-9)
    write_sem(tmp_path / 'b.tif', 1 - read.unit.astype(np.float64), read)
    written = tifffile.imread(tmp_path / 'b.tif')
    assert written.dtype == image.dtype
    np.testing.assert_array_equal(written, read.data_range - image)
    assert read_sem(tmp_path / 'b.tif', data_range='measured').pixel_size == pytest.approx(2.5e-9)


@needs_rosetta
def test_gatan(tmp_path):
    image = scan(36, 52, dtype='int16')
    path = write_dm3(tmp_path / 'a.dm3', image, 0.0125, 'µm')
    read = read_sem(path, data_range='measured')
    np.testing.assert_array_equal(read.image, image)
    assert read.pixel_size == pytest.approx(12.5e-9) and read.vendor == 'Gatan'
    written = Negative().restore_file(path, tmp_path / 'out.tif')
    low, high = int(image.min()), int(image.max())
    np.testing.assert_array_equal(tifffile.imread(written[0]), low + high - image)


@needs_rosetta
@pytest.mark.parametrize(
    ('dtype', 'written'), [('uint8', 'uint8'), ('int32', 'float32'), ('float64', 'float32')]
)
def test_series_keep_their_order(tmp_path, dtype, written):
    data = (scan(4, 30, 42) % 251).astype(dtype)
    path = write(tmp_path / 'a.hspy', data, navigate=1)
    with open_stack(path, data_range='measured') as stack:
        assert len(stack) == 4
        np.testing.assert_array_equal(stack[2].image, data[2])
    Negative().restore_file(path, tmp_path / 'b.tif')
    copy = tifffile.imread(tmp_path / 'b.tif')
    assert copy.dtype == written and copy.shape == data.shape
    flipped = data.max((1, 2), keepdims=True) + data.min((1, 2), keepdims=True) - data
    expected = 255 - data if dtype == 'uint8' else flipped
    np.testing.assert_allclose(copy, expected, atol=1e-3)


@needs_rosetta
def test_what_is_no_picture(tmp_path):
    spectrum = dict(signal(scan(64)), axes=[dict(signal(scan(64))['axes'][0], name='Energy')])
    importlib.import_module('rsciio.hspy').file_writer(str(tmp_path / 'a.hspy'), spectrum)
    with pytest.raises(SEMImageError, match='a.hspy: holds no image, only spectra'):
        read_sem(tmp_path / 'a.hspy')
    write(tmp_path / 'c.hspy', scan(20, 30) * (1 + 1j))
    with pytest.raises(SEMImageError, match='c.hspy: complex numbers'):
        read_sem(tmp_path / 'c.hspy')
    for name in ('cut.dm3', 'cut.emd', 'cut.ser', 'cut.hspy', 'cut.mrc', 'cut.bcf'):
        (tmp_path / name).write_bytes(b'nothing of the kind')
        with pytest.raises(SEMImageError, match=rf'{name}.*export it as TIFF'):
            read_sem(tmp_path / name)
    for name in ('empty.dm3', 'empty.emd'):
        (tmp_path / name).write_bytes(b'')
        with pytest.raises(SEMImageError, match=name):
            read_sem(tmp_path / name)


def test_without_the_library_the_remedy_is_named(tmp_path, monkeypatch):
    (tmp_path / 'a.dm4').write_bytes(b'x' * 99)
    for name in [name for name in sys.modules if name.split('.')[0] == 'rsciio']:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'rsciio', None)
    with pytest.raises(
        SEMImageError, match=r'a.dm4: Gatan files.*pip install "mmclarity\[formats\]"'
    ):
        read_sem(tmp_path / 'a.dm4')
    assert set(SUFFIXES) < set(READABLE)


def write_mrc(path: Path, image: np.ndarray, mode: int, **header: int | float) -> Path:
    """A file after MRC2014; by default without a word on signs, 20 angstroms a pixel."""
    told = dict(columns=image.shape[1], stamp=0, flags=0, greatest=0.0, width=20.0 * image.shape[1])
    told.update(header)
    data = bytearray(1024)
    struct.pack_into('<4i', data, 0, image.shape[1], image.shape[0], 1, mode)
    struct.pack_into('<3i', data, 28, told['columns'], image.shape[0], 1)
    struct.pack_into('<3f', data, 40, told['width'], 20.0 * image.shape[0], 20.0)
    struct.pack_into('<3i', data, 64, 1, 2, 3)
    struct.pack_into('<2f', data, 76, 0.0, told['greatest'])
    struct.pack_into('<i', data, 108, 20140)
    struct.pack_into('<2i', data, 152, told['stamp'], told['flags'])
    data[208:216] = b'MAP \x44\x44\0\0'
    path.write_bytes(bytes(data) + image.tobytes())
    return path


IMOD = 1146047817


@needs_rosetta
@pytest.mark.parametrize(
    ('header', 'signed'),
    [
        ({}, True),
        (dict(stamp=IMOD, flags=1), True),
        (dict(stamp=IMOD, flags=0), False),
        (dict(greatest=201.0), False),
    ],
)
def test_bytes_of_mrc_have_a_sign_or_not(tmp_path, header, signed):
    image = np.random.default_rng(0).normal(0, 30, (40, 50)).clip(-127, 127).astype(np.int8)
    read = read_sem(write_mrc(tmp_path / 'a.mrc', image, 0, **header), data_range='measured')
    np.testing.assert_array_equal(read.image, image if signed else image.view(np.uint8))
    assert read.pixel_size == pytest.approx(2e-9)


@needs_rosetta
def test_sizes_that_nobody_has_set_in_mrc(tmp_path):
    image = scan(40, 50, dtype='int16')
    for header in (dict(width=50.0), dict(width=0.0), dict(columns=0)):
        path = write_mrc(tmp_path / 'a.mrc', image, 1, **header)
        assert read_sem(path, data_range='measured').pixel_size is None, header


@needs_rosetta
@pytest.mark.parametrize(
    ('names', 'units'),
    [
        (('x', 'Energy loss'), ('nm', 'eV')),
        (('x', ''), ('nm', 'keV')),
        (('y', 'x'), ('1/nm', '1/nm')),
        (('y', 'x'), ('nm^-1', 'nm^-1')),
        (('ky', 'kx'), ('', '')),
        (('y', 'x'), ('mrad', 'mrad')),
        (('y', 'Wavelength'), ('nm', 'nm')),
    ],
)
def test_lines_of_spectra_and_patterns_are_no_pictures(tmp_path, names, units):
    told = signal(scan(40, 56))
    told['axes'] = [
        dict(axis, name=name, units=unit) for axis, name, unit in zip(told['axes'], names, units)
    ]
    importlib.import_module('rsciio.hspy').file_writer(str(tmp_path / 'a.hspy'), told)
    with pytest.raises(SEMImageError, match='holds no image, only spectra or diffraction'):
        read_sem(tmp_path / 'a.hspy')


@needs_rosetta
def test_pixels_that_are_not_square_and_ones_too_fine_for_tiff(tmp_path):
    told = signal(scan(40, 56))
    told['axes'][0]['scale'] = 5.0
    importlib.import_module('rsciio.hspy').file_writer(str(tmp_path / 'a.hspy'), told)
    Negative().restore_file(tmp_path / 'a.hspy', tmp_path / 'a.tif')
    tags = tifffile.TiffFile(tmp_path / 'a.tif').pages[0].tags
    across, down = (tags[name].value for name in ('XResolution', 'YResolution'))
    assert 0.01 * across[1] / across[0] == pytest.approx(2.5e-9)
    assert 0.01 * down[1] / down[0] == pytest.approx(5e-9)
    write(tmp_path / 'b.hspy', scan(40, 56), scale=1.5, units='pm')
    assert read_sem(tmp_path / 'b.hspy').pixel_size == pytest.approx(1.5e-12)
    Negative().restore_file(tmp_path / 'b.hspy', tmp_path / 'b.tif')
    assert read_sem(tmp_path / 'b.tif').pixel_size is None


@needs_rosetta
def test_what_is_too_large_for_tiff_is_written_as_bigtiff(tmp_path, monkeypatch):
    """Movies of several gigabytes: found out before the work, not at the page that is too much."""
    path = write(tmp_path / 'a.hspy', scan(4, 30, 42).astype('int32'), navigate=1)
    tifffile.imwrite(
        tmp_path / 'b.tif', (scan(4, 30, 42) % 251).astype(np.uint8), photometric='minisblack'
    )
    pixels = 4 * 30 * 42
    for most, large in ((4 * pixels, False), (4 * pixels - 1, True)):
        monkeypatch.setattr(files, '_MOST_OF_TIFF', most)
        written = Negative().restore_file(path, tmp_path / 'c.tif', True)
        # of a TIFF, which is a copy, the map beside it
        written += Negative().restore_file(tmp_path / 'b.tif', tmp_path / 'd.tif', True, True)[1:2]
        assert [tifffile.TiffFile(file).is_bigtiff for file in written] == [large, large]
        assert tifffile.imread(written[0]).shape == (4, 30, 42)
