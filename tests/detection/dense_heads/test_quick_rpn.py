"""The quick assigner and RPN head give what mmdet's give."""

import pytest
import torch
from mmdet.models.dense_heads import RPNHead
from mmdet.models.task_modules.assigners import MaxIoUAssigner
from mmdet.models.task_modules.samplers import RandomSampler
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

from mmclarity.detection.dense_heads import QuickRPNHead
from mmclarity.detection.task_modules import QuickMaxIoUAssigner, QuickRandomSampler
from mmclarity.engine.hooks.precision import keep_float32


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


def quick_head(test_cfg, border=-1):
    torch.manual_seed(0)
    return QuickRPNHead(
        in_channels=8,
        feat_channels=8,
        anchor_generator=dict(
            type='AnchorGenerator', scales=[2.5], ratios=[0.5, 1, 2], strides=[4, 8]
        ),
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True),
        train_cfg=ConfigDict(
            assigner=dict(
                type='QuickMaxIoUAssigner', pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3
            ),
            sampler=dict(type='RandomSampler', num=64, pos_fraction=0.5, add_gt_as_proposals=False),
            allowed_border=border,
            pos_weight=-1,
        ),
        test_cfg=test_cfg,
    )


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


@pytest.mark.parametrize('pre,most,least', [(50, 100, 0), (1000, 20, 4)])
def test_a_batch_suppressed_in_one_go_is_image_by_image(pre, most, least):
    cfg = ConfigDict(
        nms_pre=pre, max_per_img=most, nms=dict(type='nms', iou_threshold=0.7), min_bbox_size=least
    )
    generator = torch.Generator().manual_seed(3)
    shapes = [(64, 96), (50, 80), (64, 40)]
    head = quick_head(cfg)
    sizes = [(16, 24), (8, 12)]
    scores = [torch.randn(3, 3, *size, generator=generator) for size in sizes]
    deltas = [torch.randn(3, 12, *size, generator=generator) * 0.5 for size in sizes]
    metas = [dict(img_shape=shape) for shape in shapes]
    expected = head.predict_by_feat(scores, deltas, batch_img_metas=metas, cfg=cfg)
    found = head._predict_batch(scores, deltas, shapes, cfg)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(by_score(one), by_score(other), atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize('border', [-1, 0, 3])
def test_targets_found_on_the_cpu_are_mmdets(border):
    """With a border, anchors that reach further beyond the image do not count."""
    head = quick_head(ConfigDict(), border)
    metas = [
        dict(img_shape=(64, 96), pad_shape=(64, 96)),
        dict(img_shape=(50, 80), pad_shape=(50, 80)),
    ]
    anchors, flags = head.get_anchors([(16, 24), (8, 12)], metas, 'cuda')
    assert anchors[0][0].device.type == 'cpu'
    objects = [
        InstanceData(bboxes=random_boxes(n, n), labels=torch.zeros(n, dtype=torch.long))
        for n in (4, 0)
    ]
    torch.manual_seed(0)
    expected = head.get_targets(anchors, flags, objects, metas)
    torch.manual_seed(0)
    chosen = [
        head._choose(torch.cat(a), torch.cat(f), meta['img_shape'], o, None)
        for a, f, meta, o in zip(anchors, flags, metas, objects, strict=True)
    ]
    found = head._dense_targets(chosen, [len(a) for a in anchors[0]], torch.device('cpu'))
    for one, other in zip(found, expected[:4], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert sum(one.avg_factor for one in chosen) == expected[4]
    assert expected[0][0].eq(0).any()


def test_an_image_without_an_anchor_inside_is_refused_as_mmdet_refuses_it():
    head, meta = quick_head(ConfigDict(), 0), dict(img_shape=(4, 4), pad_shape=(4, 4))
    anchors, flags = head.get_anchors([(1, 1), (1, 1)], [meta], 'cpu')
    objects = InstanceData(bboxes=random_boxes(1, 1), labels=torch.zeros(1, dtype=torch.long))
    with pytest.raises(ValueError, match='anchor inside'):
        head.get_targets(anchors, flags, [objects], [meta])
    with pytest.raises(ValueError, match='no anchor lies inside an image of 4x4 pixels'):
        head._choose(torch.cat(anchors[0]), torch.cat(flags[0]), (4, 4), objects, None)


@pytest.mark.parametrize('objects', [0, 3])
@pytest.mark.parametrize('bound', [-1, 2])
def test_the_choice_is_mmdets_from_the_same_seed(objects, bound):
    options = dict(num=32, pos_fraction=0.25, neg_pos_ub=bound)
    priors = InstanceData(priors=random_boxes(400, 5))
    gt = InstanceData(bboxes=random_boxes(objects, 6), labels=torch.arange(objects))
    assigner = QuickMaxIoUAssigner(0.3, 0.3)
    torch.manual_seed(1)
    expected = RandomSampler(**options).sample(assigner.assign(priors, gt), priors, gt)
    torch.manual_seed(1)
    found = QuickRandomSampler(**options)._sample(
        assigner.assign(priors, gt), priors.priors, gt.bboxes, gt.labels
    )
    assert len(expected.neg_inds) or bound == 2
    for name in ('pos_inds', 'neg_inds', 'pos_priors', 'neg_priors', 'pos_assigned_gt_inds'):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    assert torch.equal(found.pos_gt_labels, expected.pos_gt_labels)
    assert torch.equal(found.pos_is_gt, expected.pos_is_gt)
    assert found.avg_factor == expected.avg_factor


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('border', [-1, 0])
def test_on_a_gpu_all_is_as_on_the_cpu(border):
    cfg = ConfigDict(
        nms_pre=50, max_per_img=40, nms=dict(type='nms', iou_threshold=0.7), min_bbox_size=0
    )
    head = quick_head(cfg, border)
    sizes = [(16, 24), (8, 12)]
    scores = [torch.randn(2, 3, *size) for size in sizes]
    deltas = [torch.randn(2, 12, *size) * 0.5 for size in sizes]
    metas = [dict(img_shape=(64, 96), pad_shape=(64, 96))] * 2
    objects = [
        InstanceData(bboxes=random_boxes(4, i), labels=torch.zeros(4, dtype=torch.long))
        for i in range(2)
    ]
    there = [[t.cuda() for t in maps] for maps in (scores, deltas)]
    expected = head.predict_by_feat(scores, deltas, batch_img_metas=metas, cfg=cfg)
    found = head.predict_by_feat(*there, batch_img_metas=metas, cfg=cfg)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(by_score(one.cpu()), by_score(other), atol=1e-3, rtol=1e-4)
    torch.manual_seed(0)
    expected = head.loss_by_feat(scores, deltas, objects, metas)
    torch.manual_seed(0)
    found = head.loss_by_feat(*there, [one.cuda() for one in objects], metas)
    for name in expected:
        for one, other in zip(found[name], expected[name], strict=True):
            torch.testing.assert_close(one.cpu(), other, atol=1e-4, rtol=1e-4)
    priors = InstanceData(priors=random_boxes(400, 5))
    assigner, sampler = QuickMaxIoUAssigner(0.3, 0.3), QuickRandomSampler(32, 0.25)
    torch.manual_seed(0)
    one = sampler.sample(assigner.assign(priors, objects[0]), priors, objects[0])
    torch.manual_seed(0)
    priors, gt = priors.cuda(), objects[0].cuda()
    other = sampler.sample(assigner.assign(priors, gt), priors, gt)
    assert torch.equal(one.priors, other.priors.cpu())
    assert torch.equal(one.pos_gt_labels, other.pos_gt_labels.cpu())


@pytest.mark.parametrize('autocast', [False, True])
@pytest.mark.parametrize('wide', [False, True])
@pytest.mark.parametrize('layout', [torch.channels_last, torch.contiguous_format])
def test_maps_in_inference_are_those_in_training(autocast, wide, layout):
    """Both outputs as one convolution, against one after the other (with gradients)."""
    head = quick_head(None).to(memory_format=layout)
    if wide:
        keep_float32(head)
    maps = [torch.randn(2, 8, s, s + 3).contiguous(memory_format=layout) for s in (24, 12)]
    with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        expected = head(tuple(maps))
        with torch.no_grad():
            found = head(tuple(maps))
    for ours, theirs in zip(found, expected, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert (
                one.dtype
                == other.dtype
                == (torch.bfloat16 if autocast and not wide else torch.float32)
            )
            torch.testing.assert_close(one, other.detach())


def test_whoever_listens_to_an_output_hears_it_in_inference():
    head, heard = quick_head(None), []
    head.rpn_reg.register_forward_hook(lambda module, args, output: heard.append(output))
    with torch.no_grad():
        _, deltas = head((torch.randn(1, 8, 24, 24),))
    assert torch.equal(heard[0], deltas[0])
