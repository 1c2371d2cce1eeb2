"""What the pages say works: snippets run, commands have their options, links lead somewhere."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from tests.docs.guides import PAGES, ROOT, Block, blocks, commands, links

PYTHON, BASH = blocks('python'), blocks('bash')
CONFIGS = [b for b in PYTHON if re.search(r'^(_base_|custom_imports) = ', b.code, re.M)]
# What `pip install` makes of a tool.
INSTALLED = {
    f'mmclarity-{name}': f'tools/{name}.py'
    for name in ('adapt', 'check', 'detect', 'restore', 'rsa', 'test', 'train')
}
INSTALLED['mmclarity-export'] = 'tools/export_onnx.py'
NOTEBOOKS = ROOT / 'docs/notebooks'  # run by test_notebooks.py
SNIPPETS = sorted({b.page for b in PYTHON if b not in CONFIGS and b.page.parent != NOTEBOOKS})


def identify(value: object) -> str:
    return str(value.relative_to(ROOT) if hasattr(value, 'relative_to') else value)


def test_there_is_something_to_test():
    assert len(PAGES) > 15 and len(CONFIGS) > 3 and len(SNIPPETS) > 2 and len(BASH) > 15


@pytest.mark.parametrize('page', SNIPPETS, ids=identify)
def test_python_of_a_page_runs_in_order(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in PYTHON:
        if block.page == page and block not in CONFIGS and not block.mark.startswith('skip'):
            exec(compile(block.code, str(block), 'exec'), names)


@pytest.mark.parametrize('block', CONFIGS, ids=str)
def test_configs_are_read_and_their_types_known(block, tmp_path):
    from mmdet.registry import MODELS
    from mmengine.registry import HOOKS

    for item in (ROOT / 'configs').iterdir():  # as if it lay in configs/
        (tmp_path / item.name).symlink_to(item)
    for other in CONFIGS:  # of the page, those that say what they are called
        name = re.match(r'# configs/(\w+\.py)$', other.code, re.M)
        if name and other.page == block.page:
            (tmp_path / name[1]).write_text(other.code)
    path = tmp_path / 'config.py'
    path.write_text(block.code)
    cfg = Config.fromfile(path)
    registries = dict(roi_head=MODELS, custom_hooks=HOOKS)
    head = (cfg.get('model') or {}).get('roi_head')
    wanted = [(registries['roi_head'], head)] if head else []
    if head:
        boxes = head.bbox_head if isinstance(head.bbox_head, list) else [head.bbox_head]
        wanted += [(registries['roi_head'], box) for box in boxes]
        wanted += [(registries['roi_head'], b.attention) for b in boxes if b.get('attention')]
    wanted += [(registries['custom_hooks'], hook) for hook in cfg.get('custom_hooks', [])]
    assert wanted, f'{block}: neither a head nor a hook'
    for registry, item in wanted:
        assert registry.get(item.type) is not None, f'{block}: {item.type} is not registered'


@functools.cache
def help_of(script: str) -> str:
    done = subprocess.run(
        [sys.executable, script, '--help'],
        cwd=ROOT,
        env=dict(os.environ, COLUMNS='200', OMP_NUM_THREADS='1'),
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


MAKE_TARGETS = set(re.findall(r'^([a-z][a-z-]*):', (ROOT / 'Makefile').read_text(), re.M))


@pytest.mark.parametrize('block', BASH, ids=str)
def test_commands_exist_with_their_options(block):
    for words in commands(block.code):
        while '=' in words[0] and words[0].isupper() | words[0].split('=')[0].isupper():
            words = words[1:]  # variables of the environment
        if words[0] in INSTALLED:
            words = ['python', INSTALLED[words[0]], *words[1:]]
        if words[0] == 'make':
            assert set(words[1:]) <= MAKE_TARGETS | {w for w in words if '=' in w}, f'{block}'
        elif words[0] in ('python', 'bash') and len(words) > 1 and '/' in words[1]:
            assert (ROOT / words[1]).is_file(), f'{block}: there is no {words[1]}'
            if words[0] == 'python':
                known = help_of(words[1])
                for option in (word.split('=')[0] for word in words if word.startswith('--')):
                    assert re.search(rf'{option}\b', known), f'{block}: {words[1]} has no {option}'
            for word in words[2:]:
                if word.startswith('configs/'):
                    assert list(ROOT.glob(word)), f'{block}: there is no {word}'


@pytest.mark.parametrize('page', PAGES, ids=identify)
def test_links_lead_to_files(page):
    missing = [target for target in links(page) if not (page.parent / target).exists()]
    assert not missing, f'{page}: {missing}'


@pytest.fixture(scope='module')
def stage(tmp_path_factory):
    """A folder with what the guides' commands name: pictures, recordings, micrographs."""
    folder = tmp_path_factory.mktemp('stage')
    rng = np.random.default_rng(0)
    (folder / 'PICTURES').mkdir()
    names = [f'{i:02}.png' for i in range(8)]
    for name in names:
        pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).resize((64, 64)).save(folder / 'PICTURES' / name)
    ids = [name.removesuffix('.png') for name in names]
    np.savez(folder / 'recordings.npz', v4=rng.normal(size=(3, 8, 20)), ids=ids)
    np.savez(folder / 'rdms.npz', IT=rng.normal(size=(8, 30)), ids=ids)
    make = [ROOT / 'tools/dataset_generators/make_sem_phantom.py', folder / 'phantom']
    few = ['--train', '1', '--val', '2', '--size', '256']
    subprocess.run([sys.executable, *map(str, make), *few], check=True, capture_output=True)
    for kind in ('low', 'high'):
        shutil.move(folder / 'phantom/val' / kind, folder / kind.upper())
    for kind, name in (('LOW', 'NOISY'), ('LOW', 'QUICK'), ('HIGH', 'SLOW')):
        shutil.copytree(folder / kind, folder / name)
    shutil.copy(next((folder / 'LOW').iterdir()), folder / 'noisy.tif')
    return folder


def run_in(stage, block: Block) -> None:
    for words in commands(block.code):
        if words[0] in INSTALLED:
            words = ['python', INSTALLED[words[0]], *words[1:]]
        if words[0] != 'python':
            continue
        done = subprocess.run(
            [sys.executable, str(ROOT / words[1]), *words[2:]],
            cwd=stage,
            env=dict(os.environ, OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES=''),
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, f'{block}: {" ".join(words)}\n{done.stderr[-3000:]}'


@pytest.mark.parametrize('block', [b for b in BASH if b.mark == 'run'], ids=str)
def test_marked_commands_run(block, stage):
    run_in(stage, block)


@pytest.mark.skipif(find_spec('mkdocs') is None, reason='mkdocs is not installed (make env)')
def test_the_site_builds_without_warnings(tmp_path):
    done = subprocess.run(
        [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--site-dir', str(tmp_path)],
        cwd=ROOT,
        env=dict(os.environ, NO_MKDOCS_2_WARNING='1'),
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'WARNING' not in done.stderr, done.stderr
    assert (tmp_path / 'api/rsa/index.html').is_file()
