"""RoI heads that hand their box heads the regions of each image, and the sources of context."""

import pytest
import torch
from mmdet.registry import MODELS

import mmclarity.detection  # noqa: F401  (registers the heads)
from mmclarity.errors import UsageError
from tests.detection.roi_heads.small_roi_heads import (
    ATTENTIONS,
    NUM_SOURCES,
    build,
    every_attention,
    feature_maps,
    most_certain,
    proposals,
    roi_head_cfg,
    samples_of,
)


def watch(head):
    """Collects what the box head and its attention are called with."""
    calls = {}
    head.bbox_head.register_forward_pre_hook(
        lambda module, args: calls.update(feats=args[0], context=args[1])
    )
    head.bbox_head.attention['fc2'].register_forward_pre_hook(
        lambda module, args: calls.update(
            x=args[0],
            source_x=args[2] if len(args) > 2 else None,
            sources=args[3] if len(args) > 2 else None,
        )
    )
    return calls


def predict(head, x, rpn_results):
    metas = [s.metainfo for s in samples_of([0] * len(rpn_results))]
    with torch.no_grad():
        return head.predict_bbox(x, metas, rpn_results, head.test_cfg)


@every_attention
@pytest.mark.parametrize('counts', [[9, 4], [5, 0, 8], [0, 7], [3, 3]], ids=str)
def test_prediction_of_a_batch_is_that_of_its_images(name, counts):
    head = build(ATTENTIONS[name])
    x, rpn = feature_maps(len(counts)), proposals(counts)
    together = predict(head, x, rpn)
    for i, count in enumerate(counts):
        alone = predict(head, tuple(level[i : i + 1] for level in x), rpn[i : i + 1])[0]
        assert len(together[i]) == len(alone)
        assert (len(alone) > 0) == (count > 0)
        torch.testing.assert_close(together[i].scores, alone.scores)
        torch.testing.assert_close(together[i].bboxes, alone.bboxes, rtol=1e-5, atol=1e-4)
        assert torch.equal(together[i].labels, alone.labels)


def test_sources_in_training_are_the_most_certain_proposals_without_ground_truth():
    head = build(ATTENTIONS['STA'], training=True)
    calls = watch(head)
    rpn = proposals([20, 4])
    expected = [most_certain(results, NUM_SOURCES) for results in rpn]
    head.loss(feature_maps(2), rpn, samples_of([3, 2]))
    sources = calls['sources']
    assert sources.counts == [NUM_SOURCES, 4] and sources.key_mask.sum() == NUM_SOURCES + 4
    for i, boxes in enumerate(expected):
        assert torch.equal(sources.boxes[sources.image_index == i], boxes)


def test_sources_are_the_same_in_training_and_testing_alone_and_in_a_batch():
    """The same image: in a batch of two or alone, its sources and their features agree."""
    head, x, seen = build(ATTENTIONS['STA']), feature_maps(2), []
    calls = watch(head)
    for pick in (slice(0, 2), slice(0, 1)):
        for training in (True, False):
            rpn = proposals([20, 4])[pick]
            maps = tuple(level[pick] for level in x)
            if training:
                head.loss(maps, rpn, samples_of([3, 2])[pick])
            else:
                predict(head, maps, rpn)
            mine = calls['sources'].image_index == 0
            seen.append((calls['sources'].boxes[mine], calls['source_x'][mine].detach()))
    for boxes, features in seen:
        torch.testing.assert_close(boxes, seen[0][0])
        torch.testing.assert_close(features, seen[0][1])


def test_sources_taken_by_index_equal_sources_pooled_again():
    head, x = build(ATTENTIONS['STA']), feature_maps(3)
    rpn = proposals([9, 0, 4])
    by_index = predict(head, x, rpn)
    pooled = []
    head.bbox_roi_extractor.register_forward_pre_hook(
        lambda module, args: pooled.append(len(args[1]))
    )
    predict(head, x, rpn)
    head._tests_proposals = False
    again = predict(head, x, rpn)
    assert pooled == [13, 13 + NUM_SOURCES + 4]
    for a, b in zip(by_index, again):
        torch.testing.assert_close(a.scores, b.scores)
        torch.testing.assert_close(a.bboxes, b.bboxes)


def test_proposals_without_scores_are_taken_in_their_order():
    head = build(ATTENTIONS['STA'])
    calls, rpn = watch(head), proposals([9, 3], scores=False)
    predict(head, feature_maps(2), rpn)
    expected = torch.cat([rpn[0].bboxes[:NUM_SOURCES], rpn[1].bboxes])
    assert torch.equal(calls['sources'].boxes, expected)


