"""Small RoI heads with each attention, and what they are called with."""

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

import mmclarity.detection  # noqa: F401  (registers the heads)

NUM_SOURCES = 6
ATTENTIONS = {
    'SA': dict(type='RegionSelfAttention', temperature=0.32, geometry_bias=True),
    'STA': dict(type='RegionSourceTargetAttention', num_sources=NUM_SOURCES),
    'lambda': dict(type='RegionLambda', key_dims=4, num_heads=2, position=True),
}
every_attention = pytest.mark.parametrize('name', ATTENTIONS)
IMAGE = (64, 96)


def roi_head_cfg(attention, **kwargs):
    return (
        ConfigDict(
            type='RegionAttentionRoIHead',
            bbox_roi_extractor=dict(
                type='SingleRoIExtractor',
                roi_layer=dict(type='RoIAlign', output_size=3),
                out_channels=4,
                featmap_strides=[4, 8],
            ),
            bbox_head=dict(
                type='RegionAttentionBBoxHead',
                in_channels=4,
                fc_out_channels=16,
                roi_feat_size=3,
                num_classes=5,
                attention=attention,
            ),
            train_cfg=dict(
                assigner=dict(
                    type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5
                ),
                sampler=dict(
                    type='RandomSampler',
                    num=16,
                    pos_fraction=0.5,
                    neg_pos_ub=-1,
                    add_gt_as_proposals=True,
                ),
                pos_weight=-1,
            ),
            test_cfg=dict(score_thr=0.0, nms=dict(type='nms', iou_threshold=0.9), max_per_img=50),
        )
        | kwargs
    )


def build(attention, training=False, **kwargs):
    torch.manual_seed(0)
    head = MODELS.build(roi_head_cfg(attention, **kwargs))
    with torch.no_grad():
        for p in head.bbox_head.parameters():
            p.add_(torch.randn_like(p) * 0.2)
    return head.train(training)


def feature_maps(num_images, seed=0):
    g = torch.Generator().manual_seed(seed)
    return tuple(
        torch.randn(num_images, 4, IMAGE[0] // s, IMAGE[1] // s, generator=g) for s in (4, 8)
    )


def proposals(counts, seed=0, scores=True):
    """What the RPN yields for each image; scores in no order."""
    g = torch.Generator().manual_seed(seed)
    results = []
    for n in counts:
        corner = torch.rand(n, 2, generator=g) * torch.tensor([60.0, 30])
        size = torch.rand(n, 2, generator=g) * 30 + 4
        one = InstanceData(bboxes=torch.cat([corner, corner + size], 1))
        if scores:
            one.scores = torch.randperm(n, generator=g).float() / max(n, 1)
        results.append(one)
    return results


def samples_of(counts, seed=3):
    """Data samples with `counts` ground-truth boxes."""
    g, out = torch.Generator().manual_seed(seed), []
    for n in counts:
        corner = torch.rand(n, 2, generator=g) * torch.tensor([60.0, 30])
        sample = DetDataSample(
            metainfo=dict(img_shape=IMAGE, ori_shape=IMAGE, scale_factor=(1.0, 1.0))
        )
        sample.gt_instances = InstanceData(
            bboxes=torch.cat([corner, corner + 20], 1), labels=torch.arange(n) % 5
        )
        sample.ignored_instances = InstanceData(
            bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
        )
        out.append(sample)
    return out


def most_certain(results, count):
    """Boxes in order of falling score, by sorting a Python list."""
    order = sorted(range(len(results)), key=lambda i: -float(results.scores[i]))[:count]
    return results.bboxes[order]
