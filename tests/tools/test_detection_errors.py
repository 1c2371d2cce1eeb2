"""detection_errors.py as it is called."""

import json
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from tests.detection.evaluation.synthetic_detections import coco, detections, objects, results
from tools.analysis_tools import detection_ceilings, detection_errors


class Page(HTMLParser):
    """Counts what a page has, and what it would fetch."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.sources = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ('src', 'href')]


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    gts = objects(rng, 12)
    labels = coco(gts, 12)
    labels['categories'][1]['name'] = 'b<us|'  # neither page may break on it
    (tmp_path / 'gt.json').write_text(json.dumps(labels))
    dts = results(detections(rng, gts, 12, noise=0.2))
    (tmp_path / 'val.bbox.json').write_text(json.dumps(dts))
    folder = tmp_path / 'images'
    folder.mkdir()
    for item in labels['images'][:11]:  # the last one is not at hand
        path = folder / item['file_name'].split('/')[-1]
        cv2.imwrite(str(path), rng.integers(0, 255, (360, 640, 3), dtype=np.uint8))
    return tmp_path


def call(*args):
    return detection_errors.main([str(arg) for arg in args])


def test_scores_in_per_cent_and_files_that_do_not_fit(files, capsys):
    path = files / 'val.bbox.json'
    dts = json.loads(path.read_text())
    path.write_text(json.dumps([dt | dict(score=100 * dt['score']) for dt in dts]))
    assert call(path, '--ann', files / 'gt.json', '--out', files / 'report') == 2
    assert 'divide by 100' in capsys.readouterr().err and not (files / 'report.md').exists()
    assert detection_ceilings.main([str(files / 'gt.json'), str(path)]) == 2
    capsys.readouterr()
    path.write_text(json.dumps(dts * 2))
    assert not call(path, '--ann', files / 'gt.json', '--out', files / 'report')
    assert 'stand there twice' in (files / 'report.md').read_text()
    assert detection_ceilings.main([str(files / 'gt.json'), str(path)]) == 0
    assert 'stand there twice' in capsys.readouterr().out


def test_writes_both_reports(files):
    out = files / 'new' / 'report'
    assert not call(
        files / 'val.bbox.json', '--ann', files / 'gt.json', '--images', files / 'images',
        '--out', out, '--worst', 12, '--area-scale', '1280x720',
    )  # fmt: skip
    page = Page(out.with_suffix('.html').read_text())
    assert page.tags.count('h2') == 5 and page.tags.count('img') == 4 + 11
    assert all(source.startswith('data:image/') for source in page.sources)
    markdown = out.with_suffix('.md').read_text()
    assert 'b<us\\|' in markdown and 'Not to be read' in markdown and '011.jpg' in markdown
    assert 'areas count times 4' in markdown
    for name in re.findall(r'\]\((.+?)\)', markdown):
        image = cv2.imread(str(out.parent / name))
        assert image is not None and image.std() > 5
    for part in ('weather/rainy', 'timeofday/night', 'class/car', 'objects/small'):
        assert markdown.count(f'| {part}') >= 2


def test_it_begins_with_what_costs_most_and_marks_small_parts(files):
    out = files / 'r'
    assert not call(files / 'val.bbox.json', '--ann', files / 'gt.json', '--out', out)
    text = (files / 'r.md').read_text()
    labels = json.loads((files / 'gt.json').read_text())
    head = re.search(r'It loses most .*? to (.*)\.\n', text)[1]
    told = [float(value) for value in re.findall(r'\((\d+\.\d)\)', head)]
    row = re.search(r'\| points of AP50 \|(.*)\|', text)[1].split('|')[:6]
    assert told == sorted(map(float, row), reverse=True)[:3]
    for category in labels['categories']:
        number = sum(
            item['category_id'] == category['id'] and not item['iscrowd']
            for item in labels['annotations']
        )
        if number:
            name = category['name'].replace('|', '\\|')
            mark = ' *' if number < 20 else ''
            assert f'| class/{name}{mark} | {number:,} |' in text
    # the picture of the costs comes before the tables, the worst images after theirs
    assert text.index('costs.png') < text.index('### In all')


def test_without_images_and_errors(files, capsys):
    given = files / 'val.bbox.json', '--ann', files / 'gt.json', '--out', files / 'r'
    assert not call(*given, '--classes', 'car')
    assert 'worst_1' not in (files / 'r.md').read_text()
    assert 'pedestrian' not in (files / 'r.md').read_text()
    assert call(*given, '--images', files / 'no') == 2
    assert 'no such folder' in capsys.readouterr().err
    (files / 'empty').mkdir()
    assert not call(*given, '--images', files / 'empty')
    assert 'none of the worst images is in' in capsys.readouterr().err
    assert not call(*given, '--images', files / 'images')
    assert not capsys.readouterr().err
    assert call(*given, '--classes', 'lorry') == 2
    assert "['lorry']" in capsys.readouterr().err


def test_nothing_detected_is_reported(files):
    (files / 'none.json').write_text('[]')
    assert not call(files / 'none.json', '--ann', files / 'gt.json', '--out', files / 'none')
    assert '0 detections' in (files / 'none.md').read_text()
