"""What the BDD100K metric is given and writes: options, label files, several processes."""

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmclarity.detection.datasets.scalabel import CLASSES
from mmclarity.detection.evaluation import BDD100KMetric
from tests.detection.evaluation.metric_samples import (
    CAR,
    NAMES,
    evaluate,
    gt,
    make_sample,
    random_samples,
)

A, B, C = [0, 0, 50, 50], [100, 100, 150, 150], [200, 200, 250, 250]


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
    outputs = [rank.communicate(timeout=900)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0]
    first, second = (json.loads(text.split('RESULT')[1].splitlines()[0]) for text in outputs)
    # a wrong one first, then two right ones: precision 2/3 up to recall 2/3
    assert first['bdd/mAP'] == pytest.approx(2 / 3 * 67 / 101)
    assert first['bdd/weather/foggy/mAP'] == pytest.approx(1)
    assert first == pytest.approx(second, nan_ok=True)


@pytest.mark.parametrize('scale', [0, -1, (640,), (1280, 0), 'big', float('inf')])
def test_area_scale_is_checked_at_once(scale):
    with pytest.raises(ValueError, match='area_scale'):
        evaluate([], area_scale=scale)


@pytest.mark.parametrize('attribute', [None, 'degraded', 'occluded'])
def test_the_names_known_before_training_are_those_that_are_given(attribute):
    metric = BDD100KMetric(by=(), instance_attribute=attribute)
    metric.dataset_meta = dict(classes=('car',))
    sample = make_sample(0, [], [])
    metric.process({}, [sample])
    given = metric.evaluate(1)
    assert {f'bdd/{name}' for name in metric.metric_names()} == set(given)
