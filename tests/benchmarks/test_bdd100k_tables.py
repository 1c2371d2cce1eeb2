"""The page of BDD100K: its numbers come from result files, its tables from the kept results."""

import json
import re
from dataclasses import replace

import bdd100k_report as reports
import bdd100k_tables as bench
import numpy as np
import pytest

from mmclarity.detection.evaluation.comparison import compare
from mmclarity.detection.evaluation.label_files import read_labels, read_results
from tests.docs.guides import ROOT

RESULTS = ROOT / 'docs/benchmarks/results/bdd100k.json'
PAGES = ROOT / 'docs/benchmarks'
CLASSES = ('car', 'bus')


def boxes(rng, images, per_image=6):
    """Objects of two classes on every image."""
    return [
        dict(image_id=image, category_id=int(rng.integers(1, 3)), bbox=[*place, 30.0, 20.0])
        for image in range(1, images + 1)
        for place in rng.uniform(0, 300, (per_image, 2)).round(1).tolist()
    ]


def seen(rng, objects, jitter):
    """Detections of these objects, moved by so many pixels."""
    return [
        {
            **item,
            'bbox': (item['bbox'] + rng.normal(0, jitter, 4) * [1, 1, 0.3, 0.3]).tolist(),
            'score': float(rng.uniform(0.3, 1)),
        }
        for item in objects
    ]


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """Result files of every detector on few images: the later in its list, the closer its boxes."""
    folder = tmp_path_factory.mktemp('runs')
    rng = np.random.default_rng(0)
    objects = boxes(rng, 40)
    labels = dict(
        images=[
            dict(
                id=place,
                file_name=f'{place}.jpg',
                width=640,
                height=360,
                attributes=dict(
                    weather=('clear', 'snowy')[place % 2],
                    timeofday=('daytime', 'night')[place % 3 > 0],
                    scene='highway',
                ),
            )
            for place in range(1, 41)
        ],
        annotations=[
            dict(item, id=place, area=600.0, iscrowd=0) for place, item in enumerate(objects, 1)
        ],
        categories=[dict(id=place, name=name) for place, name in enumerate(CLASSES, 1)],
    )
    for part in bench.PARTS.values():
        for place, name in enumerate(part.detectors):
            for file in bench._files(folder, part.folder, name):
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(json.dumps(seen(rng, objects, 6 - place)))
    (folder / 'validation/plain.gt.json').write_text(json.dumps(labels))
    (folder / 'heads/plain_s0/val.gt.json').write_text(json.dumps(labels))
    return folder


@pytest.fixture(scope='module')
def results(runs):
    """Of all tables, with the two classes that there are."""
    with pytest.MonkeyPatch.context() as patch:
        six = replace(bench.PARTS['six classes'], classes=CLASSES)
        patch.setitem(bench.PARTS, 'six classes', six)
        return json.loads(json.dumps(bench.measure(runs, draws=200)))


def test_numbers_are_those_of_the_comparison(runs, results):
    labelled = read_labels(runs / 'validation/plain.gt.json')
    files = {
        name: [read_results(runs / f'validation/{name}.bbox.json', labelled)]
        for name in ('two_looks', 'context')
    }
    compared = compare(labelled, files, labelled.chosen(None), draws=200, area_scale=4.0)
    row = next(row for row in compared.rows if (row.part, row.number) == ('all', 'mAP_75'))
    found = results['validation']
    assert found['values']['context']['all']['mAP_75'] == pytest.approx(
        row.values[1].value, abs=1e-5
    )
    assert found['differences']['context - two_looks']['all']['mAP_75'] == pytest.approx(
        [row.differences[0].value, row.differences[0].low, row.differences[0].high], abs=1e-5
    )
    assert set(found['differences']) == {
        'plain_soft - plain', 'two_looks - plain', 'context - plain',
        'two_looks - plain_soft', 'context - plain_soft', 'context - two_looks',
    }  # fmt: skip
    assert found['parts']['weather/snowy'][:2] == [20, 120]


def test_seeds_stand_one_by_one_and_their_mean_is_compared(results):
    found = results['heads']
    seeds = found['seeds']
    assert len(set(seeds['plain'])) == 3
    change = found['differences']['two_looks - plain']['all']['mAP'][0]
    assert change == pytest.approx(np.mean(seeds['two_looks']) - np.mean(seeds['plain']), abs=2e-5)


def test_a_missing_file_is_named(runs, tmp_path):
    with pytest.raises(SystemExit, match='plain.gt.json'):
        bench.main(['measure', str(tmp_path), '--results', str(tmp_path / 'r.json')])
    assert not (tmp_path / 'r.json').exists()


