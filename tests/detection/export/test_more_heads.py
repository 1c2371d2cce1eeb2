"""Heads in published configs of mmdet, exported: equal to torch, or refused."""

import pytest
import torch
from mmengine.config import Config

from mmclarity.detection.export import check_detector, export_detector
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


def test_a_semantic_branch_is_refused(tmp_path):
    model = build(cascade('mmdet::htc/htc_r50_fpn_1x_coco.py', HTC), tmp_path)
    with pytest.raises(UsageError, match='a semantic branch is not known to the export'):
        export_detector(model, tmp_path / 'detector.onnx', boxes_only=True)
