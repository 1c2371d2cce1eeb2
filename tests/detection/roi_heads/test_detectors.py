"""Whole detectors of mmdet with the heads put in by overriding a few lines of their configs."""

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox2roi
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config

import mmclarity.detection  # noqa: F401  (registers the heads)
from mmclarity.detection.roi_heads import region_attention_bbox_head, region_attention_roi_head
from mmclarity.detection.roi_heads.batches import are_alike
from mmclarity.errors import UsageError

SIZE = 128
ATTENTIONS = {
    'SA': dict(type='RegionSelfAttention', temperature=0.32),
    'STA': dict(type='RegionSourceTargetAttention', temperature=0.32, num_sources=16),
    'lambda': dict(type='RegionLambda', num_heads=2, key_dims=8),
    'lambda-position': dict(type='RegionLambda', num_heads=2, key_dims=8, position=True),
}
every_attention = pytest.mark.parametrize('name', ATTENTIONS)
# A small model out of the published config: thin ResNet-18 and FPN, few proposals.
SMALL = """
model = dict(
    backbone=dict(depth=18, base_channels=8, frozen_stages=-1, init_cfg=None),
    neck=dict(in_channels=[8, 16, 32, 64], out_channels=8),
    rpn_head=dict(in_channels=8, feat_channels=8),
    roi_head=dict({roi_head}),
    train_cfg=dict(rpn_proposal=dict(max_per_img=60)),
    test_cfg=dict(rpn=dict(max_per_img=40), rcnn=dict(score_thr=0.0, max_per_img=10)))
"""
FRCNN = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
MASK = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'
CASCADE = 'mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py'
SMALL_BOX = 'in_channels=8, fc_out_channels=32'


def build(tmp_path, base, roi_head, prologue=''):
    path = tmp_path / 'config.py'
    path.write_text(f'_base_ = [{base!r}]\n{prologue}\n{SMALL.format(roi_head=roi_head)}')
    torch.manual_seed(0)
    return MODELS.build(Config.fromfile(path).model)


def faster_rcnn(tmp_path, attention=None, **kwargs):
    heads = 'type="StandardRoIHead", bbox_head=dict(type="Shared2FCBBoxHead", '
    if attention is not None:
        heads = (
            'type="RegionAttentionRoIHead", bbox_head=dict(type="RegionAttentionBBoxHead", '
            f'attention={attention!r}, **{kwargs!r}, '
        )
    return build(tmp_path, FRCNN, heads + SMALL_BOX + '), bbox_roi_extractor=dict(out_channels=8)')


def mask_rcnn(tmp_path, attention):
    return build(
        tmp_path,
        MASK,
        'type="RegionAttentionRoIHead", '
        f'bbox_head=dict(type="RegionAttentionBBoxHead", attention={attention!r}, {SMALL_BOX}), '
        'bbox_roi_extractor=dict(out_channels=8), mask_roi_extractor=dict(out_channels=8), '
        'mask_head=dict(in_channels=8, conv_out_channels=8, num_convs=1)',
    )


def cascade_rcnn(tmp_path, attentions, look_again=0.0):
    """The three stages are a list, which a child config changes in Python."""
    prologue = (
        f'attentions = {attentions!r}\n'
        'stages = _base_.model.roi_head.bbox_head\n'
        'for i in range(3):\n'
        '    stages[i].update(type="RegionAttentionBBoxHead", in_channels=8,\n'
        '                     fc_out_channels=32, attention=attentions[i])\n'
    )
    return build(
        tmp_path,
        CASCADE,
        f'type="CascadeRegionAttentionRoIHead", bbox_head=stages, look_again={look_again}, '
        'bbox_roi_extractor=dict(out_channels=8)',
        prologue,
    )


def data(model, with_mask=False, training=True):
    batch = demo_mm_inputs(
        2, [[3, SIZE, SIZE], [3, SIZE, 96]], num_items=[3, 2], num_classes=80, with_mask=with_mask
    )
    return model.data_preprocessor(batch, training)


def losses_of(model, batch):
    torch.manual_seed(1)  # mmdet's sampler draws at random
    losses = model.train()(**batch, mode='loss')
    return {k: (sum(v) if isinstance(v, list) else v) for k, v in losses.items()}


def predictions_of(model, batch):
    with torch.no_grad():
        return [s.pred_instances for s in model.eval()(**batch, mode='predict')]


