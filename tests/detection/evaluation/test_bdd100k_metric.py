"""BDD100KMetric against plain pycocotools, and against cases worked out by hand."""

import contextlib
import copy
import io
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import METRICS
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmclarity.detection.datasets.scalabel import CLASSES
from mmclarity.detection.evaluation import BDD100KMetric, bdd100k_metric

CAR, BUS, PEDESTRIAN = (CLASSES.index(name) for name in ('car', 'bus', 'pedestrian'))
NAMES = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')
A, B, C = [0, 0, 50, 50], [100, 100, 150, 150], [200, 200, 250, 250]


def gt(box, label=CAR, ignore=0, **attributes):
    return {'bbox': box, 'bbox_label': label, 'ignore_flag': ignore, 'attributes': attributes}


def make_sample(img_id, instances, detections, **attributes):
    """A data sample as a Runner hands it over; detections are (box, label, score)."""
    boxes, labels, scores = zip(*detections, strict=True) if detections else ((), (), ())
    defaults = {'weather': 'clear', 'timeofday': 'daytime', 'scene': 'highway'}
    return {
        'img_id': img_id,
        'img_path': f'images/{img_id}.jpg',
        'ori_shape': (720, 1280),
        'instances': instances,
        'pred_instances': {
            'bboxes': torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            'labels': torch.tensor(labels, dtype=torch.long),
            'scores': torch.tensor(scores, dtype=torch.float32),
        },
        **defaults,
        **attributes,
    }


def evaluate(samples, classes=CLASSES, **kwargs):
    kwargs.setdefault('by', ())
    metric = METRICS.build({'type': 'BDD100KMetric', **kwargs})
    metric.dataset_meta = {'classes': classes}
    for sample in samples:
        metric.process({}, [sample])
    return metric.evaluate(size=len(samples))


def random_samples(seed, images=12, ignore=True):
    """Objects of all sizes; detections near them, doubled, mislabelled or anywhere."""
    rng = np.random.default_rng(seed)
    samples = []
    for img_id in range(1, images + 1):
        instances, detections = [], []
        for _ in range(rng.integers(0, 9)):
            side = np.exp(rng.uniform(2, 5.5, 2))
            x1, y1 = rng.uniform(0, 400, 2)
            label = int(rng.choice([CAR, BUS, PEDESTRIAN]))
            box = [x1, y1, x1 + side[0], y1 + side[1]]
            flag = int(ignore and rng.random() < 0.2)
            instances.append(gt(box, label, flag, degraded=bool(rng.random() < 0.5)))
            for _ in range(rng.integers(0, 3)):
                found = np.array(box) + rng.normal(0, 0.06, 4) * np.tile(side, 2)
                named = label if rng.random() < 0.8 else BUS
                # float32-exact, as both sides get them
                detections.append((found.astype(np.float32).tolist(), named, rng.random()))
        for _ in range(rng.integers(0, 4)):
            x1, y1 = rng.uniform(0, 400, 2)
            detections.append(([x1, y1, x1 + 60, y1 + 30], CAR, rng.random()))
        weather = ['foggy', 'rainy', 'partly cloudy'][img_id % 3]
        samples.append(make_sample(img_id, instances, detections, weather=weather))
    return samples


