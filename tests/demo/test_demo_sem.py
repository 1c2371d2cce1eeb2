"""The SEM demo from end to end, in its smallest form."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.running import script

REPO = Path(__file__).resolve().parents[2]


def run(folder, *arguments):
    return script(folder, 'demo/demo_sem.py', '--quick', *arguments, timeout=900)


@pytest.mark.slow
def test_whole_path_and_going_on(tmp_path):
    options = ['--work-dir', tmp_path / 'w', '--data-root', tmp_path / 'data']
    done = run(tmp_path, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '1/5 A micrograph restored out of the box' in done.stdout
    assert '| trained for it |' in done.stdout and '| the network that ships |' in done.stdout
    assert 'fabricated' in done.stdout
    assert (tmp_path / 'w/pictures.png').stat().st_size > 10000
    assert len(list((tmp_path / 'w/restored').glob('*.tif'))) == 2
    again = run(tmp_path, *options)
    assert again.returncode == 0 and 'is there already' in again.stdout
    assert 'Iter(train)' not in again.stdout
    other = run(tmp_path, *options, '--iters', 12)
    assert other.returncode == 0 and 'starts anew' in other.stdout


def test_out_of_the_box_alone(tmp_path):
    options = ['--work-dir', tmp_path / 'w', '--data-root', tmp_path / 'data']
    done = run(tmp_path, *options, '--no-training')
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'FEI; pixels of 5.8 nm; the data bar, 44 rows, stays as it is' in done.stderr
    folder = tmp_path / 'w/out_of_the_box'
    assert (folder / 'pictures.png').stat().st_size > 10000
    assert not (tmp_path / 'data').exists()
    before, after = (
        tifffile.imread(folder / name) for name in ('micrograph.tif', 'micrograph_restored.tif')
    )
    np.testing.assert_array_equal(before[221:], after[221:])
    noise = [image[:221].astype(float) - image[:221, ::-1] for image in (before, after)]
    assert np.diff(noise[1]).std() < 0.5 * np.diff(noise[0]).std()


def test_a_failing_step_is_named(tmp_path):
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data/mine.txt').write_text('x')
    done = run(tmp_path, '--work-dir', tmp_path / 'w', '--data-root', tmp_path / 'data')
    assert done.returncode == 1
    assert '2/5 The phantom' in done.stderr and 'exit status 2' in done.stderr