def test_tables_say_what_was_found():
    numbers = dict.fromkeys(reports.NUMBERS, 0.1)
    changes = dict.fromkeys(reports.NUMBERS, [0.0186, 0.0149, 0.0235])
    found = dict(
        parts={'all': [1000, 18370, False], 'weather/foggy': [1, 28, True]},
        values={
            name: {'all': numbers, 'weather/foggy': {'mAP': 0.5}} for name in ('plain', 'two_looks')
        },
        differences={
            'two_looks - plain': {'all': changes, 'weather/foggy': {'mAP': [0.046, None, None]}}
        },
        seeds={'plain': [0.19, 0.2], 'two_looks': [0.21, 0.22]},
    )
    assert '| two looks - plain | +1.9 [+1.5, +2.4] |' in reports.validation(found)
    assert '| 1,000 validation frames' in reports.validation(found)
    text = reports.conditions(found)
    assert '| weather: foggy \\* | 1 | 28 | 50.0 | 50.0 | +4.6 |' in text
    assert '| all, AP small | 1,000 | 18,370 | 10.0 | 10.0 | +1.9 [+1.5, +2.4] |' in text
    found['over_seeds'] = {'two_looks - plain': {'all': {'mAP': [0.0186, -0.001, 0.039]}}}
    text = reports.heads(found)
    assert '| plain | 19.0, 20.0 |  |' in text
    assert '| **two looks** | 21.0, 22.0 | +1.9 [+1.5, +2.4] | [-0.1, +3.9] | +1.9 [' in text
    assert 'AP of seeds 0, 1 |' in text and reports.points(-0.0001, '+') == '-0.0'


def test_both_pages_are_written_between_their_marks(results, tmp_path, monkeypatch):
    monkeypatch.setattr(reports, 'WEATHER', {'all': 'all', 'weather/snowy': 'snowy'})
    marks = '<!-- {0}: begin -->\nold {0}\n<!-- {0}: end -->\n'
    names = ('validation', 'conditions', 'weather', 'heads', 'ceilings')
    (tmp_path / 'bdd100k.md').write_text('# Page\n' + ''.join(map(marks.format, names)) + 'end\n')
    (tmp_path / 'bdd100k_trials.md').write_text(marks.format('published heads'))
    (tmp_path / 'r.json').write_text(json.dumps(results))
    bench.main(['write', '--results', str(tmp_path / 'r.json'), '--pages', str(tmp_path)])
    page = (tmp_path / 'bdd100k.md').read_text()
    assert 'old' not in page and page.startswith('# Page\n') and page.endswith('end\n')
    assert '| snowy | 20 |' in page and '| weather: snowy | 20 | 120 |' in page
    assert '| STA t=0.32 |' in (tmp_path / 'bdd100k_trials.md').read_text()


def test_the_pages_hold_the_tables_of_the_kept_results(tmp_path):
    for name in ('bdd100k.md', 'bdd100k_trials.md'):
        (tmp_path / name).write_text((PAGES / name).read_text(encoding='utf-8'), encoding='utf-8')
    reports.write(json.loads(RESULTS.read_text(encoding='utf-8')), tmp_path)
    for name in ('bdd100k.md', 'bdd100k_trials.md'):
        assert (tmp_path / name).read_text(encoding='utf-8') == (PAGES / name).read_text(
            encoding='utf-8'
        )


def test_what_the_readme_and_the_page_say_stands_in_the_tables():
    """Of the detectors that ship: every difference in the README's row, and in bold on the page."""
    results = json.loads(RESULTS.read_text(encoding='utf-8'))
    known = set()
    for part in ('validation', 'six classes', 'cars', 'heads'):
        for changes in results[part]['differences'].values():
            known |= {reports.change(one) for row in changes.values() for one in row.values()}
    readme = (ROOT / 'README.md').read_text(encoding='utf-8')
    row = next(line for line in readme.splitlines() if 'the detector that ships, which' in line)
    said = re.findall(r'[+-]\d+\.\d \[[+-]\d+\.\d, [+-]\d+\.\d\]', row)
    page = (PAGES / 'bdd100k.md').read_text(encoding='utf-8')
    ships = page.split('## From ImageNet weights')[0]
    said += re.findall(
        r'[+-]\d+\.\d \[[+-]\d+\.\d, [+-]\d+\.\d\]', re.sub(r'^\|.*', '', ships, flags=re.M)
    )
    assert len(said) > 3 and not set(said) - known
