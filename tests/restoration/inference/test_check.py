"""Restorations held against a slow scan: what was put in and taken out is what is counted."""

import json
import os
import unicodedata

import numpy as np
import pytest
import tifffile
from scipy.ndimage import shift

from mmclarity.cli.check import main, pairs_of
from mmclarity.errors import UsageError
from mmclarity.restoration.datasets import SEMFolderDataset
from mmclarity.restoration.datasets.pairing import pair_up
from mmclarity.restoration.inference.check import RECORDED, check_field, matched, noise_strength
from mmclarity.restoration.inference.check_report import as_json, draw, markdown, verdict
from mmclarity.restoration.io import from_array, read_sem
from mmclarity.synthetic.phantom import PhantomSettings, make_phantom
from tests.running import run

SIZE = 224
GAIN, OFFSET = 0.8, 0.06  # of the quick scan's levels beside the slow one's
MOVED = (3.0, -2.0)


@pytest.fixture(scope='module')
def scans():
    """Slow scan, quick scan, and the quick scan's truth; levels 0 to 1."""
    phantom = make_phantom(PhantomSettings(SIZE + 16, coverage=0.3), 3).image.astype(np.float64)
    slow = phantom[8:-8, 8:-8]
    truth = GAIN * shift(phantom, MOVED, order=3)[8:-8, 8:-8] + OFFSET
    quick = truth + np.random.default_rng(0).normal(0, 0.06, truth.shape)
    return slow, quick.clip(0, 1), truth


def whole(levels):
    return from_array((255 * levels.clip(0, 1)).round().astype(np.uint8))


def shared(quick, slow):
    """Rows and columns of the quick scan that the pair shares."""
    pair = pair_up(whole(quick), whole(slow))
    return pair.rows, pair.columns


def spot(y, x, contrast, radius=5):
    rows, columns = np.mgrid[:SIZE, :SIZE]
    return contrast / (1 + np.exp((np.hypot(rows - y, columns - x) - radius) / 0.4))


def quiet_places(truth, count):
    """Places with nothing bright near."""
    places, blocked = [], truth > 0.35
    rows, columns = np.mgrid[:SIZE, :SIZE]
    for y in range(24, SIZE - 24, 6):
        for x in range(24, SIZE - 24, 6):
            near = np.hypot(rows - y, columns - x) < 13
            if not blocked[near].any() and len(places) < count:
                places.append((y, x))
                blocked |= near
    return places


def test_what_was_put_in_is_invented_and_levels_do_not_matter(scans):
    slow, quick, truth = scans
    bright, dark = quiet_places(truth, 2)
    false = truth + spot(*bright, 0.2) - spot(*dark, 0.1)

    part = shared(quick, slow)
    top, left = (cut.start for cut in part)
    check = check_field(
        'a',
        whole(quick),
        whole(slow),
        {'true': lambda low: truth[part], 'false': lambda low: false[part]},
    )
    assert (check.gain, check.offset) == (
        pytest.approx(GAIN, abs=0.02),
        pytest.approx(OFFSET, abs=0.02),
    )
    true, wrong = check.rows['true'], check.rows['false']
    assert true.numbers['psnr'] > 35 and true.numbers['psnr'] > wrong.numbers['psnr']
    assert abs(true.numbers['blur']) < 0.1
    for kind, (y, x) in dict(bright=bright, dark=dark).items():
        assert [count['fabricated'] for count in true.counts[kind]] == [0, 0, 0, 0]
        assert [count['missed'] for count in true.counts[kind]] == [0, 0, 0, 0]
        (found,) = wrong.counts[kind][1]['fabricated_particles']
        np.testing.assert_allclose(found[:2], [y - top, x - left], atol=1.5)
    assert check.rows[RECORDED].counts['bright'][0]['fabricated'] > 20  # noise
    assert check.noise == pytest.approx(0.06 * 0.9 / np.ptp(truth), rel=0.4)
    assert check.slow_noise < 0.01 and not check.remarks


def test_what_was_taken_out_is_missed(scans):
    slow, quick, truth = scans
    bright, dark = quiet_places(truth, 2)
    there = slow + spot(*bright, 0.3) - spot(*dark, 0.15)
    recorded = np.random.default_rng(0).normal(0, 0.06, truth.shape) + there
    part = shared(recorded, there)
    check = check_field('a', whole(recorded), whole(there), {'blind': lambda low: slow[part]})
    for kind in ('bright', 'dark'):
        assert [count['missed'] for count in check.rows['blind'].counts[kind]][:2] == [1, 1]
        assert check.rows['blind'].counts[kind][0]['fabricated'] == 0
    text = verdict([check], 'blind')
    assert '0 of' in text and ' 1 of ' in text and 'dark' in text