@every_attention
@pytest.mark.parametrize('after', ['fc2', 'both'])
def test_a_plain_checkpoint_gives_the_same_losses_and_detections(tmp_path, name, after):
    plain = faster_rcnn(tmp_path)
    with torch.no_grad():  # confident enough for boxes of several classes
        plain.roi_head.bbox_head.fc_cls.weight.normal_(0, 1)
        plain.roi_head.bbox_head.fc_reg.weight.normal_(0, 0.2)
    model = faster_rcnn(
        tmp_path,
        ATTENTIONS[name],
        attention_after=after,
        intra_attention=dict(type='IntraRegionAttention'),
    )
    missing, unexpected = model.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    assert missing and all(
        k.startswith(('roi_head.bbox_head.attention.', 'roi_head.bbox_head.intra_attention.'))
        for k in missing
    )
    batch = data(plain)
    expected, got = losses_of(plain, batch), losses_of(model, batch)
    assert expected.keys() == got.keys()
    for key in expected:
        torch.testing.assert_close(got[key], expected[key], rtol=0, atol=1e-6)
    batch = data(plain, training=False)
    for a, b in zip(predictions_of(plain, batch), predictions_of(model, batch)):
        assert len(a) == len(b) == 10 and torch.equal(a.labels, b.labels)
        torch.testing.assert_close(b.scores, a.scores, rtol=0, atol=1e-6)
        # Pixels: 1e-6 of the image's size.
        torch.testing.assert_close(b.bboxes, a.bboxes, rtol=0, atol=1e-6 * SIZE)


def check_loss_and_predict(model, with_mask):
    """Finite losses, gradients everywhere in the box heads, then detections."""
    for key, p in model.named_parameters():
        if 'out_proj' in key:
            torch.nn.init.normal_(p, std=0.1)
    losses = losses_of(model, data(model, with_mask))
    assert all(v.isfinite().all() for v in losses.values())
    sum(v.sum() for k, v in losses.items() if 'loss' in k).backward()
    for key, p in model.roi_head.bbox_head.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all(), key
    results = predictions_of(model, data(model, with_mask, training=False))
    assert [len(r) for r in results] == [10, 10]
    assert all(('masks' in r) == with_mask for r in results)
    return losses


@every_attention
def test_mask_rcnn(tmp_path, name):
    losses = check_loss_and_predict(mask_rcnn(tmp_path, ATTENTIONS[name]), with_mask=True)
    assert 'loss_mask' in losses


@every_attention
def test_cascade_rcnn(tmp_path, name):
    model = cascade_rcnn(tmp_path, [ATTENTIONS[name]] * 3)
    losses = check_loss_and_predict(model, with_mask=False)
    assert {'s0.loss_cls', 's1.loss_cls', 's2.loss_cls'} <= losses.keys()


def test_cascade_rcnn_with_different_stages(tmp_path):
    """A stage without attention gets no sources; one with fewer gets the most certain of them."""
    few = ATTENTIONS['STA'] | dict(num_sources=4)
    model = cascade_rcnn(tmp_path, [None, few, ATTENTIONS['STA']])
    seen = {}
    for stage in (1, 2):
        model.roi_head.bbox_head[stage].attention['fc2'].register_forward_pre_hook(
            lambda module, args, stage=stage: seen.update({stage: args[3]})
        )
    check_loss_and_predict(model, with_mask=False)
    assert seen[1].counts == [4, 4] and seen[2].counts == [16, 16]
    for image in range(2):
        few, many = (seen[s].boxes[seen[s].image_index == image] for s in (1, 2))
        assert torch.equal(few, many[:4])


def test_cascade_explains_every_stage(tmp_path):
    model = cascade_rcnn(tmp_path, [ATTENTIONS['SA'], None, ATTENTIONS['STA']]).eval()
    roi_head, inputs = model.roi_head, data(model, training=False)
    with torch.no_grad():
        x = model.extract_feat(inputs['inputs'])
        rpn = model.rpn_head.predict(x, inputs['data_samples'], rescale=False)
        metas = [sample.metainfo for sample in inputs['data_samples']]
        before = roi_head.predict(x, rpn, inputs['data_samples'])
        explained = roi_head.explain(x, rpn, metas)
        after = roi_head.predict(x, rpn, inputs['data_samples'])
    # The first stage sees the proposals as a head of one stage does.
    single = faster_rcnn(tmp_path, ATTENTIONS['SA']).eval().roi_head
    state = roi_head.bbox_head[0].state_dict()  # its boxes are class-agnostic
    single.bbox_head.load_state_dict(
        {key: value for key, value in state.items() if 'fc_reg' not in key}, strict=False
    )
    alone = single.explain(x, rpn, metas)
    for image, its, results, predicted in zip(explained, alone, rpn, before):
        first, second, third = image.stages
        n = len(results)
        assert list(first) == list(third) == ['fc2'] and second == {}
        assert tuple(first['fc2'].weights.shape) == (1, n, n)
        assert tuple(third['fc2'].weights.shape) == (1, n, min(n, 16))
        for weights in (first['fc2'].weights, third['fc2'].weights):
            torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:2]))
        torch.testing.assert_close(first['fc2'].weights, its.stages[0]['fc2'].weights)
        assert torch.equal(image.detections.bboxes, predicted.bboxes)
        assert torch.equal(image.detections.scores, predicted.scores)
    for one, other in zip(before, after):
        assert torch.equal(one.bboxes, other.bboxes)


