"""The recipe of the guide, on a published config of mmdet, from training to detection."""

import json

import cv2
import numpy as np

from mmclarity.cli.detect import main as detect
from mmclarity.cli.test import main as run_test
from mmclarity.cli.train import main as train
from tools.dataset_generators import make_murky

#: As docs/user_guides/detection.md has it; then other data, and fewer channels to be quick.
RECIPE = """
_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
custom_imports = dict(imports=['mmclarity.detection'], allow_failed_imports=False)
model = dict(
    roi_head=dict(
        type='RegionAttentionRoIHead',
        bbox_head=dict(
            type='RegionAttentionBBoxHead',
            attention=dict(type='RegionLambda'),
            num_classes=10, fc_out_channels=64,
        ),
    ),
    backbone=dict(
        _delete_=True, type='ResNet', depth=18, base_channels=8, norm_cfg=dict(type='BN')
    ),
    neck=dict(in_channels=[8, 16, 32, 64]),
    train_cfg=dict(rpn_proposal=dict(nms_pre=200, max_per_img=60)),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=40), rcnn=dict(score_thr=0.0, max_per_img=9)),
)
data = dict(type='BDD100KDataset', data_root='murky/')
load = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(160, 96), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
]
end = dict(
    type='PackDetInputs',
    meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'instances'),
)
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=dict(
    _delete_=True, **data, ann_file='labels/det_20/det_train.json',
    data_prefix=dict(img='images/100k/train'), pipeline=[*load, end]))
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(
    _delete_=True, **data, ann_file='labels/det_20/det_val.json', test_mode=True,
    data_prefix=dict(img='images/100k/val'), pipeline=[*load, end]))
test_dataloader = val_dataloader
val_evaluator = dict(_delete_=True, type='BDD100KMetric', by=())
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=1)
"""


def test_a_pipeline_that_does_not_pass_the_objects_on_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert make_murky.main(['murky', '--train', '1', '--val', '1', '--jobs', '1']) == 0
    (tmp_path / 'mine.py').write_text(RECIPE.replace(", 'instances'", ''))
    assert train(['mine.py', '--work-dir', 'run']) == 2
    assert "lack ['instances']; add them to meta_keys" in capsys.readouterr().err


def test_train_test_and_detect(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert make_murky.main(['murky', '--train', '4', '--val', '2', '--jobs', '1']) == 0
    (tmp_path / 'mine.py').write_text(RECIPE)
    assert train(['mine.py', '--work-dir', 'run']) == 0, capsys.readouterr().err
    assert run_test(['mine.py', 'run/epoch_1.pth', '--work-dir', 'run']) == 0
    saved = ['--config', 'run/mine.py', '--checkpoint', 'run/epoch_1.pth', '--threshold', '0']
    assert detect(['murky/images/100k/val', '--out', 'seen', *saved, '--attention']) == 0
    found = json.loads((tmp_path / 'seen/detections.coco.json').read_text())
    assert len(found['images']) == 2 and len(found['annotations']) == 18
    boxes = np.array([item['bbox'] for item in found['annotations']])
    height, width = cv2.imread(str(next((tmp_path / 'seen/drawn').iterdir()))).shape[:2]
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 0] + boxes[:, 2] <= width + 0.1).all()
    assert (boxes[:, 1] + boxes[:, 3] <= height + 0.1).all()
    assert (tmp_path / 'seen/attention.html').stat().st_size > 50_000
