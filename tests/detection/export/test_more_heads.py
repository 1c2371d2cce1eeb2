"""Heads in published configs of mmdet, exported: equal to torch, or refused."""

import copy

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmclarity.detection.datasets.scalabel import CLASSES
from mmclarity.detection.export import check_detector, export_detector
from mmclarity.engine.config import load_config
from mmclarity.errors import UsageError
from tests.detection.test_plug_in import FRCNN, cascade, model_of, recipe

pytest.importorskip('onnxruntime')
HTC = 'HybridTaskCascadeRegionAttentionRoIHead'
TEXTS = {
    'htc': cascade('mmdet::htc/htc-without-semantic_r50_fpn_1x_coco.py', HTC),
    'cascade-mask': cascade('mmdet::cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py'),
    'intra': recipe(FRCNN, bbox=", intra_attention=dict(type='IntraRegionAttention')"),
}


def build(text, tmp_path):
    """Of random weights that matter, as init_detector would give it."""
    model = model_of(text, tmp_path).eval()
    for name, value in model.named_parameters():
        if name.endswith(('fc_cls.weight', 'fc_reg.weight', 'out_proj.weight')):
            torch.nn.init.normal_(value, std=0.1)
    model.cfg = Config.fromfile(tmp_path / 'config.py')
    model.dataset_meta = dict(classes=tuple(f'class {i}' for i in range(80)))
    return model


@pytest.mark.parametrize('name', TEXTS)
def test_boxes_are_those_of_torch(name, tmp_path):
    model = build(TEXTS[name], tmp_path)
    path = tmp_path / 'detector.onnx'
    if name != 'intra':
        with pytest.raises(UsageError, match='masks.*--boxes-only'):
            export_detector(model, path)
    export_detector(model, path, boxes_only=name != 'intra')
    assert check_detector(model, path).detections == 30


@pytest.mark.parametrize('looks', [False, True])
def test_a_detector_that_finds_nothing_in_noise_is_compared_with_lower_thresholds(looks, tmp_path):
    """As of things unlike noise: of 0 detections, 0 had no partner, and no file was written."""
    models = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        cfg = load_config('configs/context_frcnn_murky.py' if looks else 'configs/frcnn_murky.py')
        if looks:
            nms = dict(type='soft_nms', method='linear', iou_threshold=0.3, min_score=0.01)
            cfg.model.test_cfg.rcnn.nms = nms
            cfg.model.roi_head.look_again = 0.03
        with DefaultScope.overwrite_default_scope('mmdet'):
            models.append(MODELS.build(cfg.model).eval())
        heads = models[-1].roi_head.bbox_head
        for head in heads if looks else [heads]:
            torch.nn.init.normal_(head.fc_cls.weight, std=0.1)
            torch.nn.init.constant_(head.fc_cls.bias[-1], 6.0)  # all is background
        models[-1].cfg, models[-1].dataset_meta = cfg, dict(classes=CLASSES)
    model, other = models
    path, before = tmp_path / 'detector.onnx', copy.deepcopy(model.roi_head.test_cfg)
    export_detector(model, path)
    found = check_detector(model, path)
    assert found.detections >= 10 and found.lowered < 1 and not found.unmatched
    assert found.score < 1e-6 and found.box < 0.01
    assert model.roi_head.test_cfg == before
    assert not looks or model.roi_head.look_again == 0.03
    with pytest.raises(RuntimeError, match='was not made of this detector'):
        check_detector(other, path)
    with pytest.raises(RuntimeError, match='finds nothing in these images'):
        check_detector(model, path, images=[np.zeros((96, 160, 3), np.uint8)])


def test_a_semantic_branch_is_refused(tmp_path):
    model = build(cascade('mmdet::htc/htc_r50_fpn_1x_coco.py', HTC), tmp_path)
    with pytest.raises(UsageError, match='a semantic branch is not known to the export'):
        export_detector(model, tmp_path / 'detector.onnx', boxes_only=True)