def test_cascade_looks_again_at_what_the_first_look_found_worth_it(tmp_path):
    """As if the RPN had proposed no more; the best proposal of an image goes on whatever it is."""
    model = cascade_rcnn(tmp_path, [None, ATTENTIONS['SA'], None]).eval()
    roi_head, inputs = model.roi_head, data(model, training=False)
    samples = inputs['data_samples']
    metas = [sample.metainfo for sample in samples]
    with torch.no_grad():
        x = model.extract_feat(inputs['inputs'])
        rpn = model.rpn_head.predict(x, samples, rescale=False)
        first = roi_head._bbox_forward(0, x, bbox2roi([one.bboxes for one in rpn]))['cls_score']
        best = first.softmax(-1)[:, :-1].amax(1).split([len(one) for one in rpn])
        for least in (float(torch.cat(best).median()), 0.999):
            fewer = [one[(said >= least) | (said == said.max())] for one, said in zip(rpn, best)]
            expected = roi_head.predict(x, fewer, samples)
            roi_head.look_again = least
            found, explained = roi_head.predict(x, rpn, samples), roi_head.explain(x, rpn, metas)
            nothing = roi_head.predict(x, [one[:0] for one in rpn], samples)
            roi_head.look_again = 0.0
            for ours, theirs, image, some in zip(found, expected, explained, fewer):
                torch.testing.assert_close(ours.bboxes, theirs.bboxes)
                torch.testing.assert_close(ours.scores, theirs.scores)
                assert torch.equal(image.proposals, some.bboxes)
                torch.testing.assert_close(image.detections.bboxes, ours.bboxes)
            assert [len(one) for one in nothing] == [0, 0]
        assert [len(one) for one in fewer] == [1, 1] and len(rpn[0]) > 2


@pytest.mark.parametrize('name', ['SA', 'lambda'])
def test_a_first_look_with_context_is_explained_as_it_was_taken(tmp_path, name):
    """It saw all proposals, also those that are not looked at again."""
    model = cascade_rcnn(tmp_path, [ATTENTIONS[name], ATTENTIONS['SA'], None]).eval()
    roi_head, inputs = model.roi_head, data(model, training=False)
    samples = inputs['data_samples']
    metas = [sample.metainfo for sample in samples]
    with torch.no_grad():
        for module in roi_head.bbox_head[0].attention.values():
            module.out_proj.weight.normal_(0, 1.0)  # zero at the start: nothing would be told
        x = model.extract_feat(inputs['inputs'])
        rpn = model.rpn_head.predict(x, samples, rescale=False)
        whole = roi_head.explain(x, rpn, metas)
        first = roi_head._bbox_forward(0, x, bbox2roi([one.bboxes for one in rpn]))['cls_score']
        roi_head.look_again = float(first.softmax(-1)[:, :-1].amax(1).median())
        found, explained = roi_head.predict(x, rpn, samples), roi_head.explain(x, rpn, metas)
    for results, image, all_of_it, one in zip(found, explained, whole, rpn):
        torch.testing.assert_close(image.detections.bboxes, results.bboxes)
        torch.testing.assert_close(image.detections.scores, results.scores)
        kept = (one.bboxes[:, None] == image.proposals).all(-1).any(1)
        assert 0 < kept.sum() == len(image.proposals)
        got, was = (told.stages[0]['fc2'].weights for told in (image, all_of_it))
        torch.testing.assert_close(got, was[:, kept][:, :, kept])
    assert sum(len(image.proposals) for image in explained) < sum(map(len, rpn))


@pytest.mark.parametrize(
    ('least', 'stage', 'why'), [(1.0, None, 'below 1'), (0.1, 'STA', 'sources')]
)
def test_looking_again_that_cannot_be(tmp_path, least, stage, why):
    with pytest.raises(UsageError, match=why):
        cascade_rcnn(tmp_path, [None, ATTENTIONS.get(stage), None], look_again=least)