def reference(samples, categories, ignored=None):
    """AP numbers of unmodified pycocotools, through its own file formats."""
    coco, dts = COCO(), []
    coco.dataset = {
        'images': [],
        'annotations': [],
        'info': {},
        'categories': [{'id': i + 1, 'name': name} for i, name in enumerate(CLASSES)],
    }
    for sample in samples:
        coco.dataset['images'].append({'id': sample['img_id'], 'width': 1280, 'height': 720})
        for item in sample['instances']:
            x1, y1, x2, y2 = item['bbox']
            annotations = coco.dataset['annotations']
            annotations.append(
                {
                    'id': len(annotations) + 1,
                    'image_id': sample['img_id'],
                    'category_id': item['bbox_label'] + 1,
                    'bbox': [x1, y1, x2 - x1, y2 - y1],
                    'area': (x2 - x1) * (y2 - y1),
                    'iscrowd': item['ignore_flag'],
                }
            )
        pred = sample['pred_instances']
        for box, label, score in zip(
            *(
                pred[key].double().tolist() if key != 'labels' else pred[key].tolist()
                for key in ('bboxes', 'labels', 'scores')
            ),
            strict=True,
        ):
            dts.append(
                {
                    'image_id': sample['img_id'],
                    'category_id': label + 1,
                    'score': score,
                    'bbox': [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                }
            )
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(dts), 'bbox')
        evaluation.params.catIds = [label + 1 for label in categories]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    # COCO writes -1 where there is nothing to find
    return np.where(evaluation.stats[:6] < 0, np.nan, evaluation.stats[:6])  # fmt: skip


def test_equals_pycocotools():
    for seed in range(4):
        samples = random_samples(seed)
        found = evaluate(samples)
        expected = reference(samples, range(10))
        assert 0.05 < found['bdd/mAP'] < 0.95
        np.testing.assert_allclose([found[f'bdd/{name}'] for name in NAMES], expected, atol=1e-12)


def test_groups_equal_an_evaluation_of_their_images_alone():
    samples = random_samples(5, images=18)
    found = evaluate(samples, by=('weather', 'timeofday'), instance_attribute='degraded')
    for value, key in (('foggy', 'foggy'), ('rainy', 'rainy'), ('partly cloudy', 'partly_cloudy')):
        part = [sample for sample in samples if sample['weather'] == value]
        expected = reference(part, range(10))
        np.testing.assert_allclose(
            [found[f'bdd/weather/{key}/{name}'] for name in NAMES], expected, atol=1e-12
        )
        alone = evaluate(part, instance_attribute='degraded')
        for name in ('mAP_degraded', 'mAP_clear'):
            assert found[f'bdd/weather/{key}/{name}'] == pytest.approx(alone[f'bdd/{name}'])
    assert found['bdd/timeofday/daytime/mAP'] == found['bdd/mAP']


def test_an_attribute_of_zero_is_a_value():
    """Only what is lacking or empty is undefined."""
    values = [0, 1, 0, None, '']
    samples = [make_sample(i, [gt(A)], [(A, CAR, 0.9)], night=v) for i, v in enumerate(values)]
    numbers = evaluate(samples, by=['night'])
    groups = {key.split('/')[2] for key in numbers if '/night/' in key}
    assert groups == {'0', '1', 'undefined'}


def test_detections_in_bfloat16_are_taken():
    sample = make_sample(1, [gt(A)], [(A, CAR, 0.5)])
    pred = sample['pred_instances']
    pred.update({key: pred[key].bfloat16() for key in ('bboxes', 'scores')})
    assert evaluate([sample])['bdd/mAP'] == pytest.approx(1)


def test_eval_classes_and_classwise_equal_pycocotools():
    samples = random_samples(6)
    found = evaluate(samples, eval_classes=['bus', 'pedestrian'], classwise=True)
    expected = reference(samples, [BUS, PEDESTRIAN])
    np.testing.assert_allclose([found[f'bdd/{name}'] for name in NAMES], expected, atol=1e-12)
    for name, label in (('bus', BUS), ('pedestrian', PEDESTRIAN)):
        expected = reference(samples, [label])
        np.testing.assert_allclose(
            [found[f'bdd/class/{name}/{key}'] for key in NAMES], expected, atol=1e-12
        )
    assert 'bdd/class/car/mAP' not in found


def test_order_of_the_images_does_not_matter():
    samples = random_samples(7)
    forward = evaluate(samples, instance_attribute='degraded')
    backward = evaluate(samples[::-1], instance_attribute='degraded')
    assert forward == pytest.approx(backward, nan_ok=True)