def test_the_line_through_the_levels_is_not_flattened_by_noise():
    rng = np.random.default_rng(1)
    clean = rng.uniform(0, 1, (200, 200))
    image, gain, offset = matched(clean, 0.5 * clean + 0.2 + rng.normal(0, 0.5, clean.shape))
    assert (gain, offset) == (pytest.approx(0.5, abs=0.03), pytest.approx(0.2, abs=0.03))
    np.testing.assert_allclose(image, gain * clean + offset, atol=1e-6)
    with pytest.raises(ValueError, match='negative'):
        matched(clean, 1 - clean)
    with pytest.raises(ValueError, match='nothing in common'):
        matched(np.ones((8, 8)), clean[:8, :8])


def test_noise_makes_particles_up_to_a_strength():
    # White noise through the scale-normalised Laplacian of radius 2: sigma / (sqrt(2 pi) scale),
    # and the largest of some ten thousand independent values lies at four to five deviations.
    deviation = 0.02 / (np.sqrt(2 * np.pi) * 2 / np.sqrt(2))
    assert 3.5 < noise_strength(0.02) / deviation < 5.5
    assert noise_strength(0.02, correlation=0.6) > 1.2 * noise_strength(0.02)
    assert noise_strength(0.0) == noise_strength(float('nan')) == 0
    assert noise_strength(0.04) == pytest.approx(2 * noise_strength(0.02))


def test_a_slow_scan_with_noise_is_no_truth(scans):
    slow, quick, _ = scans
    noisy = (slow + np.random.default_rng(2).normal(0, 0.06, slow.shape)).clip(0, 1)
    check = check_field('a', whole(quick), whole(noisy), {})
    assert check.slow_noise == pytest.approx(check.noise, rel=0.5)
    assert 'no truth' in check.remarks[0] and check.floor > 0.05
    assert "the slow scan's own noise" in markdown([check])


def test_another_program_may_have_left_the_data_bar_out(scans, tmp_path):
    slow, quick, truth = scans
    bar = np.full((40, SIZE), 255, np.uint8)
    bar[10:30, 20:120] = 0
    files = {}
    for name, image in dict(quick=quick, slow=slow, other=truth).items():
        pixels = whole(image).pixels
        files[name] = tmp_path / f'{name}.tif'
        tifffile.imwrite(files[name], np.vstack([pixels, bar]) if name != 'other' else pixels)
    images = {name: read_sem(path) for name, path in files.items()}
    assert images['quick'].image.shape == (SIZE, SIZE)
    check = check_field('a', images['quick'], images['slow'], {}, {'other': images['other']})
    assert check.rows['other'].numbers['psnr'] > 35
    small = from_array(np.zeros((50, 60), np.uint8))
    with pytest.raises(ValueError, match='60 x 50 pixels'):
        check_field('a', images['quick'], images['slow'], {}, {'other': small})


def test_files_and_folders_from_the_command_line(scans, tmp_path, capsys, monkeypatch):
    slow, quick, _ = scans
    for folder, image in dict(quick=quick, slow=slow).items():
        (tmp_path / folder).mkdir()
        for name in ('a', 'b'):
            tifffile.imwrite(tmp_path / folder / f'{name}.tif', whole(image).pixels)
    tifffile.imwrite(tmp_path / 'quick/c.tif', whole(quick).pixels)
    other = np.random.default_rng(5).integers(0, 255, (SIZE, SIZE), np.uint8)
    tifffile.imwrite(tmp_path / 'slow/b.tif', other)
    out = tmp_path / 'out'
    given = [str(tmp_path / 'quick'), str(tmp_path / 'slow'), '--out', str(out), '--sharpen']
    assert main(given) == 2  # b is no pair
    told = capsys.readouterr()
    assert 'left out' in told.err and 'field of view' in told.err and 'c' in told.err
    assert '| restored, dark |' in told.out and 'sharpened: ' in told.out
    (found,) = json.loads((out / 'check.json').read_text())
    assert found['field'] == 'a' and set(found['rows']) == {RECORDED, 'restored', 'sharpened'}
    assert found['rows']['restored']['psnr'] > found['rows'][RECORDED]['psnr'] + 5
    assert (out / 'a.png').stat().st_size > 20_000 and 'One field' in (out / 'check.md').read_text()
    assert main(given) == 2 and 'check.json exists' in capsys.readouterr().err
    monkeypatch.chdir(tmp_path / 'quick')
    assert main(['.', '../slow', '--no-pictures']) == 2
    assert (tmp_path / 'quick_checked/check.md').is_file()
    files = [str(tmp_path / 'quick/a.tif'), str(tmp_path / 'slow/a.tif'), '--no-pictures']
    assert main(files) == 0
    assert {path.name for path in (tmp_path / 'quick/a_checked').iterdir()} == {
        'check.md',
        'check.json',
    }


