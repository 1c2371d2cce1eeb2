"""The SEM demo from end to end, in its smallest form."""

import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]


def run(*arguments):
    return subprocess.run(
        [sys.executable, str(REPO / 'demo/demo_sem.py'), '--quick', *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_whole_path_and_going_on(tmp_path):
    options = ['--work-dir', tmp_path / 'w', '--data-root', tmp_path / 'data']
    done = run(*options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '| restored |' in done.stdout and 'fabricated' in done.stdout
    assert (tmp_path / 'w/pictures.png').stat().st_size > 10000
    assert len(list((tmp_path / 'w/restored').glob('*.tif'))) == 2
    again = run(*options)
    assert again.returncode == 0 and 'is there already' in again.stdout
    assert 'Iter(train)' not in again.stdout
    other = run(*options, '--iters', 12)
    assert other.returncode == 0 and 'starts anew' in other.stdout


def test_a_failing_step_is_named(tmp_path):
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data/mine.txt').write_text('x')
    done = run('--work-dir', tmp_path / 'w', '--data-root', tmp_path / 'data')
    assert done.returncode == 1
    assert '1/4 The phantom' in done.stderr and 'exit status 2' in done.stderr