@pytest.mark.parametrize('name', ['SA', 'lambda'])
def test_ground_truth_is_nobodys_context_in_training(name):
    """Boxes the sampler adds are flagged, and changing their features changes no other output."""
    head = build(ATTENTIONS[name], training=True)
    calls, samples = watch(head), samples_of([3, 2])
    head.loss(feature_maps(2), proposals([20, 4]), samples)
    context, feats = calls['context'], calls['feats']
    truth = torch.cat(
        [
            torch.cat([torch.full((len(s.gt_instances), 1), float(i)), s.gt_instances.bboxes], 1)
            for i, s in enumerate(samples)
        ]
    )
    is_truth = (context.all_rois[:, None] == truth).all(-1).any(1)
    assert is_truth.sum() == 5
    assert torch.equal(context.targets.key_valid, ~is_truth)
    head.eval()
    with torch.no_grad():
        before = head.bbox_head(feats, context)[0]
        changed = feats.clone()
        changed[is_truth] += 2
        after = head.bbox_head(changed, context)[0]
    torch.testing.assert_close(after[~is_truth], before[~is_truth])
    assert (after[is_truth] - before[is_truth]).abs().max() > 1e-3


def test_ground_truth_may_be_let_in():
    head = build(ATTENTIONS['SA'], training=True, exclude_gt_keys=False)
    calls = watch(head)
    head.loss(feature_maps(2), proposals([20, 4]), samples_of([3, 2]))
    assert calls['context'].targets.key_valid is None


@every_attention
def test_calls_leave_nothing_behind_and_may_be_nested(name):
    """The context is an argument: a failed call, or one inside another, changes no attribute."""
    head = build(ATTENTIONS[name], training=True)
    x, rpn = feature_maps(2), proposals([20, 4])
    before = set(vars(head)), predict(head, x, rpn)
    handle = head.bbox_head.register_forward_pre_hook(lambda module, args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        head.loss(x, proposals([20, 4]), samples_of([3, 2]))
    handle.remove()
    other = []

    def nested(module, args):
        handle.remove()
        other.append(predict(head, feature_maps(1, seed=7), proposals([5], seed=7)))

    handle = head.bbox_head.register_forward_pre_hook(nested)
    after = set(vars(head)), predict(head, x, rpn)
    assert before[0] == after[0] and len(other) == 1
    for one, two in zip(before[1], after[1]):
        assert torch.equal(one.bboxes, two.bboxes) and torch.equal(one.scores, two.scores)


@every_attention
@pytest.mark.parametrize(
    'counts,truths', [([0, 0], [0, 0]), ([0, 5], [1, 0]), ([0, 0], [2, 0])], ids=str
)
def test_training_without_proposals_reaches_every_parameter(name, counts, truths):
    head = build(ATTENTIONS[name], training=True)
    losses = head.loss(feature_maps(2), proposals(counts), samples_of(truths))
    # Without any region mmdet computes no classification loss, and fc_cls gets no gradient.
    assert ('loss_cls' in losses) == (sum(counts) + sum(truths) > 0)
    sum(losses[key].sum() for key in losses if key.startswith('loss')).backward()
    for key, p in head.bbox_head.named_parameters():
        if 'loss_cls' in losses or not key.startswith('fc_cls'):
            assert p.grad is not None and p.grad.isfinite().all(), key


@every_attention
def test_tensor_mode_equals_the_prediction_head(name):
    head, x, rpn = build(ATTENTIONS[name]), feature_maps(2), proposals([9, 4])
    calls = watch(head)
    with torch.no_grad():
        cls_score, bbox_pred = head.forward(x, rpn, samples_of([0, 0]))
        expected = head.bbox_head(calls['feats'], calls['context'])
    assert torch.equal(cls_score, expected[0]) and torch.equal(bbox_pred, expected[1])


def test_a_plain_bbox_head_is_refused_with_the_remedy():
    cfg = roi_head_cfg(None)
    cfg.bbox_head.pop('attention')
    cfg.bbox_head.type = 'Shared2FCBBoxHead'
    with pytest.raises(TypeError, match='Shared2FCBBoxHead.*RegionAttentionBBoxHead'):
        MODELS.build(cfg)
    cfg.bbox_head.type = 'RegionAttentionBBoxHead'
    assert len(predict(MODELS.build(cfg).eval(), feature_maps(1), proposals([5]))[0])


@every_attention
def test_hard_mining_works_or_is_refused_before_it_mixes_images(name):
    """OHEMSampler runs the head on one image of the batch at a time."""
    cfg = roi_head_cfg(ATTENTIONS[name])
    cfg.train_cfg.sampler = dict(
        type='OHEMSampler', num=8, pos_fraction=0.25, neg_pos_ub=-1, add_gt_as_proposals=True
    )
    head = MODELS.build(cfg).train()
    arguments = feature_maps(2), proposals([20, 30]), samples_of([2, 3])
    if name == 'STA':
        with pytest.raises(UsageError, match='OHEMSampler.*RegionSelfAttention'):
            head.loss(*arguments)
    else:
        assert all(value.isfinite() for value in head.loss(*arguments).values())
