"""The quick assigner and RPN head give what mmdet's give."""

import pytest
import torch
from mmdet.models.dense_heads import RPNHead
from mmdet.models.task_modules.assigners import MaxIoUAssigner
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

from mmclarity.detection.dense_heads import QuickRPNHead
from mmclarity.detection.task_modules import QuickMaxIoUAssigner


def random_boxes(count, seed, whole=False):
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(count, 2, generator=generator) * 90
    boxes = torch.cat([low, low + torch.rand(count, 2, generator=generator) * 40], 1)
    return boxes.round() if whole else boxes  # whole ones: many equal overlaps, some empty boxes


@pytest.mark.parametrize(
    'options',
    [
        dict(pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3),
        dict(pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5, match_low_quality=False),
        dict(pos_iou_thr=0.4, neg_iou_thr=0.4, gt_max_assign_all=False),
        dict(pos_iou_thr=0.5, neg_iou_thr=(0.1, 0.4)),
        dict(pos_iou_thr=0.5, neg_iou_thr=0.4, ignore_iof_thr=0.5),
    ],
)
@pytest.mark.parametrize('objects', [0, 1, 13])
@pytest.mark.parametrize('whole', [False, True])
def test_assignment_is_mmdets(options, objects, whole):
    for seed in range(5):
        priors = InstanceData(priors=random_boxes(500, seed, whole))
        gt = InstanceData(
            bboxes=random_boxes(objects, 100 + seed, whole), labels=torch.arange(objects) % 3
        )
        ignored = InstanceData(bboxes=random_boxes(2, 200 + seed))
        expected = MaxIoUAssigner(**options).assign(priors, gt, ignored)
        found = QuickMaxIoUAssigner(**options).assign(priors, gt, ignored)
        assert torch.equal(found.gt_inds, expected.gt_inds)
        assert torch.equal(found.labels, expected.labels)
        assert torch.equal(found.max_overlaps, expected.max_overlaps)
        assert found.num_gts == expected.num_gts


def test_no_boxes_at_all():
    empty = InstanceData(priors=torch.zeros(0, 4))
    gt = InstanceData(bboxes=random_boxes(3, 0), labels=torch.zeros(3, dtype=torch.long))
    assert len(QuickMaxIoUAssigner(0.5, 0.5).assign(empty, gt).gt_inds) == 0


def by_score(proposals):
    """Rows of score and box, equal scores in the order of their boxes."""
    rows = torch.cat([proposals.scores[:, None], proposals.bboxes], 1)
    return torch.tensor(sorted(rows.tolist(), reverse=True))


@pytest.mark.parametrize('pre,most,least', [(50, 100, 0), (50, 20, 4), (1000, 1000, -1)])
def test_proposals_are_mmdets(pre, most, least):
    torch.manual_seed(0)
    options = dict(
        in_channels=8,
        feat_channels=8,
        anchor_generator=dict(
            type='AnchorGenerator', scales=[2.5], ratios=[0.5, 1, 2], strides=[4, 8, 16]
        ),
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True),
        test_cfg=ConfigDict(
            nms_pre=pre,
            max_per_img=most,
            min_bbox_size=least,
            nms=dict(type='nms', iou_threshold=0.7),
        ),
    )
    plain, quick = RPNHead(**options), QuickRPNHead(**options)
    quick.load_state_dict(plain.state_dict())
    maps = [torch.randn(2, 8, 64 // s, 96 // s) * 2 for s in (4, 8, 16)]
    metas = [dict(img_shape=(256, 384)), dict(img_shape=(250, 380))]
    with torch.no_grad():
        expected, found = (
            head.predict_by_feat(*head(maps), batch_img_metas=metas) for head in (plain, quick)
        )
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(by_score(a), by_score(b))
        assert torch.equal(a.labels, b.labels)
