"""BDD100K's converters beside mmdet's reading of real photos, and the official code."""

import contextlib
import importlib.util
import io

import numpy as np
import pytest
from pycocotools.coco import COCO

from mmclarity.detection.datasets import BDD100KDataset
from mmclarity.detection.datasets.scalabel import CLASSES, load_frames
from mmclarity.detection.evaluation import BDD100KMetric
from tests.real_data import DATA, needs
from tests.tools.bdd100k_labels import make_labels, random_frames
from tools.dataset_converters import bdd100k_to_coco, coco_to_scalabel

FOG, FRAMES = DATA / 'road_fog_bdd100k', DATA / 'bdd100k_frames'
needs_official = pytest.mark.skipif(
    importlib.util.find_spec('bdd100k') is None, reason='needs the PyPI package bdd100k'
)
needs_fog = needs('road_fog_bdd100k')


@needs_fog
def test_real_fog_photos_load_in_mmdet_as_ours(tmp_path):
    from mmdet.datasets import CocoDataset

    out = tmp_path / 'coco.json'
    images = FOG / 'images/100k/val'
    args = [str(FOG / 'labels/det_20/det_val.json'), str(out), '--images', str(images), '--clip']
    assert bdd100k_to_coco.main(args) == 0
    with contextlib.redirect_stdout(io.StringIO()):
        assert len(COCO(str(out)).getAnnIds()) == 243
        theirs = CocoDataset(
            ann_file=str(out),
            data_prefix={'img': str(images)},
            metainfo={'classes': CLASSES},
        )
    ours = BDD100KDataset(
        data_root=str(FOG),
        ann_file='labels/det_20/det_val.json',
        data_prefix={'img': 'images/100k/val'},
    )
    assert len(ours) == len(theirs) == 40
    for index in range(40):
        one, other = ours.get_data_info(index), theirs.get_data_info(index)
        for key in ('img_path', 'img_id', 'width', 'height'):
            assert one[key] == other[key]
        for item, same in zip(one['instances'], other['instances'], strict=True):
            assert item['bbox'] == pytest.approx(same['bbox'])
            assert item['bbox_label'] == same['bbox_label']


def official_frames(path):
    """Frames and configuration of the official package, its own name mapping applied."""
    from bdd100k.common.utils import load_bdd100k_config
    from bdd100k.label.to_scalabel import bdd100k_to_scalabel
    from scalabel.label.io import load

    config = load_bdd100k_config('det')
    return bdd100k_to_scalabel(load(str(path)).frames, config), config.scalabel


@needs_official
def test_to_coco_equals_the_official_converter(tmp_path):
    from scalabel.label.to_coco import scalabel2coco_detection

    paths = [make_labels(tmp_path / f'{seed}.json', random_frames(seed)) for seed in range(3)]
    if FRAMES.is_dir():
        paths += [FRAMES / 'detect/labels/annotation.json',
                  *sorted((FRAMES / 'track/labels').glob('*.json'))]  # fmt: skip
    for path in paths:
        theirs = scalabel2coco_detection(*official_frames(path))
        frames, report = load_frames(path)
        ours = bdd100k_to_coco.to_coco(frames, [(1280, 720)] * len(frames), report)
        assert ours['categories'] == theirs['categories']
        for key in ('id', 'height', 'width'):
            assert [i[key] for i in ours['images']] == [i[key] for i in theirs['images']]
        assert len(ours['annotations']) == len(theirs['annotations']) > 0
        for one, other in zip(ours['annotations'], theirs['annotations'], strict=True):
            for key in ('id', 'image_id', 'category_id', 'scalabel_id', 'iscrowd', 'ignore'):
                assert one[key] == other[key]
            np.testing.assert_allclose([*one['bbox'], one['area']],
                                       [*other['bbox'], other['area']])  # fmt: skip


@needs_official
def test_metric_and_files_equal_the_official_evaluation(tmp_path, monkeypatch):
    """Detections of known quality get the same AP here and, through Scalabel files, there."""
    import torch
    from scalabel.eval import detect
    from scalabel.label.io import load

    # pycocotools >= 2.0.9 insists on an entry that the official package does not make
    convert = detect.scalabel2coco_detection
    monkeypatch.setattr(
        detect, 'scalabel2coco_detection', lambda *args: {'info': {}, **convert(*args)}
    )

    labels = make_labels(tmp_path / 'det.json', random_frames(4, images=20))
    for index in range(20):
        (tmp_path / f'{index:03d}.jpg').touch()
    dataset = BDD100KDataset(
        ann_file=labels, data_prefix={'img': str(tmp_path)}, check_images=False,
        image_size=(1280, 720),
    )  # fmt: skip
    metric = BDD100KMetric(outfile_prefix=str(tmp_path / 'val'))
    metric.dataset_meta = dataset.metainfo
    rng = np.random.default_rng(0)
    for info in (dataset.get_data_info(index) for index in range(20)):
        boxes = np.array([item['bbox'] for item in info['instances']]).reshape(-1, 4)
        named = np.array([item['bbox_label'] for item in info['instances']], dtype=int)
        confused = rng.integers(0, 10, len(named))
        moved = boxes + rng.normal(0, 2, boxes.shape)
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2])  # a detector gives no negative sizes
        pred = {
            'bboxes': torch.tensor(moved),
            'labels': torch.tensor(np.where(rng.random(len(named)) < 0.7, named, confused)),
            'scores': torch.tensor(rng.random(len(named))),
        }
        metric.process({}, [{**info, 'ori_shape': (720, 1280), 'pred_instances': pred}])
    found = metric.evaluate(20)
    paths = [str(tmp_path / name) for name in ('val.bbox.json', 'val.gt.json', 'pred.json')]
    assert coco_to_scalabel.main(paths) == 0
    frames, config = official_frames(labels)
    result = detect.evaluate_det(frames, load(paths[2]).frames, config, nproc=1).summary()
    for ours, theirs in (('mAP', 'AP'), ('mAP_50', 'AP50'), ('mAP_75', 'AP75'), ('mAP_s', 'APs'),
                         ('mAP_m', 'APm'), ('mAP_l', 'APl')):  # fmt: skip
        assert 100 * found[f'bdd/{ours}'] == pytest.approx(result[theirs], abs=1e-6)
