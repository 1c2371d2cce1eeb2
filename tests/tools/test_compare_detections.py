"""compare_detections.py as it is called."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.detection.evaluation.synthetic_detections import coco, detections, objects, results
from tools.analysis_tools import compare_detections


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    gts = objects(rng, 24)
    contents = {'gt': coco(gts, 24)}
    for name, noise in (('plain', 0.15), ('head', 0.06), ('plain1', 0.15), ('head1', 0.06)):
        contents[name] = results(detections(rng, gts, 24, noise))
    paths = {}
    for name, content in contents.items():
        paths[name] = str(tmp_path / f'{name}.json')
        (tmp_path / f'{name}.json').write_text(json.dumps(content))
    return paths


def call(*args):
    return compare_detections.main([str(arg) for arg in args])


def test_writes_tables_and_a_plot(files, tmp_path, capsys):
    out = tmp_path / 'new' / 'cmp'
    assert not call(
        files['plain'], files['head'], '--ann', files['gt'], '--draws', 60, '--out', out,
        '--area-scale', '1280x720',
    )  # fmt: skip
    text = capsys.readouterr().out
    assert '60 bootstrap draws of the images, the same for all detectors' in text
    assert 'head - plain' in text and 'S/M/L as of 1280x720: areas count times 4' in text
    markdown = out.with_suffix('.md').read_text()
    assert markdown.count('\n| all') == 6 and '| weather/rainy' in markdown
    with out.with_suffix('.csv').open() as file:
        rows = list(csv.DictReader(file))
    content = json.loads(out.with_suffix('.json').read_text())
    first, second = (row for row in rows if row['part'] == 'all' and row['number'] == 'mAP')
    assert (first['detector'], first['difference']) == ('plain', '')
    row = content['rows'][0]
    assert float(second['difference_low']) == row['differences'][0]['low'] > 0
    assert f'{100 * row["values"][1]["value"]:.2f} [' in text
    image = cv2.imread(str(out.with_suffix('.png')))
    assert image.shape[0] > 500 and image.std() > 5
    assert not list(out.parent.glob('.*'))


def test_more_files_are_each_compared_with_the_first(files, capsys):
    files = [files[name] for name in ('plain', 'head', 'plain1', 'gt')]
    assert not call(*files[:3], '--ann', files[3], '--draws', 5, '--names', 'a', 'b', 'c')
    out = capsys.readouterr().out
    assert 'b - a' in out and 'c - a' in out and 'c - b' not in out


def test_seeds_are_pairs(files, capsys):
    assert not call(
        '--a', files['plain'], files['plain1'], '--b', files['head'], files['head1'],
        '--ann', files['gt'], '--draws', 5, '--everything',
    )  # fmt: skip
    out = capsys.readouterr().out
    assert '2 seeds each, paired in the order given' in out
    assert 'AP of each seed, plain: ' in out and 'Difference of each pair of seeds' in out
    assert out.count('weather/clear') == 6
    assert 'head - plain, for other images and other seeds of both trainings: AP +' in out


def test_recordings_and_files_that_do_not_fit(files, tmp_path, capsys):
    given = files['plain'], files['head'], '--ann', files['gt'], '--draws', 5
    assert not call(*given, '--together', 2)
    out = capsys.readouterr().out
    assert '5 bootstrap draws of the recordings' in out
    told = 'Drawn are 3 recordings (the first 2 characters of the file names) that hold 24 images.'
    assert told in out
    assert call(*given, '--together', 'tape') == 2
    assert '--together tape: ' in capsys.readouterr().err
    part = tmp_path / 'part.json'
    content = json.loads(Path(files['head']).read_text())
    part.write_text(json.dumps([item for item in content if item['image_id'] < 112]))
    assert not call(files['plain'], part, '--ann', files['gt'], '--draws', 5)
    assert f'{part}: no detection in ' in capsys.readouterr().out


def test_classes_and_attributes(files, capsys):
    given = files['plain'], files['head'], '--ann', files['gt'], '--draws', 5
    assert not call(*given, '--classes', 'bus', '--by', 'timeofday')
    out = capsys.readouterr().out
    assert 'class/bus' in out and 'class/car' not in out
    assert 'timeofday/night' in out and 'weather' not in out


@pytest.mark.parametrize(
    'given, message',
    [
        (['plain'], 'give a second'),
        (['plain', 'head', '--a', 'plain', '--b', 'head'], 'give two or more'),
        (['--a', 'plain', 'plain1', '--b', 'head'], 'compared as pairs'),
        (['--a', 'plain', 'plain', '--b', 'head', 'head1'], '--a: a file stands there twice'),
        (['plain', 'head', '--draws', '0'], 'must be positive'),
        (['plain', 'head', '--confidence', '95'], 'between 0 and 1'),
        (['plain', 'head', '--image-size', 'big'], 'WIDTHxHEIGHT'),
    ],
)
def test_the_command_line_is_checked(files, given, message, capsys):
    with pytest.raises(SystemExit):
        call(*(files.get(item, item) for item in given), '--ann', files['gt'])
    assert message in capsys.readouterr().err


def test_errors_end_without_a_traceback(files, tmp_path, capsys):
    assert call(files['plain'], files['gt'], '--ann', files['gt']) == 2
    assert 'this is ground truth' in capsys.readouterr().err
    assert call(files['plain'], tmp_path / 'no.json', '--ann', files['gt']) == 2
    assert 'no.json: no such file' in capsys.readouterr().err
    assert call(files['plain'], files['head'], '--ann', files['gt'], '--names', 'a', 'a') == 2
    assert 'give 2 different names' in capsys.readouterr().err


def test_an_attribute_that_no_image_has_is_named(files, capsys):
    given = files['plain'], files['head'], '--ann', files['gt'], '--draws', 5
    assert call(*given, '--by', 'weather', 'wheather') == 2
    said = capsys.readouterr().err
    assert '--by wheather: the images of' in said and 'weather' in said.partition(' have ')[2]


def test_no_difference_is_more_than_all_there_is(tmp_path):
    """Of two images Student's t would give -208 to 259 points."""
    box, image = [10, 10, 30, 30], dict(width=64, height=64)
    gts = [dict(id=i, image_id=i, category_id=1, bbox=box, area=900, iscrowd=0) for i in range(2)]
    content = dict(
        images=[dict(image, id=i, file_name=f'{i}.jpg') for i in range(2)],
        annotations=gts,
        categories=[dict(id=1, name='car')],
    )
    found = [dict(image_id=0, category_id=1, bbox=box, score=0.5)]
    for name, data in (('gt', content), ('none', []), ('one', found)):
        (tmp_path / f'{name}.json').write_text(json.dumps(data))
    files = [tmp_path / f'{name}.json' for name in ('none', 'one', 'gt')]
    assert not call(*files[:2], '--ann', files[2], '--draws', 50, '--out', tmp_path / 'out')
    row = json.loads((tmp_path / 'out.json').read_text())['rows'][0]
    assert row['differences'][0]['low'] == -1 and row['differences'][0]['high'] == 1


def test_names_come_from_what_differs_in_the_paths():
    names = compare_detections.detector_names
    assert names([['x/plain.bbox.json'], ['x/head.bbox.json']], None) == ['plain', 'head']
    assert names([['a/val.bbox.json'], ['b/val.bbox.json']], None) == ['a/val', 'b/val']
    assert names([['val.json'], ['val.json']], None) == ['A', 'B']
