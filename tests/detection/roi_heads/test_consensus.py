"""Boxes that the proposals on one object agree on."""

import math

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict

import mmclarity.detection  # noqa: F401  (registers the heads)
from mmclarity.detection.roi_heads.consensus import agreed_boxes
from tests.detection.roi_heads.test_bbox_head import BASE

TEST = ConfigDict(score_thr=0.05, nms=dict(type='nms', iou_threshold=0.5), max_per_img=100)


def overlap(a, b):
    sides = [min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1)]
    inner = max(sides[0], 0) * max(sides[1], 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return inner / (sum(areas) - inner)


def slow(kept, labels, boxes, scores, iou, temperature):
    """The formula, box by box."""
    result = []
    for own, label in zip(kept.tolist(), labels.tolist()):
        total, mean = 0.0, [0.0] * 4
        for box, score in zip(boxes.tolist(), scores.tolist()):
            box = box[4 * label : 4 * label + 4] if len(box) > 4 else box
            shared = overlap(own, box)
            if shared > iou:
                weight = score[label] * math.exp(-((1 - shared) ** 2) / temperature)
                total += weight
                mean = [m + weight * side for m, side in zip(mean, box)]
        result.append([m / total for m in mean] if total > 0 else own)
    return torch.tensor(result)


@pytest.mark.parametrize('per_class', [False, True])
@pytest.mark.parametrize('iou,temperature', [(0.0, 1.0), (0.5, 0.1), (0.9, 0.02)])
def test_equals_the_formula(iou, temperature, per_class):
    torch.manual_seed(0)
    boxes = torch.rand(40, 12 if per_class else 4) * 20
    boxes.unflatten(1, (-1, 4))[..., 2:] += 20
    scores, labels = torch.rand(40, 4).softmax(1), torch.randint(0, 3, (7,))
    rows = boxes.unflatten(1, (-1, 4))
    kept = torch.stack([rows[i, k if per_class else 0] for i, k in enumerate(labels)])
    found = agreed_boxes(kept, labels, boxes, scores, iou, temperature)
    expected = slow(kept, labels, boxes, scores, iou, temperature)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_box_without_votes_stays_and_nothing_is_nothing():
    boxes, label = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([0])
    far = torch.tensor([[50.0, 50, 60, 60]])
    assert torch.equal(agreed_boxes(boxes, label, far, torch.ones(1, 2)), boxes)
    assert torch.equal(agreed_boxes(boxes, label, boxes, torch.zeros(1, 2)), boxes)
    assert agreed_boxes(boxes[:0], label[:0], far, torch.ones(1, 2)).shape == (0, 4)


def test_mixed_precision_leaves_boxes_where_they_are():
    """In bfloat16 an edge at 600 pixels would move by up to two."""
    torch.manual_seed(0)
    boxes = torch.rand(40, 4) * 5 + torch.tensor([590.0, 590, 640, 640])
    scores, labels = torch.rand(40, 4), torch.zeros(7, dtype=torch.long)
    expected = agreed_boxes(boxes[:7], labels, boxes, scores)
    with torch.autocast('cpu', torch.bfloat16):
        found = agreed_boxes(boxes[:7], labels, boxes, scores)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize('agnostic', [False, True])
def test_the_head_changes_boxes_and_nothing_else(agnostic):
    options = dict(type='RegionAttentionBBoxHead', reg_class_agnostic=agnostic, **BASE)
    torch.manual_seed(0)
    rois = torch.tensor([[0.0, 10, 10, 30, 30], [0, 11, 12, 31, 28], [0, 60, 60, 80, 90]])
    scores, deltas = torch.randn(3, 6), torch.randn(3, 4 if agnostic else 20)
    found = []
    for consensus in (None, True):
        head = MODELS.build(dict(options, consensus=consensus))
        (result,) = head.predict_by_feat(
            (rois,), (scores,), (deltas,), [dict(img_shape=(100, 100))], rcnn_test_cfg=TEST
        )
        found.append(result)
    plain, agreed = found
    assert torch.equal(plain.scores, agreed.scores) and torch.equal(plain.labels, agreed.labels)
    assert not torch.equal(plain.bboxes, agreed.bboxes)
    every = MODELS.build(dict(options, consensus=dict(iou=0.99)))
    (alone,) = every.predict_by_feat(
        (rois,), (scores,), (deltas,), [dict(img_shape=(100, 100))], rcnn_test_cfg=TEST
    )
    torch.testing.assert_close(alone.bboxes, plain.bboxes)  # each has its own vote only
