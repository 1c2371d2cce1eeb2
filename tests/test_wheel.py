"""The wheel that `pip install mmclarity` puts into an environment, built and used."""

from __future__ import annotations

import base64
import csv
import hashlib
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope='module')
def wheel(tmp_path_factory) -> Path:
    """The wheel, built as pip builds it from a copy that has nothing but the sources."""
    folder = tmp_path_factory.mktemp('wheel')
    source = folder / 'source'
    skipped = shutil.ignore_patterns('__pycache__', '*.egg-info', 'build')
    shutil.copytree(ROOT / 'projects', source / 'projects', ignore=skipped)
    for name in ('setup.py', 'pyproject.toml', 'README.md', 'MANIFEST.in', 'LICENSE'):
        shutil.copy(ROOT / name, source)
    for name in ('requirements.txt', 'requirements-dev.txt', 'requirements-nodeps.txt'):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, '-m', 'pip', 'wheel', '--no-build-isolation', '--no-deps']
    command += ['--no-index', '--disable-pip-version-check', '-w', str(folder), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob('mmclarity-*.whl')
    return built


def test_holds_all_that_the_package_holds(wheel):
    folder = ROOT / 'projects'
    wanted = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob('*')
        if path.is_file()
        and '__pycache__' not in path.parts
        and not any(part.endswith('.egg-info') for part in path.parts)
    }
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if '.dist-info/' not in name}
    assert held == wanted | {'mmclarity.pth'}


def test_record_fits_the_files(wheel):
    with zipfile.ZipFile(wheel) as archive:
        record = next(name for name in archive.namelist() if name.endswith('/RECORD'))
        rows = list(csv.reader(archive.read(record).decode().splitlines()))
        assert sorted(row[0] for row in rows) == sorted(archive.namelist())
        for name, digest, size in rows:
            if name == record:
                continue
            content = archive.read(name)
            found = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b'=')
            assert digest == f'sha256={found.decode()}', name
            assert int(size) == len(content), name


def test_extras_and_commands(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        text = archive.read(next(n for n in names if n.endswith('/METADATA'))).decode()
        commands = archive.read(next(n for n in names if n.endswith('/entry_points.txt'))).decode()
    about = Parser().parsestr(text)
    assert {'detection', 'restoration', 'restoration-slim', 'formats', 'all', 'dev'} <= set(
        about.get_all('Provides-Extra')
    )
    core = [line for line in about.get_all('Requires-Dist') if 'extra ==' not in line]
    heavy = ('mm', 'opencv', 'diffusers', 'transformers', 'scikit', 'albumentations')
    assert not [line for line in core if line.startswith(heavy)]
    for name in ('detect', 'restore', 'rsa'):
        assert f'mmclarity-{name} = mmclarity.cli.{name}:main' in commands


USE = """
import site, sys
site.addsitedir(sys.argv[1])
import mmclarity
assert mmclarity.__file__.startswith(sys.argv[1]), mmclarity.__file__
from mmdet.apis import DetInferencer, init_detector
import numpy as np
from mmclarity.restoration import Restorer
assert Restorer()(np.zeros((40, 40), np.uint8) + 9).shape == (40, 40)
from mmclarity.rsa import compute_rdm
assert compute_rdm(np.eye(4)).size == 6  # the pairs of four stimuli
from mmclarity.detection.shipped import shipped_weights
assert len(shipped_weights('plain')) > 100
print('used')
"""


def test_works_where_it_is_unpacked(wheel, tmp_path):
    """Installed, it needs nothing of the clone: start-up file, networks and stubs are inside."""
    target = tmp_path / 'site'
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    # The clone may be installed as editable in this environment: its finder and path go.
    program = (
        "import sys; sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in repr(f)];"
        f'sys.path[:] = [p for p in sys.path if p != {str(ROOT / "projects")!r}]\n' + USE
    )
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', program, str(target)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        env={'PATH': '/usr/bin:/bin', 'HOME': str(tmp_path), 'OMP_NUM_THREADS': '1'},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip().endswith('used')