def test_perfect_detections_by_hand():
    samples = [make_sample(1, [gt(A), gt(B, BUS)], [(A, CAR, 0.9), (B, BUS, 0.8)])]
    found = evaluate(samples)
    assert [found[f'bdd/{name}'] for name in NAMES[:3]] == pytest.approx([1, 1, 1])
    assert found['bdd/mAP_m'] == pytest.approx(1)
    assert math.isnan(found['bdd/mAP_s']) and math.isnan(found['bdd/mAP_l'])


def test_half_found_by_hand():
    # one of two found: precision 1 up to recall 0.5, so 51 of COCO's 101 recall points
    samples = [make_sample(1, [gt(A), gt(B)], [(A, CAR, 0.9)])]
    assert evaluate(samples)['bdd/mAP'] == pytest.approx(51 / 101)


def test_ignored_ground_truth_is_neither_right_nor_wrong():
    samples = [make_sample(1, [gt(A), gt(B, ignore=1)], [(B, CAR, 0.9), (B, CAR, 0.85),
                                                         (A, CAR, 0.8)])]  # fmt: skip
    assert evaluate(samples)['bdd/mAP'] == pytest.approx(1)
    only_ignored = [make_sample(1, [gt(B, ignore=1)], [(B, CAR, 0.9)])]
    assert math.isnan(evaluate(only_ignored)['bdd/mAP'])


def test_degraded_and_clear_by_hand():
    # the clear car is found, the degraded one is not
    instances = [gt(A, degraded=False), gt(B, degraded=True)]
    found = evaluate([make_sample(1, instances, [(A, CAR, 0.9)])], instance_attribute='degraded')
    assert found['bdd/mAP_clear'] == pytest.approx(1)
    assert found['bdd/mAP_degraded'] == 0
    assert found['bdd/mAP'] == pytest.approx(51 / 101)
    # a detection of nothing, more certain than the others, counts against both
    extra = [(C, CAR, 0.95), (A, CAR, 0.9), (B, CAR, 0.8)]
    found = evaluate([make_sample(1, instances, extra)], instance_attribute='degraded')
    assert found['bdd/mAP_clear'] == pytest.approx(0.5)
    assert found['bdd/mAP_degraded'] == pytest.approx(0.5)


def test_attribute_that_labels_lack_counts_as_false():
    found = evaluate([make_sample(1, [gt(A)], [(A, CAR, 0.9)])], instance_attribute='occluded')
    assert found['bdd/mAP_not_occluded'] == pytest.approx(1)
    assert math.isnan(found['bdd/mAP_occluded'])


def test_nothing_detected_is_zero_and_nothing_to_find_is_nan():
    found = evaluate([make_sample(1, [gt(A)], []), make_sample(2, [], [])], by=('weather',))
    assert found['bdd/mAP'] == found['bdd/mAP_50'] == found['bdd/weather/clear/mAP'] == 0
    assert math.isnan(found['bdd/mAP_l'])
    found = evaluate([make_sample(1, [], [(A, CAR, 0.9)]), make_sample(2, [], [])])
    assert all(math.isnan(value) for value in found.values())


def test_classes_without_ground_truth_do_not_pull_the_mean():
    samples = [make_sample(1, [gt(A)], [(A, CAR, 0.9), (B, BUS, 0.9)])]
    assert evaluate(samples)['bdd/mAP'] == pytest.approx(1)


def test_at_most_max_dets_count():
    detections = [(B, CAR, 0.9), (C, CAR, 0.8), (A, CAR, 0.7)]
    samples = [make_sample(1, [gt(A)], detections)]
    assert evaluate(samples, max_dets=2)['bdd/mAP'] == 0
    assert evaluate(samples, max_dets=3)['bdd/mAP'] == pytest.approx(1 / 3)


def test_input_is_left_as_it_was():
    samples = random_samples(8, images=3)
    before = copy.deepcopy(samples)
    evaluate(samples, instance_attribute='degraded', by=('weather',))
    assert str(samples) == str(before)


