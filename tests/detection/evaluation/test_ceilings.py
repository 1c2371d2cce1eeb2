"""AP with one kind of mistake put right: against cases whose answer is plain, and brute force."""

import json
import math

import numpy as np
import pytest

from mmclarity.detection.evaluation.ceilings import (
    count_near_sure,
    drop_background,
    drop_duplicates,
    evaluate_ceilings_of,
    near_sure,
    refit,
    rename,
    share_found,
    without_missed,
)
from mmclarity.detection.evaluation.coco_eval import BoxEval
from tools.analysis_tools import detection_ceilings

CLASSES = 3


def scene(seed, images=6, objects=5):
    """Objects far from one another: (image, class, box)."""
    rng = np.random.default_rng(seed)
    gts = []
    for image in range(images):
        for place in range(objects):
            box = [100.0 * place, 0.0, *rng.uniform(40, 60, 2)]
            gts.append(
                dict(image_id=image, category_id=int(rng.integers(CLASSES)), bbox=box, iscrowd=0)
            )
    return gts


def detect(gts, seed=0, name=None, shift=0.0):
    """Every object found once; ``name`` changes its class, ``shift`` moves it by its width."""
    rng = np.random.default_rng(seed)
    found = []
    for gt in gts:
        x, y, w, h = gt['bbox']
        category = gt['category_id'] if name is None else name(gt)
        found.append(
            dict(
                image_id=gt['image_id'],
                category_id=category,
                bbox=[x + shift * w, y, w, h],
                score=float(rng.uniform(0.1, 1)),
            )
        )
    return found


def background(images=6):
    return [
        dict(image_id=image, category_id=0, bbox=[5000.0, 0, 50, 50], score=1.0)
        for image in range(images)
    ]


def averages(gts, dts, images=6):
    found = evaluate_ceilings_of(gts, dts, images, range(CLASSES))['all']
    return {name: summary.average() for name, summary in found.items()}


def test_one_kind_of_mistake_at_a_time():
    gts = scene(0)
    perfect = averages(gts, detect(gts))
    assert perfect == dict.fromkeys(perfect, 1.0)

    # An IoU of 1 / 3: no find at 0.5, but near.
    moved = averages(gts, detect(gts, shift=0.5))
    assert moved['as it is'] == moved['names right'] == moved['background left alone'] == 0
    assert moved['boxes right'] == 1

    misnamed = averages(gts, detect(gts, name=lambda gt: (gt['category_id'] + 1) % CLASSES))
    assert misnamed['as it is'] == misnamed['boxes right'] == 0
    assert misnamed['names right'] == 1

    distracted = averages(gts, detect(gts) + background())
    assert distracted['as it is'] == distracted['names right'] == distracted['boxes right'] < 1
    assert distracted['no duplicates'] == distracted['missed not asked for'] < 1
    assert distracted['background left alone'] == 1


def test_half_of_the_names_wrong_lies_between():
    gts = scene(1, images=20)
    rng = np.random.default_rng(3)
    found = averages(
        gts,
        detect(
            gts,
            name=lambda gt: (
                gt['category_id'] if rng.random() < 0.5 else (gt['category_id'] + 1) % CLASSES
            ),
        ),
        images=20,
    )
    assert 0.1 < found['as it is'] < 0.6 and found['names right'] == 1


@pytest.mark.parametrize('seed', range(5))
def test_names_right_is_ap_without_names_where_all_objects_are_of_one_class(seed):
    """With one class of objects, every name but theirs is wrong: renaming is forgetting names."""
    rng = np.random.default_rng(seed)
    gts = [gt | dict(category_id=0) for gt in scene(seed)]
    dts = detect(gts, seed, name=lambda gt: int(rng.integers(CLASSES)))
    for dt in dts:
        dt['bbox'] = [value + noise for value, noise in zip(dt['bbox'], rng.normal(0, 3, 4))]
    nameless = BoxEval(gts, [dt | dict(category_id=0) for dt in dts], 6, [0])
    expected = nameless.summarize_images(nameless.match()).average()
    assert averages(gts, dts)['names right'] == pytest.approx(expected)


def brute_force_rename(objects, found, overlaps):
    """As the docstring of rename says, object by object and detection by detection."""
    renamed = [dict(dt) for dt in found]
    changed = {}
    for i, dt in enumerate(found):
        on = [j for j, gt in enumerate(objects) if overlaps[i, j] >= 0.5 and not gt['iscrowd']]
        if on and all(objects[j]['category_id'] != dt['category_id'] for j in on):
            changed[i] = max(on, key=lambda j: overlaps[i, j])
            renamed[i]['category_id'] = objects[changed[i]]['category_id']
    kept = []
    for i, dt in enumerate(renamed):
        better = False
        if i in changed:
            for k, other in enumerate(renamed):
                own = [
                    j
                    for j, gt in enumerate(objects)
                    if overlaps[k, j] >= 0.5
                    and not gt['iscrowd']
                    and gt['category_id'] == other['category_id']
                ]
                on_same = own and max(own, key=lambda j: overlaps[k, j]) == changed[i]
                better |= bool(on_same and other['score'] > dt['score'])
        if not better:
            kept.append(dt)
    return kept


