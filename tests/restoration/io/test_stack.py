"""Stacks: the same kind of file comes back, and memory does not grow with the number of pages."""

from __future__ import annotations

import os
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from mmclarity.restoration.io.files import SEMImageError
from mmclarity.restoration.io.micrograph import read_sem, write_sem
from mmclarity.restoration.io.stack import open_stack, rewriting_stack
from mmclarity.restoration.io.tiff_write import name_itself


def scans(*shape: int, dtype: str = 'uint8') -> np.ndarray:
    return np.random.default_rng(3).integers(1, np.iinfo(dtype).max, shape).astype(dtype)


def inverted(source: Path, target: Path, order: int = 1, **reading: object) -> list:
    """Writes a copy whose pictures are negatives; returns the images that were read."""
    seen = []
    with open_stack(source, **reading) as stack, rewriting_stack(target, source) as put:
        for index in range(len(stack))[::order]:
            image = stack[index]
            seen.append(image)
            put(1 - image.unit.astype(np.float64), image)
    return seen


HYPERSTACK = dict(axes='TZCYX', unit='um', spacing=0.3, fps=2.5, Labels=list('abcdefghijkl'))
KINDS = {
    'plain': dict(),
    'ImageJ': dict(
        imagej=True,
        resolution=(40, 40),
        metadata={**HYPERSTACK, 'Info': 'ETD 10 kV', 'Ranges': (0.0, 200.0) * 3},
    ),
    'ImageJ of one directory': dict(imagej=True, resolution=(40, 40), metadata=HYPERSTACK),
    'OME': dict(
        ome=True,
        metadata=dict(
            axes='TZCYX',
            PhysicalSizeX=25.0,
            PhysicalSizeXUnit='nm',
            PhysicalSizeY=25.0,
            PhysicalSizeYUnit='nm',
            TimeIncrement=0.4,
            Channel=dict(Name=['SE', 'BSE', 'STEM']),
        ),
    ),
    'OME, tiles, deflate': dict(
        ome=True, tile=(16, 32), compression='zlib', metadata=dict(axes='TZCYX')
    ),
    'ImageJ, LZW': dict(imagej=True, compression='lzw', metadata=HYPERSTACK),
    'BigTIFF': dict(bigtiff=True, compression='zlib', predictor=True),
}


@pytest.mark.parametrize('dtype', ['uint8', 'uint16'])
@pytest.mark.parametrize('kind', KINDS)
def test_readers_see_the_same_axes_and_pixel_size(tmp_path, kind, dtype):
    options = KINDS[kind]
    data = scans(2, 2, 3, 40, 56, dtype=dtype)
    source, target = tmp_path / 'a.tif', tmp_path / 'b.tif'
    tifffile.imwrite(source, data, photometric='minisblack', **options)
    if kind == 'ImageJ of one directory':  # as ImageJ writes stacks of more than 4 GB
        with tifffile.TiffFile(source) as tiff:
            after = tiff.pages[0].offset + 2 + 12 * len(tiff.pages[0].tags)
        with source.open('r+b') as file:
            file.seek(after)
            file.write(bytes(4))
        with tifffile.TiffFile(source) as tiff:
            assert len(tiff.pages) == 1 and tiff.series[0].shape == data.shape
    seen = inverted(source, target, order=-1)  # in any order
    assert len(seen) == 12 and [image.page for image in seen] == list(range(12))[::-1]
    assert seen[0].label == f'{source} (page 12 of 12)'
    top = np.iinfo(dtype).max
    with tifffile.TiffFile(source) as before, tifffile.TiffFile(target) as after:
        np.testing.assert_array_equal(after.asarray().reshape(data.shape), top - data)
        assert after.series[0].axes == before.series[0].axes
        assert after.series[0].shape == before.series[0].shape
        assert after.imagej_metadata == before.imagej_metadata
        assert after.ome_metadata == before.ome_metadata
        assert after.is_imagej == before.is_imagej and after.is_ome == before.is_ome
    with tifffile.TiffFile(source) as before, tifffile.TiffFile(target) as after:
        for one, other in zip(before.pages, after.pages):
            tags = {tag.code: tag.value for tag in one.tags if tag.code not in (273, 279, 324, 325)}
            assert tags == {code: other.tags[code].value for code in tags}
    size = 25e-9 if 'Physical' in str(options) or 'resolution' in options else None
    size = 1e-6 if kind == 'ImageJ, LZW' else size  # what that file says
    for image in seen:
        assert image.pixel_size == (size if size is None else pytest.approx(size, rel=1e-6))


def test_another_reader_sees_the_pages_in_their_order(tmp_path):
    frames = [Image.fromarray(page) for page in scans(5, 32, 48)]
    frames[0].save(
        tmp_path / 'a.tif', save_all=True, append_images=frames[1:], compression='tiff_lzw'
    )
    inverted(tmp_path / 'a.tif', tmp_path / 'b.tif')
    with Image.open(tmp_path / 'b.tif') as copy:
        assert copy.n_frames == 5
        for i, frame in enumerate(frames):
            copy.seek(i)
            np.testing.assert_array_equal(np.asarray(copy), 255 - np.asarray(frame))