def test_cascade_of_a_plain_checkpoint_gives_the_same_detections(tmp_path):
    plain = cascade_rcnn(tmp_path, [None] * 3)
    model = cascade_rcnn(tmp_path, [ATTENTIONS['STA'], ATTENTIONS['SA'], ATTENTIONS['lambda']])
    missing, unexpected = model.load_state_dict(plain.state_dict(), strict=False)
    assert missing and not unexpected
    batch = data(plain, training=False)
    for a, b in zip(predictions_of(plain, batch), predictions_of(model, batch)):
        torch.testing.assert_close(b.scores, a.scores, rtol=0, atol=1e-6)
        torch.testing.assert_close(b.bboxes, a.bboxes, rtol=0, atol=1e-6 * SIZE)


@every_attention
def test_detections_do_not_depend_on_the_rest_of_the_batch(tmp_path, name):
    model = faster_rcnn(tmp_path, ATTENTIONS[name])
    with torch.no_grad():
        for key, p in model.roi_head.bbox_head.named_parameters():
            if 'attention' in key or key.startswith('fc_'):
                p.normal_(0, 0.2)
    batch = demo_mm_inputs(2, [[3, SIZE, SIZE]] * 2, num_items=[3, 2], num_classes=80)
    together = predictions_of(model, model.data_preprocessor(batch, False))
    for i in range(2):
        one = {k: v[i : i + 1] for k, v in batch.items()}
        alone = predictions_of(model, model.data_preprocessor(one, False))[0]
        torch.testing.assert_close(together[i].scores, alone.scores, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(together[i].bboxes, alone.bboxes, rtol=1e-4, atol=1e-2)


def closer_cascade(tmp_path):
    """Boxes that are agreed on, soft suppression, and few that later stages judge."""
    model = cascade_rcnn(tmp_path, [None, ATTENTIONS['SA'], None])
    model.roi_head.bbox_head[-1].consensus = dict(temperature=0.1)
    model.roi_head.test_cfg.update(
        score_thr=0.001, nms=dict(type='soft_nms', iou_threshold=0.3, min_score=0.001)
    )
    with torch.no_grad():
        for name, p in model.roi_head.bbox_head.named_parameters():
            if 'fc_' in name:
                p.normal_(0, 0.3)
    return model


def test_images_of_one_size_are_judged_together_as_one_by_one(tmp_path, monkeypatch):
    model = closer_cascade(tmp_path)
    batch = demo_mm_inputs(2, [[3, SIZE, SIZE]] * 2, num_items=[3, 2], num_classes=80)
    inputs, found = model.data_preprocessor(batch, False), []
    model.roi_head.look_again = 0.4
    metas = [sample.metainfo for sample in inputs['data_samples']]
    assert are_alike(metas)
    for module in (region_attention_roi_head, region_attention_bbox_head, None):
        found.append(predictions_of(model, inputs))
        if module is not None:
            monkeypatch.setattr(module, 'are_alike', lambda metas: False)
    together, moved, alone = found
    assert all(len(one) for one in together)
    for results in zip(together, moved, alone, strict=True):
        for name in ('bboxes', 'scores', 'labels'):
            first, *others = (one[name] for one in results)
            assert all(torch.equal(first, other) for other in others), name


def test_images_differ_in_what_bounds_and_scales_their_boxes():
    meta = dict(img_shape=(4, 6), scale_factor=(1.5, 1.5))
    assert are_alike([meta, dict(meta, img_shape=(4, 6, 3), scale_factor=np.array([1.5, 1.5]))])
    assert not are_alike([meta, dict(meta, img_shape=(4, 5))])
    assert not are_alike([meta, dict(meta, scale_factor=(1.5, 1.0))])


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_what_is_suppressed_on_the_cpu_comes_back(tmp_path):
    model = closer_cascade(tmp_path)
    batch = demo_mm_inputs(2, [[3, SIZE, SIZE]] * 2, num_items=[3, 2], num_classes=80)
    expected = predictions_of(model, model.data_preprocessor(batch, False))
    model = model.cuda()
    found = predictions_of(model, model.data_preprocessor(batch, False))
    for one, other in zip(found, expected, strict=True):
        assert {part.device.type for part in one.values()} == {'cuda'}
        assert len(one) and abs(float(one.scores.max() - other.scores.max())) < 0.01


@every_attention
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
def test_training_under_autocast_is_finite(tmp_path, name, dtype):
    model = faster_rcnn(tmp_path, ATTENTIONS[name])
    with torch.autocast('cpu', dtype):
        losses = losses_of(model, data(model))
    sum(v.sum() for k, v in losses.items() if 'loss' in k).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    with torch.autocast('cpu', dtype):
        results = predictions_of(model, data(model, training=False))
    assert all(r.scores.isfinite().all() for r in results)
