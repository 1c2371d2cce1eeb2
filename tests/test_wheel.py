"""The wheel that `pip install mmclarity` puts into an environment, built and used."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope='module')
def wheel(tmp_path_factory) -> Path:
    """The wheel, built as pip builds it from a copy that has nothing but the sources."""
    folder = tmp_path_factory.mktemp('wheel')
    source = folder / 'source'
    skipped = shutil.ignore_patterns('__pycache__', '*.egg-info', 'build')
    shutil.copytree(ROOT / 'projects', source / 'projects', ignore=skipped)
    for name in ('configs', 'tools'):
        shutil.copytree(ROOT / name, source / name, ignore=skipped)
    for name in ('setup.py', 'pyproject.toml', 'README.md', 'MANIFEST.in', 'LICENSE'):
        shutil.copy(ROOT / name, source)
    shutil.copy(ROOT / 'model-index.yml', source)
    for name in ('requirements.txt', 'requirements-dev.txt', 'requirements-nodeps.txt'):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, '-m', 'pip', 'wheel', '--no-build-isolation', '--no-deps']
    command += ['--no-index', '--disable-pip-version-check', '-w', str(folder), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
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
    along = {name for name in held if name.startswith('mmclarity/.mim/')}
    assert held - along == wanted | {'mmclarity.pth'}


def test_holds_configs_and_tools_where_mim_looks_for_them(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        held = {name.removeprefix('mmclarity/.mim/') for name in names if '/.mim/' in name}
        for name in held:
            assert archive.read(f'mmclarity/.mim/{name}') == (ROOT / name).read_bytes(), name
    files = [
        file.relative_to(ROOT).as_posix()
        for folder in ('configs', 'tools')
        for file in (ROOT / folder).rglob('*')
        if file.is_file() and '__pycache__' not in file.parts
    ]
    left = {name for name in files if name not in held}
    assert held == {*files, 'model-index.yml'} - left
    assert not [name for name in left if name.startswith('configs/')]
    # what only a clone has a use for: its environment, its pages, its weights
    assert {name for name in left if not name.startswith('tools/env/')} == {
        'tools/model_zoo.py',
        'tools/pack_detectors.py',
        'tools/analysis_tools/restoration_pictures.py',
    }


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
    assert about['License-Expression'] == 'Apache-2.0'
    assert {
        'detection',
        'restoration',
        'restoration-slim',
        'formats',
        'app',
        'napari',
        'all',
        'dev',
    } <= set(about.get_all('Provides-Extra'))
    # each is enough by itself: the page and the plugin restore
    needed = {line for line in about.get_all('Requires-Dist') if "'restoration-slim'" in line}
    needed |= {line for line in about.get_all('Requires-Dist') if '"restoration-slim"' in line}
    assert needed
    for extra in ('app', 'napari'):
        theirs = {line.replace('restoration-slim', extra) for line in needed}
        assert theirs <= set(about.get_all('Requires-Dist')), extra
    core = [line for line in about.get_all('Requires-Dist') if 'extra ==' not in line]
    heavy = ('mm', 'opencv', 'diffusers', 'transformers', 'scikit', 'albumentations')
    assert not [line for line in core if line.startswith(heavy)]
    for name in ('adapt', 'check', 'detect', 'export', 'restore', 'rsa'):
        assert f'mmclarity-{name} = mmclarity.cli.{name}:main' in commands
    for name in ('test', 'train'):
        assert f'mmclarity-{name} = mmclarity.cli.commands:{name}' in commands


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


#: A clone, this or another, may be installed as editable: its finder, path and start-up file go.
WITHOUT_CLONES = """
import os, sys
ours = ('editable', 'FirstUse')
sys.meta_path[:] = [f for f in sys.meta_path if not any(one in repr(f) for one in ours)]
sys.path[:] = [p for p in sys.path if not os.path.isdir(os.path.join(p, 'mmclarity'))]
sys.modules.pop('_mmclarity_startup', None)
"""


def session(program: str, wheel: Path, folder: Path, *arguments: str) -> str:
    """Output of a session of an environment that has the wheel and nothing of the clone."""
    target = folder / 'site'
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    program = WITHOUT_CLONES + program
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', program, str(target), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=900,
        env={'PATH': '/usr/bin:/bin', 'HOME': str(folder), 'OMP_NUM_THREADS': '1'},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def test_works_where_it_is_unpacked(wheel, tmp_path):
    """Installed, it needs nothing of the clone: start-up file, networks and stubs are inside."""
    assert session(USE, wheel, tmp_path).endswith('used')


MMDETS_OWN = """
import site, sys
site.addsitedir(sys.argv[1])
assert 'mmclarity' not in sys.modules
from mmdet.apis import DetInferencer, inference_detector, init_detector
config, weights, picture = sys.argv[2:]
model = init_detector(config, weights, device='cpu')
assert sys.modules['mmclarity'].__file__.startswith(sys.argv[1])
found = inference_detector(model, picture).pred_instances
inferencer = DetInferencer(model=config, weights=weights, device='cpu', show_progress=False)
scores = inferencer(picture)['predictions'][0]['scores']
assert len(scores) == len(found)
assert max(abs(a - b) for a, b in zip(scores, found.scores.tolist())) < 1e-5
print(type(model.roi_head).__name__, len(scores), *model.dataset_meta['classes'][:2])
"""


def test_mmdets_interfaces_on_a_saved_config_and_the_shipped_weights(wheel, tmp_path):
    """Without a word of mmclarity: its start-up file makes mmdet ready, its heads are found."""
    torch = pytest.importorskip('torch')
    pytest.importorskip('mmdet')
    from mmclarity.detection.shipped import shipped_config, shipped_weights
    from mmclarity.engine.config import load_config

    config, weights, picture = (tmp_path / name for name in ('saved.py', 'w.pth', 'a.png'))
    load_config('context_frcnn_bdd100k_fine.py').dump(config)
    meta = dict(dataset_meta=shipped_config()['metainfo'])
    torch.save(dict(state_dict=shipped_weights(), meta=meta), weights)
    noise = np.random.default_rng(0).integers(0, 256, (9, 16, 3), np.uint8)
    Image.fromarray(noise).resize((640, 360)).save(picture)
    said = session(MMDETS_OWN, wheel, tmp_path, str(config), str(weights), str(picture))
    kind, count, *classes = said.splitlines()[-1].split()
    assert kind == 'CascadeRegionAttentionRoIHead' and classes == ['pedestrian', 'rider']
    assert 0 <= int(count) <= 100


COMMANDS = """
import os, site, sys
site.addsitedir(sys.argv[1])
from mmclarity.cli.commands import test, train
sys.argv[:] = ['mmclarity-train']
assert train(['frcnn_milky.py']) == 2
assert train(['frcnn_murky.py']) == 2
assert train(['frcnn_murky.py', '--cfg-options', 'load_from=shipped', 'data_root=data/']) == 2
assert test(['two_looks_frcnn_bdd100k_fine.py', 'shipped', '--cfg-options', 'data_root=road/']) == 0
from mmclarity.engine.config import load_config
from mmclarity.utils.places import own_files
assert str(own_files()).startswith(os.path.dirname(sys.modules['mmclarity'].__file__))
read = [load_config(file.name).filename for file in (own_files() / 'configs').glob('*.py')]
assert len(read) > 40 and all('.mim' in name for name in read)
print('used')
"""


def test_trains_and_tests_with_the_configs_it_brings(wheel, tmp_path):
    """In a folder of the user's own, with nothing of a clone in it."""
    pytest.importorskip('mmdet')
    noise = np.random.default_rng(0).integers(0, 256, (9, 16, 3), np.uint8)
    for part in ('train', 'val'):
        folder = tmp_path / 'road/images/100k' / part
        folder.mkdir(parents=True)
        Image.fromarray(noise).resize((640, 360)).save(folder / 'a.jpg')
        labels = tmp_path / f'road/labels/det_20/det_{part}.json'
        labels.parent.mkdir(parents=True, exist_ok=True)
        box = dict(x1=10, y1=10, x2=200, y2=100)
        labels.write_text(
            json.dumps([dict(name='a.jpg', labels=[dict(category='car', box2d=box)])])
        )
    said = session(COMMANDS, wheel, tmp_path)
    assert said.endswith('used')
    assert 'The weights that ship with the package: two_looks' in said
    assert (tmp_path / 'work_dirs/two_looks_frcnn_bdd100k_fine').is_dir()