def test_names_that_are_no_text(scans, tmp_path):
    slow, quick, _ = scans
    name = os.fsdecode(b'f\xfcr')  # as of an archive that Windows has packed
    for folder, image in dict(quick=quick, slow=slow).items():
        (tmp_path / folder).mkdir()
        tifffile.imwrite(tmp_path / folder / f'{name}.tif', whole(image).pixels)
    done = run(tmp_path, 'check.py', 'quick', 'slow', '--out', 'out')
    assert done.returncode == 0 and 'Traceback' not in done.stderr
    assert 'f\\udcfcr: noise' in done.stdout
    assert 'f\\udcfcr: noise' in (tmp_path / 'out/check.md').read_text('utf-8')
    assert {os.fsencode(path.name) for path in (tmp_path / 'out').iterdir()} == {
        b'check.md', b'check.json', b'f\xfcr.png',
    }  # fmt: skip


def test_what_cannot_be_checked(scans, tmp_path, capsys):
    slow, quick, _ = scans
    single, stack, negative = (tmp_path / f'{name}.tif' for name in ('a', 'stack', 'negative'))
    tifffile.imwrite(single, whole(quick).pixels)
    tifffile.imwrite(stack, np.stack([whole(slow).pixels] * 3), photometric='minisblack')
    tifffile.imwrite(negative, 255 - whole(quick).pixels)
    for slow_file, why in (
        (stack, '3 pages'),
        (tmp_path, 'folders alone'),
        (tmp_path / 'no.tif', 'no.tif'),
    ):
        assert main([str(single), str(slow_file), '--out', str(tmp_path / 'out')]) == 2
        assert why in capsys.readouterr().err
    assert main([str(single), str(negative), '--out', str(tmp_path / 'out')]) == 2
    assert 'field of view' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'one').mkdir()
    tifffile.imwrite(tmp_path / 'one/z.tif', whole(slow).pixels)
    tifffile.imwrite(tmp_path / 'empty/y.tif', whole(slow).pixels)
    with pytest.raises(UsageError, match='no names in common'):
        pairs_of(tmp_path / 'one', tmp_path / 'empty')


def test_letters_that_macos_takes_apart_are_the_same(tmp_path):
    """A folder of quick scans from Windows, one of slow scans from a Mac: none were a pair."""
    folders = []
    for form in ('NFC', 'NFD'):
        folders.append(tmp_path / form)
        folders[-1].mkdir()
        for name in ('Präparat', 'plain'):
            tifffile.imwrite(
                folders[-1] / f'{unicodedata.normalize(form, name)}.tif', np.eye(9, dtype=np.uint8)
            )
    assert [tuple(path.parent.name for path in pair[:2]) for pair in pairs_of(*folders)] == [
        ('NFC', 'NFD')
    ] * 2
    data = SEMFolderDataset([dict(gt='NFC', img='NFD')], tmp_path, register_pairs=False)
    assert len(data) == 2


def test_the_picture_and_the_numbers_hold_every_row(scans, tmp_path):
    slow, quick, _ = scans
    rows = {'one': lambda low: low, 'two': lambda low: low * 0.9}
    check = check_field('field', whole(quick), whole(slow), rows)
    draw(check, tmp_path / 'field.png')
    assert (tmp_path / 'field.png').stat().st_size > 20_000
    (told,) = as_json([check])
    json.dumps(told, allow_nan=False)
    count = told['rows']['one']['dark'][0]
    assert len(count['fabricated_particles']) == count['fabricated'] > 0
