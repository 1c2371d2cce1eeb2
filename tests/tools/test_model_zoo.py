"""The model zoo: what is committed is what the measured rows say."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from mmclarity.errors import DataError
from mmclarity.utils import zoo
from tools import model_zoo

REPO = Path(__file__).resolve().parents[2]
ROWS = zoo.read_rows(REPO / 'docs/zoo')
MADE = dict(
    name='made-up', task='detection', config='configs/frcnn_murky.py', checkpoint='epoch_1.pth',
    sha256='ab' * 32,
    seeds=2, parameters=1_234_567, multiply_adds=2_500_000_000, shape=[192, 320],
    images_per_second=12.5, memory=512_000_000, machine='a machine', data='scenes', images=7,
    ap={'AP': [0.5, 0.4, 0.625], 'AP50': [0.75, None, None], 'AP small': [None, None, None]},
    conditions={'weather/fog': [0.25, 0.125, 0.375]}, notes='none',
)  # fmt: skip


def test_the_committed_page_and_metafiles_are_those_of_the_rows():
    assert model_zoo.main(['write', '--check']) == 0


def test_rows_are_whole():
    for row in ROWS:
        assert row['config'] == '' or (REPO / row['config']).is_file(), row['name']
        point, low, high = row['ap']['AP'] if row['task'] == 'detection' else row['scores']['ssim']
        assert 0 <= low <= point <= high <= 1
        assert row['parameters'] > 0 and row['images_per_second'] > 0 and row['images'] > 0


def test_the_hashes_are_those_of_the_files_that_ship():
    """Whoever replaces weights of the package measures their rows anew."""
    for row in ROWS:
        file = REPO / row['checkpoint']
        assert file.is_file(), f'{row["name"]}: {row["checkpoint"]} is not in the repository'
        assert zoo.digest(file) == row['sha256'], row['name']


def test_every_network_that_ships_has_a_row():
    shipped = {path.relative_to(REPO).as_posix() for path in REPO.glob('projects/**/*.safetensors')}
    assert shipped == {row['checkpoint'] for row in ROWS}


def test_what_a_row_becomes():
    page = zoo.page([MADE])
    assert '50.0 [40.0, 62.5]' in page and '| made-up' in page and '1.23 M' in page
    assert '25.0 [12.5, 37.5]' in page and 'weather/fog' in page
    (model,) = yaml.safe_load(zoo.metafile([MADE]))['Models']
    assert model['Results'][0]['Metrics'] == {'box AP': 50.0, 'box AP50': 75.0}
    assert model['Metadata']['Parameters'] == 1_234_567
    assert model['Metadata']['inference time (ms/im)'][0]['value'] == 80.0
    assert 'Nothing has been measured' in zoo.page([])
    assert 'Restorers' not in page


RESTORED = dict(
    {key: value for key, value in MADE.items() if key not in ('ap', 'conditions', 'config')},
    name='restorer', task='restoration', config='', checkpoint='a/b.safetensors', mode='bfloat16',
    scores=dict(psnr=[29.5, 28.25, 30.0], ssim=[0.9, None, None], fabricated=[2.0, -0.5, 3.0]),
)  # fmt: skip


def test_what_the_row_of_a_restorer_becomes():
    page = zoo.page([MADE, RESTORED])
    assert '29.50 [28.25, 30.00] | 0.900 | 2.0 [-0.5, 3.0]' in page
    assert page.index('## Detectors') < page.index('## Restorers') < page.index('## What they')
    meta = yaml.safe_load(zoo.metafile([MADE, RESTORED]))
    assert [one['Name'] for one in meta['Collections']] == [
        one['In Collection'] for one in meta['Models']
    ]
    _, model = meta['Models']
    assert 'Config' not in model and model['Weights'] == 'a/b.safetensors'
    assert model['Results'][0]['Metrics'] == {'PSNR': 29.5, 'SSIM': 0.9}
    assert model['Metadata']['inference time (ms/im)'][0]['mode'] == 'bfloat16'


def test_the_mean_of_a_restorer_and_its_interval():
    values = list(np.random.default_rng(1).normal(30, 2, 40))
    point, low, high = model_zoo._mean([*values, float('nan')], 2000)
    assert point == pytest.approx(np.mean(values), abs=1e-4)
    half = 1.96 * np.std(values) / 40**0.5  # of the normal approximation
    assert point - low == pytest.approx(half, rel=0.1)
    assert high - point == pytest.approx(half, rel=0.1)
    assert model_zoo._mean([float('nan')], 10) == [None, None, None]
    assert model_zoo._mean([3.0], 10) == [3.0, None, None]


def test_a_file_that_is_no_row_is_named(tmp_path):
    (tmp_path / 'a.json').write_text(json.dumps(dict(name='x')))
    with pytest.raises(DataError, match=r'a.json: lacks task, config, checkpoint'):
        zoo.read_rows(tmp_path)
    (tmp_path / 'a.json').write_text(json.dumps(dict(MADE, task='naming')))
    with pytest.raises(DataError, match="task 'naming' is none of detection, restoration"):
        zoo.read_rows(tmp_path)
    (tmp_path / 'a.json').write_text('{')
    with pytest.raises(DataError, match='a.json: no JSON'):
        zoo.read_rows(tmp_path)
    assert zoo.read_rows(tmp_path / 'none') == []


def test_accuracy_of_a_row_is_that_of_the_comparison(tmp_path):
    """Forty images, half of their objects found and half missed."""
    labels = dict(
        images=[dict(id=i, file_name=f'{i}.jpg', width=100, height=100) for i in range(1, 41)],
        categories=[dict(id=1, name='car')],
        annotations=[
            dict(id=i, image_id=i, category_id=1, bbox=[10, 10, 40, 40], area=1600, iscrowd=0)
            for i in range(1, 41)
        ],
    )
    found = [
        dict(image_id=i, category_id=1, bbox=[10, 10, 40, 40], score=0.9) for i in range(1, 21)
    ]
    (tmp_path / 'gt.json').write_text(json.dumps(labels))
    (tmp_path / 'dt.json').write_text(json.dumps(found))
    args = model_zoo.parse_args(
        ['measure', 'c', 'k', '--results', str(tmp_path / 'dt.json'), '--ann',
         str(tmp_path / 'gt.json'), '--images', 'x', '--name', 'n', '--data', 'd',
         '--machine', 'm', '--draws', '50']
    )  # fmt: skip
    row = model_zoo._accuracy(args)
    assert row['images'] == 40
    assert row['ap']['AP'][0] == pytest.approx(51 / 101, abs=1e-4)  # recall one half
    assert row['ap']['AP'][1] <= row['ap']['AP'][0] <= row['ap']['AP'][2]
    assert row['ap']['AP small'] == [None, None, None]
    assert row['conditions']['class/car'][0] == row['ap']['AP'][0]
