"""Heads that know how well their boxes fit."""

import pytest
import torch
from mmdet.models.task_modules.assigners import AssignResult
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.registry import MODELS
from mmengine.config import ConfigDict

import mmclarity.detection  # noqa: F401  (registers the heads)
from mmclarity.detection.roi_heads import RegionContext
from mmclarity.detection.roi_heads.box_fit import BoxFit, paired_iou
from mmclarity.errors import UsageError
from tests.detection.roi_heads.test_bbox_head import BASE, build, randomise

TEST = ConfigDict(score_thr=0.0, nms=dict(type='nms', iou_threshold=0.5), max_per_img=100)
TRAIN = ConfigDict(pos_weight=-1)
OBJECTS = torch.tensor([[10.0, 10, 40, 30], [50, 50, 70, 90]])


def sampled():
    """Two proposals and one object as positive regions, one negative one."""
    priors = torch.cat([OBJECTS, torch.tensor([[12.0, 9, 38, 33], [49, 55, 75, 88], [0, 0, 9, 9]])])
    assigned = AssignResult(
        2, torch.tensor([1, 2, 1, 2, 0]), None, labels=torch.tensor([3, 1, 3, 1, -1])
    )
    flags = torch.tensor([1, 1, 0, 0, 0], dtype=torch.uint8)
    positive, negative = torch.tensor([0, 2, 3]), torch.tensor([4])
    return SamplingResult(positive, negative, priors, OBJECTS, assigned, flags)


def slow_iou(a, b):
    sides = [min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1)]
    inner = max(sides[0], 0) * max(sides[1], 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return inner / (sum(areas) - inner)


def test_overlap_of_pairs():
    ours = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10], [5, 5, 5, 5]])
    theirs = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [5, 5, 5, 5]])
    torch.testing.assert_close(paired_iou(ours, theirs), torch.tensor([1, 1 / 3, 0, 0]))


