"""What a RoI head tells of its detections: the proposals and the context behind them."""

import pytest
import torch
from mmdet.registry import MODELS

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