def test_memory_does_not_grow_with_the_pages(tmp_path):
    page = scans(400, 500)
    peaks = {}
    for count in (3, 60):
        path = tmp_path / f'{count}.tif'
        with tifffile.TiffWriter(path) as writer:
            for _ in range(count):
                writer.write(page, contiguous=False)
        tracemalloc.start()
        with open_stack(path) as stack, rewriting_stack(tmp_path / 'out.tif', path, True) as put:
            for image in stack:
                put(image.unit, image)
        peaks[count] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[60] < peaks[3] + page.nbytes
    assert (tmp_path / 'out.tif').read_bytes() == (tmp_path / '60.tif').read_bytes()


def test_pages_of_different_sizes_and_types(tmp_path):
    pages = [scans(30, 40), scans(24, 64, dtype='uint16'), scans(30, 40)]
    with tifffile.TiffWriter(tmp_path / 'a.tif') as writer:
        for page in pages:
            writer.write(page, contiguous=False)
    inverted(tmp_path / 'a.tif', tmp_path / 'b.tif')
    with tifffile.TiffFile(tmp_path / 'b.tif') as copy:
        for page, before in zip(copy.pages, pages):
            np.testing.assert_array_equal(page.asarray(), np.iinfo(before.dtype).max - before)


def test_data_bar_of_the_first_page_counts_for_all(tmp_path):
    pages = scans(3, 72, 96)
    pages[0, 60:] = 0
    pages[0, 63:68, 5:40:3] = 255
    pages[1:, 60:] = 9  # no bar at sight: one value, no text
    tifffile.imwrite(tmp_path / 'a.tif', pages, photometric='minisblack')
    for image in inverted(tmp_path / 'a.tif', tmp_path / 'b.tif'):
        assert image.image.shape == (60, 96) and image.cropped_by == 'detection'
    written = tifffile.imread(tmp_path / 'b.tif')
    np.testing.assert_array_equal(written[:, 60:], pages[:, 60:])
    np.testing.assert_array_equal(written[:, :60], 255 - pages[:, :60])


def test_smaller_copies_follow_the_picture(tmp_path):
    """Thumbnails and pyramids, in directories of their own or below that of the picture."""
    page = np.kron(scans(16, 20), np.ones((4, 4), np.uint8))
    with tifffile.TiffWriter(tmp_path / 'a.tif') as writer:
        writer.write(page, subifds=1, contiguous=False, metadata=None)
        writer.write(page[::2, ::2], subfiletype=1, metadata=None)
        writer.write(page[::4, ::4], subfiletype=1, contiguous=False, metadata=None)
        colour = np.stack([page[::4, ::4]] * 3, -1)
        writer.write(colour, subfiletype=1, photometric='rgb', contiguous=False, metadata=None)
    with open_stack(tmp_path / 'a.tif') as stack:
        assert len(stack) == 1
    inverted(tmp_path / 'a.tif', tmp_path / 'b.tif')
    with tifffile.TiffFile(tmp_path / 'b.tif') as copy:
        np.testing.assert_array_equal(copy.pages[0].asarray(), 255 - page)
        np.testing.assert_array_equal(copy.pages[0].pages[0].asarray(), 255 - page[::2, ::2])
        np.testing.assert_array_equal(copy.pages[1].asarray(), 255 - page[::4, ::4])
        np.testing.assert_array_equal(copy.pages[2].asarray(), colour)  # of another type: as it was


def test_a_copy_of_an_ome_file_names_itself(tmp_path):
    """Otherwise readers that go by the name would show the pixels of the original."""
    name = 'a & b.ome.tif'
    tifffile.imwrite(tmp_path / 'plain.ome.tif', scans(3, 32, 40), metadata=dict(axes='ZYX'))
    with tifffile.TiffFile(tmp_path / 'plain.ome.tif') as tiff:
        xml = tiff.ome_metadata
    start = xml.index('<TiffData')
    told = '<TiffData IFD="0" PlaneCount="3"><UUID FileName="a &amp; b.ome.tif">urn:uuid:1</UUID>'
    xml = xml[:start] + told + '</TiffData>' + xml[xml.index('/>', start) + 2 :]
    xml = re.sub('UUID="urn:uuid:[^"]*"', 'UUID="urn:uuid:1"', xml)
    with tifffile.TiffWriter(tmp_path / name) as writer:
        for i, page in enumerate(scans(3, 32, 40)):
            writer.write(page, description=xml if i == 0 else None, metadata=None, contiguous=False)
    copy = tmp_path / 'longer_than_before <1>.ome.tif'
    inverted(tmp_path / name, copy)
    with tifffile.TiffFile(copy) as tiff:
        assert 'FileName="longer_than_before &lt;1>.ome.tif"' in tiff.ome_metadata
        assert tiff.series[0].axes == 'ZYX'
        np.testing.assert_array_equal(tiff.asarray(), 255 - scans(3, 32, 40))
    (tmp_path / 'other').mkdir()
    inverted(tmp_path / name, tmp_path / 'other' / name)
    with tifffile.TiffFile(tmp_path / 'other' / name) as tiff:
        assert tiff.ome_metadata == xml
    # Bytes that are no UTF-8, as of an archive that Windows has packed.
    strange = tmp_path / os.fsdecode(b'f\xfcr.ome.tif')
    inverted(tmp_path / name, strange)
    with tifffile.TiffFile(strange) as tiff:
        assert 'FileName="f\\udcfcr.ome.tif"' in tiff.ome_metadata
    # Renamed by hand: it is told by the identifier of the whole file.
    (tmp_path / name).rename(tmp_path / 'renamed.ome.tif')
    inverted(tmp_path / 'renamed.ome.tif', tmp_path / 'copy.ome.tif')
    with tifffile.TiffFile(tmp_path / 'copy.ome.tif') as tiff:
        assert 'FileName="copy.ome.tif"' in tiff.ome_metadata