@pytest.mark.parametrize('power', [0.0, 0.5, 1.0, 3.0])
def test_scores_are_probability_times_overlap(power):
    torch.manual_seed(0)
    logits, fit = torch.randn(50, 6) * 5, torch.randn(50, 1) * 4
    scores = BoxFit(8, power=power).weighed(logits, fit).softmax(-1)
    expected = logits.softmax(-1)[:, :-1] * fit.sigmoid() ** power
    torch.testing.assert_close(scores[:, :-1], expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(scores.sum(1), torch.ones(50))


def test_extreme_logits_stay_numbers():
    logits = torch.tensor([[200.0, -200], [-200, 200], [90, 90]])
    fit = torch.tensor([[200.0], [200], [-200]])
    scores = BoxFit(8).weighed(logits, fit).softmax(-1)
    torch.testing.assert_close(scores[:, 0], torch.tensor([1.0, 0, 0]), rtol=0, atol=1e-6)


@pytest.mark.parametrize('agnostic', [True, False])
def test_the_loss_is_that_of_its_positive_proposals(agnostic):
    head = randomise(build(box_fit=dict(loss_weight=0.3), reg_class_agnostic=agnostic))
    sample = sampled()
    rois = torch.cat([torch.zeros(4, 1), sample.priors], 1)
    scores, given = head(torch.rand(4, 4, 3, 3), RegionContext(rois, 1))
    assert given.shape == (4, 5 if agnostic else 21)
    result = head.loss_and_target(scores, given, rois, [sample], TRAIN)
    total, labels = 0.0, [3, 3, 1]
    for row in (1, 2):  # row 0 is ground truth
        place = 0 if agnostic else 4 * labels[row]
        deltas = given[row : row + 1, place : place + 4]
        box = head.bbox_coder.decode(rois[row : row + 1, 1:], deltas)[0]
        q = slow_iou(box.tolist(), sample.pos_gt_bboxes[row].tolist())
        p = given[row, -1].sigmoid()
        total = total - q * p.log() - (1 - q) * (1 - p).log()
    torch.testing.assert_close(result['loss_bbox']['loss_fit'], 0.3 * total / 2)
    # Names and boxes have the losses that they have without it.
    plain = build(reg_class_agnostic=agnostic)
    assert plain.load_state_dict(head.state_dict(), strict=False).missing_keys == []
    expected = plain.loss_and_target(scores, given[:, :-1], rois, [sample], TRAIN)['loss_bbox']
    for name, value in expected.items():
        torch.testing.assert_close(result['loss_bbox'][name], value)


def test_no_positive_region_costs_nothing():
    fit = BoxFit(8)
    priors = torch.tensor([[0.0, 0, 9, 9]])
    assigned = AssignResult(0, torch.tensor([0]), None, labels=torch.tensor([-1]))
    none = torch.zeros(0, dtype=torch.long)
    sample = SamplingResult(
        none, torch.tensor([0]), priors, torch.zeros(0, 4), assigned, torch.zeros(1).byte()
    )
    loss = fit.loss(fit(torch.rand(1, 8), priors), priors, [sample])
    assert loss == 0 and loss.requires_grad


def test_names_and_boxes_learn_as_without_it():
    head = randomise(build(box_fit=True, reg_class_agnostic=True))
    rois = torch.tensor([[0.0, 0, 0, 9, 9], [0, 5, 5, 20, 20]])
    head(torch.rand(2, 4, 3, 3), RegionContext(rois, 1))[1][:, -1].sum().backward()
    learns = {name for name, p in head.named_parameters() if p.grad is not None and p.grad.any()}
    assert learns and all(name.startswith('box_fit.') for name in learns)


@pytest.mark.parametrize('agnostic', [True, False])
def test_detections_have_the_score_and_the_box_of_before(agnostic):
    options = dict(type='RegionAttentionBBoxHead', reg_class_agnostic=agnostic, **BASE)
    rois = torch.tensor([[0.0, 10, 10, 30, 30], [0, 60, 60, 80, 90]])
    torch.manual_seed(0)
    scores, deltas = torch.randn(2, 6), torch.randn(2, 4 if agnostic else 20)
    fit = torch.tensor([[0.3], [-2.0]])
    meta = [dict(img_shape=(100, 100))]
    plain = MODELS.build(options)
    told = MODELS.build(dict(options, box_fit=dict(power=0.5)))
    (before,) = plain.predict_by_feat((rois,), (scores,), (deltas,), meta, rcnn_test_cfg=TEST)
    given = torch.cat([deltas, fit], 1)
    (after,) = told.predict_by_feat((rois,), (scores,), (given,), meta, rcnn_test_cfg=TEST)
    rows = {(int(label), *box.tolist()): float(s) for label, box, s in
            zip(before.labels, before.bboxes, before.scores)}  # fmt: skip
    assert len(after) == len(before) == 10
    for label, box, score in zip(after.labels, after.bboxes, after.scores):
        factor = fit[0 if box[0] < 50 else 1].sigmoid() ** 0.5
        wanted = rows[(int(label), *box.tolist())] * float(factor)
        assert float(score) == pytest.approx(wanted, rel=1e-4)
    assert told.regress_by_class(rois[:, 1:], torch.tensor([1, 2]), given, meta[0]).equal(
        plain.regress_by_class(rois[:, 1:], torch.tensor([1, 2]), deltas, meta[0])
    )


def test_no_region_no_detection():
    head = build(box_fit=True)
    (found,) = head.predict_by_feat(
        (torch.zeros(0, 5),), (torch.zeros(0, 6),), (torch.zeros(0, 21),),
        [dict(img_shape=(9, 9), scale_factor=(1, 1))], rcnn_test_cfg=TEST,
    )  # fmt: skip
    assert len(found) == 0


def test_wrong_options():
    with pytest.raises(ValueError, match='must not be negative, got power=-1'):
        build(box_fit=dict(power=-1))
    with pytest.raises(UsageError, match='SeesawLoss has others'):
        build(box_fit=True, loss_cls=dict(type='SeesawLoss', num_classes=5))
    with pytest.raises(UsageError, match='num_reg_fcs=0'):
        build(box_fit=True, num_reg_fcs=1)
    with pytest.raises(UsageError, match='where its regions lie'):
        build(box_fit=True)(torch.rand(2, 4, 3, 3))
    assert build(box_fit=False).box_fit is None and build(box_fit={}).box_fit is not None
