"""The notebooks run, and the pages beside them are what they hold."""

import importlib.util
import json

import pytest

from tests.docs.guides import ROOT

spec = importlib.util.spec_from_file_location('notebooks', ROOT / 'docs/extensions/notebooks.py')
notebooks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(notebooks)
ALL = sorted(notebooks.FOLDER.glob('*.ipynb'))
KERNEL = all(importlib.util.find_spec(name) for name in ('nbclient', 'ipykernel'))


def test_there_are_three():
    assert len(ALL) == 3


@pytest.mark.parametrize('path', ALL, ids=lambda path: path.stem)
def test_the_page_is_that_of_the_notebook(path):
    text, pictures = notebooks.page(json.loads(path.read_text(encoding='utf-8')), path.stem)
    assert path.with_suffix('.md').read_text(encoding='utf-8') == text, (
        'run python docs/extensions/notebooks.py --pages'
    )
    kept = {file.name: file.read_bytes() for file in path.parent.glob(f'{path.stem}_*.png')}
    assert kept == pictures and pictures
    assert path.stat().st_size < 300_000


@pytest.mark.skipif(not KERNEL, reason='nbclient or ipykernel is missing (make env)')
@pytest.mark.parametrize('path', ALL, ids=lambda path: path.stem)
def test_the_notebook_runs_and_prints_what_it_printed(path):
    """Words and shapes as before; numbers may move with the machine."""
    before, now = json.loads(path.read_text(encoding='utf-8')), notebooks.run(path)
    for old, new in zip(before['cells'], now['cells'], strict=True):
        kinds = [[o['output_type'] for o in cell.get('outputs', [])] for cell in (old, new)]
        assert kinds[0] == kinds[1], ''.join(old['source'])
