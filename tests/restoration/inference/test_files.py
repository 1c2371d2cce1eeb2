"""Files, stacks and folders through a stand-in of the restorer, so that no network runs."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from mmclarity.cli.adapt import default_weights
from mmclarity.errors import OutputError
from mmclarity.restoration.inference import files, targets
from mmclarity.restoration.inference.doubts import Doubts
from mmclarity.restoration.inference.restorer import Restorer
from mmclarity.restoration.io.micrograph import SEMImage, SEMImageError, read_sem


class Negative(Restorer):
    """Makes negatives; everything else is that of a restorer."""

    def __init__(self, general: bool = True) -> None:
        self.general, self.tell, self.said = general, None, []
        self.strength, self._said, self.trained_on = 1.0, set(), {}
        self.models = [None]

    def _warn(self, key: str, text: str) -> None:
        """Pictures of nothing but noise deserve warnings that matter to no test."""

    def __call__(self, image: SEMImage, data_range=None, progress=None) -> np.ndarray:
        """1 - image."""
        if self.tell is not None:
            self._prepare(image, None)
        if progress:
            progress(1, 2)
            progress(2, 2)
        return 1 - image.unit

    def with_doubts(self, image, data_range=None, progress=None) -> Doubts:
        """Doubt everywhere."""
        result = self(image, progress=progress)
        spread = np.full(result.shape, 0.25, np.float32)
        one, sure = np.array([[20.0, 20.0, 5.0, 0.1]]), np.ones(1, bool)
        return Doubts(result, result, spread, one, np.ones(1), sure)


def scans(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 255, shape).astype(np.uint8)


def test_a_stack_with_its_doubts(tmp_path):
    data = scans(3, 64, 72)
    tifffile.imwrite(
        tmp_path / 'a.tif', data, imagej=True, resolution=(40, 40), metadata=dict(unit='um')
    )
    told, heard = [], []
    restorer = Negative()
    restorer.tell = heard.append
    written = restorer.restore_file(
        tmp_path / 'a.tif', tmp_path / 'b.tif', False, True, lambda *done: told.append(done)
    )
    assert [path.name for path in written] == ['b.tif', 'b_uncertainty.tif', 'b_doubtful.tif']
    np.testing.assert_array_equal(tifffile.imread(written[0]), 255 - data)
    doubt = tifffile.imread(written[1])
    assert doubt.shape == (3, 64, 72) and (doubt == 0.25).all()
    assert tifffile.imread(written[2]).shape == (3, 64, 72, 3)
    assert read_sem(written[1], page=2, data_range=1).pixel_size == pytest.approx(25e-9)
    assert told == [(1, 6), (2, 6), (3, 6), (4, 6), (5, 6), (6, 6)]
    assert any('3 pages' in line for line in heard)
    assert sum('grey levels' in line for line in heard) == 1  # not once a page
    only = restorer.restore_file(tmp_path / 'a.tif', tmp_path / 'c.tif', page=1)
    expected = data.copy()
    expected[1] = 255 - data[1]
    np.testing.assert_array_equal(tifffile.imread(only[0]), expected)


def test_a_long_stack_in_constant_memory(tmp_path):
    peaks = {}
    page = scans(300, 400)
    for count in (3, 30):
        with tifffile.TiffWriter(tmp_path / 'a.tif') as writer:
            for _ in range(count):
                writer.write(page, contiguous=False)
        tracemalloc.start()
        Negative().restore_file(tmp_path / 'a.tif', tmp_path / 'b.tif', overwrite=True)
        peaks[count] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[30] < peaks[3] + 4 * page.nbytes


def test_a_failing_page_leaves_nothing(tmp_path):
    data = scans(3, 32, 40).astype(np.float32)
    data[2, 0, 0] = np.inf
    tifffile.imwrite(tmp_path / 'a.tif', data, photometric='minisblack')
    with pytest.raises(SEMImageError, match='page 3 of 3'):
        Negative().restore_file(tmp_path / 'a.tif', tmp_path / 'b.tif', uncertainty=True)
    assert [path.name for path in tmp_path.iterdir()] == ['a.tif']


@pytest.mark.parametrize('mode', ['L', 'RGB'])
def test_jpeg_becomes_tiff(tmp_path, mode):
    Image.fromarray(scans(48, 56)).convert(mode).save(tmp_path / 'a.jpg', quality=90)
    heard, restorer = [], Negative()
    restorer.tell = heard.append
    with pytest.raises(SEMImageError, match=r'a.jpg: its restoration is written as TIFF; ".jpg"'):
        restorer.restore_file(tmp_path / 'a.jpg', tmp_path / 'b.jpg')
    assert files.default_output(tmp_path / 'a.jpg') == tmp_path / 'a_restored.tif'
    restorer.restore_file(tmp_path / 'a.jpg', tmp_path / 'b.tif')
    brightness = np.asarray(Image.open(tmp_path / 'a.jpg').convert('L'))
    np.testing.assert_array_equal(tifffile.imread(tmp_path / 'b.tif'), 255 - brightness)
    assert any('was stored as JPEG' in line for line in heard)


def test_the_text_file_of_the_microscope_goes_along(tmp_path):
    tifffile.imwrite(tmp_path / 'a.tif', scans(48, 64))
    text = '$CM_FORMAT JEOL/SEM\r\n$CM_IMAGE_SIZE 64 40\r\n$CM_PIXEL_SIZE 5nm\r\n'
    (tmp_path / 'a.txt').write_text(text)
    (tmp_path / 'b.txt').write_text('mine')
    with pytest.raises(FileExistsError, match='b.txt'):
        Negative().restore_file(tmp_path / 'a.tif', tmp_path / 'b.tif')
    assert not (tmp_path / 'b.tif').exists()
    written = Negative().restore_file(tmp_path / 'a.tif', tmp_path / 'c.tif')
    assert written == [tmp_path / 'c.tif', tmp_path / 'c.txt']
    assert (tmp_path / 'c.txt').read_bytes() == (tmp_path / 'a.txt').read_bytes()
    copy = read_sem(tmp_path / 'c.tif')
    assert copy.image.shape == (40, 64) and copy.pixel_size == pytest.approx(5e-9)


def test_folders_below_are_kept(tmp_path):
    source = tmp_path / 'in'
    for name in ('a.tif', 'deep/b.tif', 'deep/er/c.jpg', 'out/old.tif', '.hidden/d.tif'):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scans(32, 40)).save(source / name)
    (source / 'deep/notes.txt').write_text('x')
    (source / 'deep/cut.jpg').write_bytes(b'\xff\xd8\xff')
    report = Negative().restore_folder(source, source / 'out', recursive=True)
    names = sorted(str(path.relative_to(source)) for path in report.done)
    assert names == ['out/a.tif', 'out/deep/b.tif', 'out/deep/er/c.tif']
    assert list(report.failed) == [source / 'deep/cut.jpg']
    flat = Negative().restore_folder(source, tmp_path / 'flat')
    assert [path.name for path in flat.done] == ['a.tif']
    (tmp_path / 'empty').mkdir()
    with pytest.raises(FileNotFoundError, match='nor do the folders below'):
        Negative().restore_folder(tmp_path / 'empty', tmp_path / 'x', recursive=True)


def test_two_files_that_would_become_one(tmp_path):
    for name in ('a.tif', 'a.jpg'):
        (tmp_path / 'in').mkdir(exist_ok=True)
        Image.fromarray(scans(32, 40)).save(tmp_path / 'in' / name)
    report = Negative().restore_folder(tmp_path / 'in', tmp_path / 'out')
    assert [path.name for path in report.done] == ['a.tif']
    assert 'would both be a.tif' in report.failed[tmp_path / 'in/a.tif']


def test_two_files_that_would_share_a_map(tmp_path):
    """Both are named, and the others go on: one pair refused a whole folder, unnamed."""
    (tmp_path / 'in').mkdir()
    for name in ('a.png', 'a.tif', 'b.tif'):
        Image.fromarray(scans(32, 40)).save(tmp_path / 'in' / name)
    report = Negative().restore_folder(tmp_path / 'in', tmp_path / 'out', uncertainty=True)
    assert {path.name for path in report.done} >= {'a.png', 'a_uncertainty.tif', 'b.tif'}
    assert list(report.failed) == [tmp_path / 'in/a.tif']
    told = report.failed[tmp_path / 'in/a.tif']
    assert 'a.png in its ending only' in told and 'one uncertainty map, a_uncertainty' in told
    report = Negative().restore_folder(tmp_path / 'in', tmp_path / 'without')
    assert [path.name for path in report.done] == ['a.png', 'a.tif', 'b.tif']


def test_names_that_differ_in_capital_letters(tmp_path, monkeypatch):
    """On a disk that tells them apart both are written; on another one the first.

    There the second counted as restored before, or with overwrite=True replaced the first.
    """
    (tmp_path / 'in').mkdir()
    names = ('Case.tif', 'case.jpg', 'case.tif', 'other.tif')
    for name in names:
        Image.fromarray(scans(32, 40)).save(tmp_path / 'in' / name)
    if len(list((tmp_path / 'in').iterdir())) < len(names):
        pytest.skip('the disk of the tests takes Case.tif and case.tif for one file')
    report = Negative().restore_folder(tmp_path / 'in', tmp_path / 'out')
    assert [path.name for path in report.done] == ['Case.tif', 'case.tif', 'other.tif']
    assert 'case.jpg would both be case.tif' in report.failed[tmp_path / 'in/case.tif']
    assert not targets.ignores_case(tmp_path)
    # a disk that does not tell them apart finds the file that was made for the question
    monkeypatch.setattr(targets, 'ignores_case', lambda folder: True)
    report = Negative().restore_folder(tmp_path / 'in', tmp_path / 'out', overwrite=True)
    assert [path.name for path in report.done] == ['Case.tif', 'other.tif']
    for name in ('case.jpg', 'case.tif'):
        assert 'Case.tif would both be case.tif' in report.failed[tmp_path / 'in' / name]
    assert len(list((tmp_path / 'out').iterdir())) == 3  # and nothing of the question


@pytest.mark.parametrize(
    ('name', 'wanted'),
    [('a.tif', 'a_restored.tif'), ('a.ome.tif', 'a_restored.ome.tif'), ('a.PNG', 'a_restored.PNG')],
)
def test_names_of_outputs(tmp_path, name, wanted):
    Image.fromarray(scans(16, 16)).save(tmp_path / name)
    assert files.default_output(tmp_path / name) == tmp_path / wanted
    combined = wanted.replace('_restored', '_combined')
    assert files.default_output(tmp_path / name, combined=True) == tmp_path / combined
    assert files.default_output(tmp_path) == tmp_path.with_name(f'{tmp_path.name}_restored')
    folder = files.default_output(tmp_path, combined=True)
    assert folder == tmp_path.with_name(f'{tmp_path.name}_combined.tif')


def test_files_with_the_ending_of_another_format_get_their_own(tmp_path):
    (tmp_path / 'in').mkdir()
    image = scans(16, 16)
    for name, form in (('a.tif', 'PNG'), ('b.png', 'TIFF'), ('c.TIF', 'JPEG')):
        Image.fromarray(image).save(tmp_path / 'in' / name, form)
    assert files.default_output(tmp_path / 'in/a.tif').name == 'a_restored.png'
    report = Negative().restore_folder(tmp_path / 'in', tmp_path / 'out')
    assert not report.failed
    assert [path.name for path in report.done] == ['a.png', 'b.tif', 'c.TIF']
    for path, form in zip(report.done, ('PNG', 'TIFF', 'TIFF')):
        with Image.open(path) as written:
            assert written.format == form
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / 'out/a.png')), 255 - image)


def test_what_an_earlier_run_has_done_is_left_as_it_is(tmp_path):
    (tmp_path / 'in').mkdir()
    for name in ('a.tif', 'b.tif'):
        Image.fromarray(scans(64, 64)).save(tmp_path / 'in' / name)
    there = tmp_path / 'out/a.tif'
    there.parent.mkdir()
    there.write_bytes(b'earlier')
    report = Negative().restore_folder(tmp_path / 'in', tmp_path / 'out')
    assert (report.kept, report.failed) == ([tmp_path / 'in/a.tif'], {})
    assert report.done == [tmp_path / 'out/b.tif'] and there.read_bytes() == b'earlier'
    # without its map it is not what --uncertainty would have written
    again = Negative().restore_folder(tmp_path / 'in', tmp_path / 'out', uncertainty=True)
    assert not again.kept and all('exists already' in text for text in again.failed.values())
    (tmp_path / 'out/b_uncertainty.tif').touch()
    again = Negative().restore_folder(tmp_path / 'in', tmp_path / 'out', uncertainty=True)
    assert again.kept == [tmp_path / 'in/b.tif'] and list(again.failed) == [tmp_path / 'in/a.tif']


def test_what_lies_beside_the_folder_that_one_is_in(tmp_path, monkeypatch):
    (tmp_path / 'scans/deep').mkdir(parents=True)
    for place, name in (('scans', '.'), ('scans/deep', '..')):
        monkeypatch.chdir(tmp_path / place)
        assert files.default_output(Path(name)) == tmp_path / 'scans_restored'
        assert files.default_output(Path(name), combined=True) == tmp_path / 'scans_combined.tif'
        assert default_weights(Path(name)) == tmp_path / 'scans_adapted.safetensors'
    with pytest.raises(OutputError, match='say where the results go'):
        files.default_output(Path('/'))


def test_a_combined_stack_is_no_ome_file(tmp_path):
    tifffile.imwrite(tmp_path / 'a.ome.tif', scans(2, 16, 16), metadata=dict(axes='ZYX'))
    assert files.default_output(tmp_path / 'a.ome.tif', True) == tmp_path / 'a_combined.tif'
    assert files.default_output(tmp_path / 'a.ome.tif') == tmp_path / 'a_restored.ome.tif'


def test_annotations_are_told_and_kept(tmp_path):
    image = np.stack([scans(64, 80)] * 3, -1)
    image[50:53, 5:25] = (255, 255, 0)
    Image.fromarray(image).save(tmp_path / 'a.png')
    heard, restorer = [], Negative()
    restorer.tell = heard.append
    restorer.restore_file(tmp_path / 'a.png', tmp_path / 'b.png')
    written = np.asarray(Image.open(tmp_path / 'b.png'))
    assert (written[50:53, 5:25] == (255, 255, 0)).all()
    np.testing.assert_array_equal(written[:50], 255 - image[:50])
    assert any('1.2 % of the picture is coloured' in line for line in heard)


def test_earlier_restorations_are_no_originals(tmp_path):
    names = ['a.tif', 'a_restored.tif', 'a_restored_uncertainty.tif', 'b_restored.tif']
    names += ['c.ome.tif', 'c_restored.ome.tif', 'd.jpg', 'd_combined.tif', 'x_uncertainty.tif']
    for name in names:
        Image.fromarray(scans(16, 16)).save(tmp_path / name)
    kept = [path.name for path in files.originals(tmp_path)]
    assert kept == ['a.tif', 'b_restored.tif', 'c.ome.tif', 'd.jpg', 'x_uncertainty.tif']


def test_maker_pixel_size_and_bar_are_told(tmp_path):
    tifffile.imwrite(tmp_path / 'a.tif', scans(60, 64))
    (tmp_path / 'a.txt').write_text('$CM_IMAGE_SIZE 64 48\n$CM_PIXEL_SIZE 5.5nm\n')
    heard, restorer = [], Negative()
    restorer.tell = heard.append
    restorer.restore_file(tmp_path / 'a.tif', tmp_path / 'b.tif')
    told = 'JEOL; pixels of 5.5 nm; the data bar, 12 rows, stays as it is'
    assert heard[0] == f'{tmp_path / "a.tif"}: {told}'
