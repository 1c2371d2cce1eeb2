"""Samples for the tests of the BDD100K metric."""

import contextlib
import io

import numpy as np
import torch
from mmdet.registry import METRICS
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmclarity.detection.datasets.scalabel import CLASSES

CAR, BUS, PEDESTRIAN = (CLASSES.index(name) for name in ('car', 'bus', 'pedestrian'))
NAMES = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')


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