@pytest.mark.parametrize('seed', range(30))
def test_rename_equals_a_written_out_reference_in_a_crowded_place(seed):
    from pycocotools import mask

    rng = np.random.default_rng(seed)
    objects, found = (
        [
            dict(
                image_id=0,
                category_id=int(rng.integers(CLASSES)),
                iscrowd=int(rng.random() < 0.2),
                score=float(rng.random()),
                bbox=[*rng.uniform(0, 30, 2).tolist(), *rng.uniform(30, 50, 2).tolist()],
            )
            for _ in range(count)
        ]
        for count in (rng.integers(1, 6), rng.integers(1, 12))
    )
    overlaps = np.asarray(
        mask.iou(
            [dt['bbox'] for dt in found],
            [gt['bbox'] for gt in objects],
            [gt['iscrowd'] for gt in objects],
        )
    )
    assert rename(objects, found, overlaps) == brute_force_rename(objects, found, overlaps)


def test_refit_keeps_the_best_scoring_and_its_own_name():
    objects = [
        dict(category_id=0, bbox=[0, 0, 10, 10], iscrowd=0),
        dict(category_id=1, bbox=[0, 0, 12, 12], iscrowd=0),
    ]
    found = [
        dict(category_id=0, bbox=[1, 0, 10, 10], score=0.2),
        dict(category_id=0, bbox=[5, 0, 10, 10], score=0.9),
        dict(category_id=2, bbox=[0, 0, 10, 10], score=0.8),
    ]
    overlaps = np.array([[0.8, 0.6], [0.3, 0.3], [1.0, 0.7]])
    assert refit(objects, found, overlaps) == [
        found[2],
        dict(category_id=0, bbox=[0, 0, 10, 10], score=0.9),
    ]


def test_crowds_are_no_objects_but_no_background_either():
    crowd = dict(image_id=0, category_id=1, bbox=[0.0, 0, 100, 100], iscrowd=1)
    inside = dict(image_id=0, category_id=0, bbox=[10.0, 10, 20, 20], score=0.5)
    overlaps = np.array([[1.0]])
    for rule in (rename, refit, drop_background):
        assert rule([crowd], [inside], overlaps) == [inside]
    assert math.isnan(share_found([crowd], [inside], 1))


def test_nothing_found_and_nothing_to_find():
    gts = scene(0, images=1)
    silent = averages(gts, [], images=1)
    assert set(silent.values()) == {0.0}
    assert all(math.isnan(value) for value in averages([], background(1), images=1).values())
    assert all(math.isnan(value) for value in averages([], [], images=0).values())
    assert share_found(gts, [], 1) == 0


def test_share_found_asks_for_no_name():
    gts = scene(0)
    dts = detect(gts, name=lambda gt: (gt['category_id'] + 1) % CLASSES)
    assert share_found(gts, dts[::2], 6) == pytest.approx(0.5)
    assert share_found(gts, detect(gts, shift=0.5), 6) == 0


def test_duplicates_and_missed_by_themselves():
    gts = scene(0)
    twice = averages(gts, detect(gts) + detect(gts, seed=1))
    assert twice['as it is'] == twice['names right'] == twice['background left alone'] < 1
    assert twice['no duplicates'] == 1
    some = averages(gts, detect(gts)[::2])
    assert some['as it is'] == some['boxes right'] == some['no duplicates'] < 0.7
    assert some['missed not asked for'] == 1


def test_a_class_that_is_never_found_stays_in_the_mean():
    """Nothing of it is asked for any more; without it the mean of the others passed for a gain."""
    gts = scene(0)
    lost = max(gt['category_id'] for gt in gts)
    found = averages(gts, detect([gt for gt in gts if gt['category_id'] != lost]))
    assert 0 < found['as it is'] < 1
    assert found == pytest.approx(dict.fromkeys(found, found['as it is']))


@pytest.mark.parametrize('seed', range(6))
def test_without_duplicates_ap_never_falls(seed):
    rng = np.random.default_rng(seed)
    gts = scene(seed)
    dts = [dt for n in range(3) for dt in detect(gts, seed + n, shift=rng.normal(0, 0.1))]
    evaluated = evaluate_ceilings_of(gts, dts, 6, range(CLASSES))['all']
    for iou in np.arange(0.5, 1, 0.05):
        before, after = (evaluated[n].average(iou) for n in ('as it is', 'no duplicates'))
        assert after >= before - 1e-12


def test_a_tighter_second_find_is_no_duplicate():
    objects = [dict(category_id=0, bbox=[0, 0, 10, 10], iscrowd=0)]
    loose, tight, worse = (
        dict(category_id=0, bbox=[0, 0, 10, side], score=score)
        for side, score in ((6, 0.9), (9, 0.5), (8, 0.2))
    )
    overlaps = np.array([[0.6], [0.9], [0.8]])
    assert drop_duplicates(objects, [loose, tight, worse], overlaps) == [loose, tight]
    assert without_missed(objects, [loose], np.array([[0.05]])) == []
    assert without_missed(objects, [loose], np.array([[0.2]])) == objects
    assert without_missed(objects, [loose | dict(category_id=1)], np.array([[0.2]])) == []


