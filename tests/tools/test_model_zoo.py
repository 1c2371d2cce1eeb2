"""The model zoo: what is committed is what the measured rows say."""

import json
from pathlib import Path

import pytest
import yaml

from mmclarity.detection.evaluation import zoo
from mmclarity.errors import DataError
from tools import model_zoo

REPO = Path(__file__).resolve().parents[2]
ROWS = zoo.read_rows(REPO / 'docs/zoo')
MADE = dict(
    name='made-up', config='configs/frcnn_murky.py', checkpoint='epoch_1.pth', sha256='ab' * 32,
    seeds=2, parameters=1_234_567, multiply_adds=2_500_000_000, shape=[192, 320],
    images_per_second=12.5, memory=512_000_000, machine='a machine', data='scenes', images=7,
    ap={'AP': [0.5, 0.4, 0.625], 'AP50': [0.75, None, None], 'AP small': [None, None, None]},
    conditions={'weather/fog': [0.25, 0.125, 0.375]}, notes='none',
)  # fmt: skip


def test_the_committed_page_and_metafiles_are_those_of_the_rows():
    assert model_zoo.main(['write', '--check']) == 0


def test_rows_are_whole():
    for row in ROWS:
        assert (REPO / row['config']).is_file(), row['name']
        assert len(row['sha256']) == 64 and int(row['sha256'], 16)
        point, low, high = row['ap']['AP']
        assert 0 <= low <= point <= high <= 1
        assert row['parameters'] > 0 and row['images_per_second'] > 0 and row['images'] > 0


def test_what_a_row_becomes():
    page = zoo.page([MADE])
    assert '50.0 [40.0, 62.5]' in page and '| made-up' in page and '1.23 M' in page
    assert '25.0 [12.5, 37.5]' in page and 'weather/fog' in page
    (model,) = yaml.safe_load(zoo.metafile([MADE]))['Models']
    assert model['Results'][0]['Metrics'] == {'box AP': 50.0, 'box AP50': 75.0}
    assert model['Metadata']['Parameters'] == 1_234_567
    assert model['Metadata']['inference time (ms/im)'][0]['value'] == 80.0
    assert 'Nothing has been measured' in zoo.page([])


def test_a_file_that_is_no_row_is_named(tmp_path):
    (tmp_path / 'a.json').write_text(json.dumps(dict(name='x')))
    with pytest.raises(DataError, match=r'a.json: lacks config, checkpoint'):
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