def test_the_other_files_of_an_ome_set_keep_their_names(tmp_path):
    def part(i, file, identifier):
        return f'<TiffData IFD="{i}"><UUID FileName="{file}">{identifier}</UUID></TiffData>'

    tifffile.imwrite(tmp_path / 'plain.ome.tif', scans(2, 32, 40), metadata=dict(axes='ZYX'))
    with tifffile.TiffFile(tmp_path / 'plain.ome.tif') as tiff:
        xml = tiff.ome_metadata
    start, end = xml.index('<TiffData'), xml.index('/>', xml.index('<TiffData')) + 2
    told = part(0, 'mine.ome.tif', 'urn:uuid:1') + part(1, 'other.ome.tif', 'urn:uuid:2')
    xml = re.sub('UUID="urn:uuid:[^"]*"', 'UUID="urn:uuid:1"', xml[:start] + told + xml[end:])
    with tifffile.TiffWriter(tmp_path / 'a.ome.tif') as writer:
        for i, page in enumerate(scans(2, 32, 40)):
            writer.write(page, description=xml if i == 0 else None, metadata=None, contiguous=False)
    name_itself(tmp_path / 'a.ome.tif', 'new.ome.tif')
    with tifffile.TiffFile(tmp_path / 'a.ome.tif') as tiff:
        assert 'FileName="new.ome.tif">urn:uuid:1' in tiff.ome_metadata
        assert 'FileName="other.ome.tif">urn:uuid:2' in tiff.ome_metadata
    other = tmp_path / 'no.tif'
    other.write_bytes(b'no TIFF at all')
    name_itself(other, 'new.tif')
    assert other.read_bytes() == b'no TIFF at all'


def test_one_page_of_several(tmp_path):
    tifffile.imwrite(tmp_path / 'a.tif', scans(3, 20, 30), photometric='minisblack')
    with pytest.raises(SEMImageError, match=r'a.tif: 3 pages; choose one with page=0 to page=2'):
        read_sem(tmp_path / 'a.tif')
    with pytest.raises(SEMImageError, match='has no page 3; it has 3'):
        read_sem(tmp_path / 'a.tif', page=3)
    image = read_sem(tmp_path / 'a.tif', page=1)
    np.testing.assert_array_equal(image.image, scans(3, 20, 30)[1])
    write_sem(tmp_path / 'b.tif', 1 - image.unit.astype(np.float64), image)
    expected = scans(3, 20, 30)
    expected[1] = 255 - expected[1]
    np.testing.assert_array_equal(tifffile.imread(tmp_path / 'b.tif'), expected)
    with open_stack(tmp_path / 'a.tif') as stack, pytest.raises(IndexError, match='has 3'):
        stack[3]


def test_a_bad_page_is_named_and_nothing_is_left(tmp_path):
    pages = scans(3, 20, 30).astype(np.float32)
    pages[1, 2, 3] = np.nan
    tifffile.imwrite(tmp_path / 'a.tif', pages, photometric='minisblack')
    with pytest.raises(SEMImageError, match=r'row 2, column 3.*\(page 2 of 3\)'):
        inverted(tmp_path / 'a.tif', tmp_path / 'b.tif', data_range='measured')
    data = (tmp_path / 'a.tif').read_bytes()
    (tmp_path / 'cut.tif').write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(SEMImageError, match='cut.tif'):
        inverted(tmp_path / 'cut.tif', tmp_path / 'b.tif', data_range='measured')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a.tif', 'cut.tif']


def test_errors_of_the_work_are_not_taken_for_errors_of_the_file(tmp_path):
    tifffile.imwrite(tmp_path / 'a.tif', scans(3, 20, 30), photometric='minisblack')
    target, source = tmp_path / 'b.tif', tmp_path / 'a.tif'
    with pytest.raises(RuntimeError, match='^full$'), rewriting_stack(target, source):
        raise RuntimeError('full')
    assert [path.name for path in tmp_path.iterdir()] == ['a.tif']