@pytest.mark.parametrize(
    'change, expected',
    [
        ({}, True),
        ({'score': 0.4}, False),  # unsure
        ({'category_id': 1}, False),  # itself wrong
        ({'bbox': [100, 0, 10, 10]}, False),  # on nothing
    ],
)
def test_right_neighbours_by_hand(change, expected):
    """Two cars; the first is called a bus, the second is the neighbour."""
    gts = [dict(image_id=0, category_id=0, bbox=[x, 0, 10, 10], iscrowd=0) for x in (0, 30, 300)]
    wrong = dict(image_id=0, category_id=1, bbox=[0, 0, 10, 10], score=0.6)
    neighbour = dict(image_id=0, category_id=0, bbox=[30, 0, 10, 10], score=0.8) | change
    far = dict(image_id=0, category_id=0, bbox=[300, 0, 10, 10], score=0.9)
    overlaps = np.zeros((3, 3))
    overlaps[0, 0] = overlaps[2, 2] = 1
    overlaps[1, 1] = float(neighbour['bbox'][0] == 30)
    is_wrong, near = near_sure(gts, [wrong, neighbour, far], overlaps)
    assert is_wrong[0] and near[0] == expected and not near[1:].any()
    if not change:
        assert count_near_sure(gts, [wrong, neighbour, far], 1) == (1, 1)
        assert count_near_sure(gts, [wrong, neighbour, far], 1, least=0.7) == (0, 0)
        assert count_near_sure(gts, [wrong, neighbour, far], 1, close=2) == (1, 0)
        found = evaluate_ceilings_of(gts, [wrong, neighbour, far], 1, range(2))['all']
        assert found['as it is'].average() < found['names near a right one'].average() == 1


def test_groups_are_evaluations_of_their_images():
    gts = scene(4)
    dts = detect(gts, name=lambda gt: gt['category_id'] if gt['image_id'] < 3 else 0)
    groups = {'first': [0, 1, 2], 'last': [3, 4, 5]}
    found = evaluate_ceilings_of(gts, dts, 6, range(CLASSES), groups=groups)
    assert list(found) == ['all', 'first', 'last']
    assert found['first']['as it is'].average() == 1 > found['last']['as it is'].average()
    alone = evaluate_ceilings_of(
        [gt for gt in gts if gt['image_id'] > 2],
        [dt for dt in dts if dt['image_id'] > 2], 6, range(CLASSES)
    )['all']  # fmt: skip
    for name, summary in found['last'].items():
        assert summary.average() == pytest.approx(alone[name].average())


@pytest.fixture
def files(tmp_path):
    gts = scene(0)
    coco = dict(
        images=[dict(id=10 + i, file_name=f'{i}.jpg') for i in range(6)],
        categories=[dict(id=k, name=name) for k, name in enumerate(('car', 'bus', 'van'))],
        annotations=[gt | dict(image_id=gt['image_id'] + 10) for gt in gts],
    )
    dts = detect(coco['annotations'], name=lambda gt: 0)
    paths = [tmp_path / 'gt.json', tmp_path / 'dt.json']
    for path, content in zip(paths, (coco, dts)):
        path.write_text(json.dumps(content))
    return paths


def test_the_tool_prints_the_table(files, capsys):
    assert detection_ceilings.main([str(path) for path in files]) == 0
    out = capsys.readouterr().out
    rows = {
        row.split('|')[1].strip(): [cell.strip() for cell in row.split('|')[2:-1]]
        for row in out.splitlines()
        if row.startswith('|')
    }
    sizes = ['small', 'medium', 'large']
    assert rows[''] == ['AP', 'AP50', 'AP75', *sizes, 'car', 'bus', 'van']
    assert [value for value in rows['names right'] if value != 'nan'] == ['100.0'] * 7
    assert rows['as it is'][7:] == ['0.0', '0.0']
    assert '100 % of the objects' in out
    assert detection_ceilings.main([*(str(path) for path in files), '--classes', 'car']) == 0
    assert 'bus' not in capsys.readouterr().out


def test_the_tool_refuses_with_a_remedy(files, capsys, tmp_path):
    gt, dt = (str(path) for path in files)
    assert detection_ceilings.main([gt, dt, '--classes', 'lorry']) == 2
    assert "['lorry']" in capsys.readouterr().err
    assert detection_ceilings.main([dt, dt]) == 2
    assert 'a COCO list of results; labels are wanted here' in capsys.readouterr().err
    assert detection_ceilings.main([gt, gt]) == 2
    assert 'this is ground truth' in capsys.readouterr().err
    assert detection_ceilings.main([gt, str(tmp_path / 'no.json')]) == 2
    assert 'no.json: no such file' in capsys.readouterr().err
    empty = json.loads(files[0].read_text()) | dict(annotations=[])
    (tmp_path / 'empty.json').write_text(json.dumps(empty))
    assert detection_ceilings.main([str(tmp_path / 'empty.json'), dt]) == 2
    assert 'has no objects' in capsys.readouterr().err