def test_same_img_id_in_two_data_sets_is_kept_apart():
    # as from a ConcatDataset: each image has its own ground truth
    samples = [make_sample(1, [gt(A)], [(A, CAR, 0.9)]), make_sample(1, [gt(B)], [(B, CAR, 0.9)])]
    assert evaluate(samples)['bdd/mAP'] == pytest.approx(1)


def test_detections_that_are_not_finite_are_left_out(monkeypatch):
    from mmclarity.detection.evaluation import bdd100k_metric

    texts = []
    monkeypatch.setattr(bdd100k_metric, 'print_log', lambda text, **_: texts.append(text))
    nan = float('nan')
    detections = [([nan, 0, 9, 9], CAR, 0.95), (B, CAR, nan), (A, CAR, 0.9)]
    assert evaluate([make_sample(1, [gt(A)], detections)])['bdd/mAP'] == pytest.approx(1)
    assert texts[0].startswith('BDD100KMetric: 2 detections with NaN')


def test_table_shows_every_row_and_column(monkeypatch):
    from mmclarity.detection.evaluation import bdd100k_metric

    texts = []
    monkeypatch.setattr(bdd100k_metric, 'print_log', lambda text, **_: texts.append(text))
    samples = [make_sample(1, [gt(A), gt(B, ignore=1)], [(A, CAR, 0.9)], weather='foggy')]
    evaluate(samples, by=('weather',), instance_attribute='degraded', classwise=True)
    lines = [[cell.strip() for cell in line.split('|')[1:-1]] for line in texts[0].splitlines()]
    rows = {cells[0]: cells[1:] for cells in lines if cells}
    assert rows['images of'] == ['images', 'boxes', *NAMES, 'mAP_degraded', 'mAP_clear']
    expected = ['1', '1', '1.000', '1.000', '1.000', 'nan', '1.000', 'nan', 'nan', '1.000']
    assert rows['all'] == rows['weather/foggy'] == rows['class/car'] == expected
    assert rows['class/traffic_light'][1:3] == ['0', 'nan']


@pytest.mark.parametrize(
    ('kwargs', 'error', 'message'),
    [
        ({'eval_classes': ['cars']}, ValueError, r"eval_classes \['cars'\] are no classes"),
        ({'eval_classes': 'car'}, ValueError, 'lists of names'),
        ({'by': 'weather'}, ValueError, 'lists of names'),
        ({'by': ['wether']}, KeyError, r"lack \['wether'\].*meta_keys of PackDetInputs"),
        ({'format_only': True}, ValueError, 'outfile_prefix'),
        ({'classes': ('car', 'bus')}, ValueError, r'class number 2.*has 2 classes.*num_classes=2'),
        ({'classes': ()}, ValueError, 'dataset_meta'),
    ],
)
def test_errors_say_what_to_do(kwargs, error, message):
    with pytest.raises(error, match=message):
        evaluate([make_sample(1, [gt(A, 0)], [(A, CAR, 0.9)])], **kwargs)


def test_missing_instances_are_named():
    sample = make_sample(1, [], [])
    del sample['instances']
    with pytest.raises(KeyError, match='instances'):
        evaluate([sample])


def test_files_hold_what_was_evaluated(tmp_path):
    samples = random_samples(9)
    prefix = tmp_path / 'out' / 'val'
    assert evaluate(samples, outfile_prefix=str(prefix), format_only=True) == {}
    dts = json.loads((tmp_path / 'out/val.bbox.json').read_text())
    truth = json.loads((tmp_path / 'out/val.gt.json').read_text())
    assert truth['categories'][CAR] == {'id': 3, 'name': 'car'}
    assert sorted(path.name for path in prefix.parent.iterdir()) == ['val.bbox.json', 'val.gt.json']
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(tmp_path / 'out/val.gt.json'))
        evaluation = COCOeval(coco, coco.loadRes(dts), 'bbox')
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    found = evaluate(samples)
    np.testing.assert_allclose(
        [found[f'bdd/{name}'] for name in NAMES], evaluation.stats[:6], atol=1e-12
    )


