"""RoI heads that hand their box heads the regions of each image, and the sources of context."""

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

import mmclarity.detection  # noqa: F401  (registers the heads)
from mmclarity.errors import UsageError

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


def most_certain(results, count):
    """Boxes in order of falling score, by sorting a Python list."""
    order = sorted(range(len(results)), key=lambda i: -float(results.scores[i]))[:count]
    return results.bboxes[order]


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


def metas_of(counts, **kwargs):
    return [sample.metainfo | kwargs for sample in samples_of([0] * len(counts))]


@every_attention
def test_explain_gives_weights_by_layer_and_image(name):
    counts = [9, 0, 4]
    head, x, rpn = build(ATTENTIONS[name]), feature_maps(3), proposals(counts)
    explained = head.explain(x, rpn, metas_of(counts))
    heads = 2 if name == 'lambda' else 1
    keys = [NUM_SOURCES, 0, 4] if name == 'STA' else counts
    for image, n, m in zip(explained, counts, keys):
        assert len(image.stages) == 1 and list(image.stages[0]) == ['fc2']
        layer = image.stages[0]['fc2']
        assert tuple(layer.weights.shape) == (heads, n, m) and len(layer.sources) == m
        assert layer.signed == (name == 'lambda')
        assert not layer.weights.requires_grad
        if name != 'lambda':
            torch.testing.assert_close(layer.weights.sum(-1), torch.ones(heads, n))
    if name == 'STA':
        expected = most_certain(rpn[0], NUM_SOURCES)
        assert torch.equal(rpn[0].bboxes[explained[0].stages[0]['fc2'].sources], expected)


@every_attention
@pytest.mark.parametrize('agnostic', [False, True])
def test_explained_detections_are_the_predicted_ones_and_know_their_proposals(name, agnostic):
    counts = [9, 0, 4]
    head = build(ATTENTIONS[name])
    if agnostic:
        cfg = roi_head_cfg(ATTENTIONS[name])
        cfg.bbox_head.reg_class_agnostic = True
        head = MODELS.build(cfg).eval()
    x, rpn = feature_maps(3), proposals(counts)
    metas = metas_of(counts, scale_factor=(2.0, 0.5))
    for rescale in (False, True):
        with torch.no_grad():
            predicted = head.predict_bbox(x, metas, rpn, head.test_cfg, rescale)
        for image, results, one in zip(head.explain(x, rpn, metas, rescale), predicted, rpn):
            assert torch.equal(image.detections.bboxes, results.bboxes)
            assert torch.equal(image.detections.scores, results.scores)
            assert torch.equal(image.detections.labels, results.labels)
            assert torch.equal(image.proposals, one.bboxes) and len(image) == len(results)
            for i in range(len(image)):
                found = image.detection(i)
                assert torch.equal(found.box, image.with_context.box(found.proposal, found.label))
                assert found.score == image.with_context.scores[found.proposal, found.label]
                assert torch.equal(found.proposal_box, one.bboxes[found.proposal])
                assert torch.equal(
                    found.layers[0]['fc2'][0],
                    image.stages[0]['fc2'].weights[:, found.proposal],
                )


@every_attention
def test_without_context_a_proposal_is_judged_as_by_the_plain_head(name):
    head, x, rpn = build(ATTENTIONS[name]), feature_maps(2), proposals([9, 4])
    plain = build(None)
    plain.bbox_head.load_state_dict(
        {k: v for k, v in head.bbox_head.state_dict().items() if 'attention' not in k}
    )
    got, expected = (h.explain(x, rpn, metas_of([9, 4])) for h in (head, plain))
    for mine, its in zip(got, expected):
        torch.testing.assert_close(mine.without_context.logits, its.with_context.logits)
        torch.testing.assert_close(mine.without_context.boxes, its.with_context.boxes)
        changed = (mine.with_context.logits - mine.without_context.logits).abs().max()
        assert changed > 1e-3 and its.stages == ({},)
        found = mine.detection(0)
        assert found.label_alone == int(its.with_context.scores[found.proposal, :-1].argmax())


def test_without_a_residual_path_nothing_is_left_without_context():
    head = build(ATTENTIONS['SA'] | dict(residual=False))
    image = head.explain(feature_maps(1), proposals([5]), metas_of([5]))[0]
    assert image.without_context is None and image.detection(0).logits_alone is None


def test_the_strongest_sources_come_first_whatever_their_sign():
    head, rpn = build(ATTENTIONS['lambda']), proposals([9])
    layer = head.explain(feature_maps(1), rpn, metas_of([9]))[0].stages[0]['fc2']
    places, values = layer.top(3, 4)
    row = layer.weights.mean(0)[3].tolist()
    expected = sorted(range(9), key=lambda m: -abs(row[m]))[:4]
    assert places.tolist() == expected
    assert values.tolist() == pytest.approx([row[m] for m in expected])


def test_images_without_any_proposal_have_empty_explanations():
    head = build(ATTENTIONS['STA'])
    for image in head.explain(feature_maps(2), proposals([0, 0]), metas_of([0, 0])):
        assert len(image) == 0 and image.with_context.logits.shape == (0, 6)
        with pytest.raises(IndexError, match='detection 0 of 0'):
            image.detection(0)


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
