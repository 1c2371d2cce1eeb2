"""Detectors with each of our heads, exported: equal to torch."""

import pytest

from mmclarity.detection.export import check_detector, export_detector
from tests.detection.export.untrained import build

pytest.importorskip('onnxruntime')


def attention(**options):
    def change(model):
        model.roi_head.type = 'RegionAttentionRoIHead'
        model.roi_head.bbox_head.update(type='RegionAttentionBBoxHead', attention=options)

    return change


def by_class(model):
    model.roi_head.bbox_head.reg_class_agnostic = False


def cascade_of_sources(model):
    """Each stage with sources of its own number."""
    cascade(model)
    for head, count in zip(model.roi_head.bbox_head, (16, 5)):
        head['attention'] = dict(type='RegionSourceTargetAttention', num_sources=count)


def two_looks(model):
    cascade(model)
    first, second = model.roi_head.bbox_head
    first.pop('attention')
    second.update(
        type='BeliefBBoxHead',
        attention=dict(type='RegionSelfAttention', num_heads=4),
        consensus=True,
    )


def two_looks_at_what_is_worth_it(model):
    two_looks(model)
    model.roi_head.look_again = 0.2


def two_looks_at_boxes(model):
    cascade(model)
    for head in model.roi_head.bbox_head:
        head.pop('attention')
    model.roi_head.bbox_head[1].update(box_fit=dict(power=0.5), consensus=dict(temperature=0.025))
    model.test_cfg.rcnn.nms = dict(type='soft_nms', iou_threshold=0.3, min_score=0.05)


def fit_by_class(model):
    model.roi_head.type = 'RegionAttentionRoIHead'
    model.roi_head.bbox_head.update(
        type='RegionAttentionBBoxHead', box_fit=True, reg_class_agnostic=False
    )
    model.test_cfg.rcnn.nms = dict(type='soft_nms', iou_threshold=0.5, min_score=0.05)


def cascade(model):
    head = dict(model.roi_head.bbox_head, type='RegionAttentionBBoxHead')
    head['attention'] = dict(type='RegionLambda')
    heads = []
    for deviation in (0.1, 0.05):
        coder = dict(head['bbox_coder'], target_stds=[deviation] * 2 + [2 * deviation] * 2)
        heads.append(dict(head, bbox_coder=coder))
    model.type = 'CascadeRCNN'
    model.roi_head.update(
        type='CascadeRegionAttentionRoIHead', num_stages=2, stage_loss_weights=[1, 0.5]
    )
    model.roi_head.bbox_head = heads
    model.train_cfg.rcnn = [model.train_cfg.rcnn] * 2


@pytest.mark.slow
@pytest.mark.parametrize(
    'change',
    [
        None,
        by_class,
        attention(type='RegionSelfAttention', num_heads=2),
        attention(type='RegionSelfAttention', geometry_bias=True),
        attention(type='RegionSourceTargetAttention', num_sources=16),
        attention(type='RegionLambda', position=True),
        cascade,
        cascade_of_sources,
        two_looks,
        two_looks_at_boxes,
        two_looks_at_what_is_worth_it,
        fit_by_class,
    ],
    ids=[
        'plain',
        'by class',
        'self',
        'self with geometry',
        'source-target',
        'position',
        'cascade',
        'cascade of sources',
        'two looks',
        'two looks at boxes',
        'two looks at what is worth it',
        'fit by class',
    ],
)
def test_other_detectors(change, tmp_path):
    model = build(change)
    export_detector(model, tmp_path / 'd.onnx')
    found = check_detector(model, tmp_path / 'd.onnx')
    assert found.detections > 50 and found.score < 1e-4