def test_class_subset_keeps_the_official_ids(tmp_path):
    sample = make_sample(4, [gt(A, 1)], [(A, 1, 0.5)])
    evaluate([sample], classes=('bus', 'car'), outfile_prefix=str(tmp_path / 'x'))
    (detection,) = json.loads((tmp_path / 'x.bbox.json').read_text())
    assert detection == {'image_id': 4, 'category_id': 3, 'bbox': [0, 0, 50, 50], 'score': 0.5}


def test_own_data_keep_their_category_ids(tmp_path):
    metric = BDD100KMetric(by=(), outfile_prefix=str(tmp_path / 'x'), format_only=True)
    metric.dataset_meta = {'classes': ('fish', 'crab')}
    metric.category_ids = (7, 40)
    metric.process({}, [make_sample(4, [gt(A, 1)], [(A, 1, 0.5)])])
    metric.evaluate(1)
    assert json.loads((tmp_path / 'x.bbox.json').read_text())[0]['category_id'] == 40
    truth = json.loads((tmp_path / 'x.gt.json').read_text())
    assert truth['categories'] == [{'id': 7, 'name': 'fish'}, {'id': 40, 'name': 'crab'}]
    assert truth['annotations'][0]['category_id'] == 40


def test_wrong_classes_are_told_before_the_training():
    metric = BDD100KMetric(eval_classes=['car', 'lorry'])
    with pytest.raises(ValueError, match='lorry'):
        metric.dataset_meta = {'classes': CLASSES}


def test_files_of_two_data_sets_keep_their_images_apart(tmp_path):
    samples = [make_sample(1, [gt(A)], [(A, CAR, 0.5)]), make_sample(1, [], [(B, CAR, 0.5)])]
    evaluate(samples, outfile_prefix=str(tmp_path / 'x'), format_only=True)
    detections = json.loads((tmp_path / 'x.bbox.json').read_text())
    images = json.loads((tmp_path / 'x.gt.json').read_text())['images']
    assert [item['image_id'] for item in detections] == [item['id'] for item in images] == [1, 2]


def test_prefix_can_be_replaced():
    metric = BDD100KMetric(by=(), prefix='fog')
    metric.dataset_meta = {'classes': CLASSES}
    metric.process({}, [make_sample(1, [gt(A)], [(A, CAR, 0.9)])])
    assert metric.evaluate(1)['fog/mAP'] == pytest.approx(1)


RANK_SCRIPT = """
import json, sys
import torch, torch.distributed as dist
import mmclarity.detection
from mmclarity.detection.evaluation import BDD100KMetric, bdd100k_metric
rank, store = int(sys.argv[1]), sys.argv[2]
dist.init_process_group('gloo', init_method='file://' + store, rank=rank, world_size=2)
metric = BDD100KMetric(by=('weather',))
metric.dataset_meta = {'classes': ('car', 'bus')}
# three images over two processes: the last of process 1 is the sampler's padding
for img_id in ((1, 3), (2, 1))[rank]:
    box = [0., 0., 50., 50. + img_id]
    score = 0.9 if img_id != 3 else 0.95
    found = box if img_id != 3 else [300., 300., 350., 350.]
    pred = {'bboxes': torch.tensor([found]), 'scores': torch.tensor([score]),
            'labels': torch.tensor([0])}
    metric.process({}, [{'img_id': img_id, 'img_path': '', 'ori_shape': (400, 400),
                         'instances': [{'bbox': box, 'bbox_label': 0, 'ignore_flag': 0}],
                         'weather': 'foggy' if img_id == 2 else 'clear',
                         'pred_instances': pred}])
numbers = metric.evaluate(size=3)
print('RESULT' + json.dumps(numbers))
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_give_what_one_gives(tmp_path):
    projects = Path(__file__).resolve().parents[3] / 'projects'
    environment = {**os.environ, 'PYTHONPATH': str(projects), 'OMP_NUM_THREADS': '1'}
    ranks = [
        subprocess.Popen(
            [sys.executable, '-c', RANK_SCRIPT, str(rank), str(tmp_path / 'store')],
            env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    outputs = [rank.communicate(timeout=120)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0]
    first, second = (json.loads(text.split('RESULT')[1].splitlines()[0]) for text in outputs)
    # a wrong one first, then two right ones: precision 2/3 up to recall 2/3
    assert first['bdd/mAP'] == pytest.approx(2 / 3 * 67 / 101)
    assert first['bdd/weather/foggy/mAP'] == pytest.approx(1)
    assert first == pytest.approx(second, nan_ok=True)


def test_a_wrong_name_counts_against_the_part_it_lies_on():
    # the clear car is found; the degraded one is called a bus, with the higher score, and a
    # second clear object is a bus that is found, too
    bus = CLASSES.index('bus')
    far = [300.0, 10.0, 360.0, 50.0]
    instances = [gt(A, degraded=False), gt(B, degraded=True), gt(far, bus, degraded=False)]
    detections = [(A, CAR, 0.8), (B, bus, 0.9), (far, bus, 0.7)]
    found = evaluate([make_sample(1, instances, detections)], instance_attribute='degraded')
    assert found['bdd/mAP_clear'] == pytest.approx(1)
    assert found['bdd/mAP_degraded'] == 0
    # over all, the wrong name costs the buses half
    assert found['bdd/mAP'] == pytest.approx((0.5 + 51 / 101) / 2, abs=0.01)
    # a false alarm on nothing counts against both
    nothing = [200.0, 100.0, 240.0, 140.0]
    detections[1] = (nothing, bus, 0.9)
    found = evaluate([make_sample(1, instances, detections)], instance_attribute='degraded')
    assert found['bdd/mAP_clear'] == pytest.approx((1 + 0.5) / 2)


@pytest.mark.parametrize('scale', [4.0, (1280, 720)])
def test_area_scale_gives_small_frames_the_sizes_of_full_ones(scale, caplog):
    """Frames at half of width and height, with areas times four, are what the full ones are."""
    full = random_samples(12)
    half = copy.deepcopy(full)
    for sample in half:
        sample['ori_shape'] = (360, 640)
        sample['pred_instances']['bboxes'] /= 2
        for item in sample['instances']:
            item['bbox'] = [value / 2 for value in item['bbox']]
    expected = evaluate(full)
    found = evaluate(half, area_scale=scale)
    assert found == pytest.approx(expected, abs=1e-6)
    assert evaluate(half)['bdd/mAP_l'] != pytest.approx(expected['bdd/mAP_l'], abs=1e-3)
    # full-size frames keep their areas where the factor follows from the size
    if scale != 4.0:
        assert evaluate(full, area_scale=scale) == pytest.approx(expected)


@pytest.mark.parametrize('scale', [0, -1, (640,), (1280, 0), 'big', float('inf')])
def test_area_scale_is_checked_at_once(scale):
    with pytest.raises(ValueError, match='area_scale'):
        evaluate([], area_scale=scale)


def test_area_scale_stands_below_the_table(monkeypatch):
    printed = []
    monkeypatch.setattr(bdd100k_metric, 'print_log', lambda text, **_: printed.append(text))
    sample = make_sample(1, [gt(A)], [(A, CAR, 0.9)])
    sample['ori_shape'] = (360, 640)
    evaluate([sample], area_scale=(1280, 720))
    evaluate([sample])
    assert 'S/M/L as of 1280x720: areas count times 4' in printed[0]
    assert 'S/M/L' not in printed[1]


@pytest.mark.parametrize('attribute', [None, 'degraded', 'occluded'])
def test_the_names_known_before_training_are_those_that_are_given(attribute):
    metric = BDD100KMetric(by=(), instance_attribute=attribute)
    metric.dataset_meta = dict(classes=('car',))
    sample = make_sample(0, [], [])
    metric.process({}, [sample])
    given = metric.evaluate(1)
    assert {f'bdd/{name}' for name in metric.metric_names()} == set(given)
