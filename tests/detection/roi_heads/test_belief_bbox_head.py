"""The box head whose regions tell one another what they take themselves for."""

import pytest
import torch
from mmdet.registry import MODELS

import mmclarity.detection  # noqa: F401  (registers the heads)
from tests.detection.roi_heads.test_bbox_head import ATTENTIONS, BASE, make_context, randomise


def build(**kwargs):
    torch.manual_seed(0)
    return MODELS.build(dict(type='BeliefBBoxHead', **(BASE | kwargs)))


def features(context):
    return torch.randn(len(context.all_rois), 4, 3, 3)


@pytest.mark.parametrize('name', ATTENTIONS)
def test_starts_as_the_plain_head(name):
    plain = MODELS.build(dict(type='Shared2FCBBoxHead', **BASE)).eval()
    head = build(attention=ATTENTIONS[name]).eval()
    head.load_state_dict(plain.state_dict(), strict=False)
    context = make_context([3, 4], head.num_sources)
    x = features(context)
    for a, b in zip(head(x, context), plain(x[:7]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('name', ['SA', 'STA'])
def test_beliefs_reach_others_and_nothing_else(name):
    """Another belief of one region changes the others of its image, not those of another one."""
    head = randomise(build(attention=ATTENTIONS[name]))
    context = make_context([3, 4], head.num_sources)
    x = features(context)
    before = head(x, context)[0]
    classifier, calls = head.fc_cls.forward, []

    def surer(features):
        logits = classifier(features)
        calls.append(1)
        if len(calls) == 1:  # the first pass
            changed = [0] if name == 'SA' else [7]  # a target; the first image's first source
            logits[changed, 2] += 50
        return logits

    head.fc_cls.forward = surer
    after = head(x, context)[0]
    same = torch.isclose(before, after, atol=1e-5).all(1)
    assert len(calls) == 2
    assert not same[1:3].any() and same[3:].all()


def test_the_embedding_learns_and_the_first_pass_does_not():
    head = randomise(build(attention=ATTENTIONS['SA']))
    context = make_context([3, 4])
    x = features(context).requires_grad_()
    head(x, context)[0].sum().backward()
    assert head.belief.weight.grad.abs().sum() > 0
    # d(sum of logits) / d(bias) counts the regions once: only the final pass.
    assert torch.allclose(head.fc_cls.bias.grad, torch.full((6,), 7.0))


def test_weights_are_explained():
    head = randomise(build(attention=ATTENTIONS['SA']))
    context = make_context([3, 4])
    weights = head.attention_weights(features(context), context)
    assert [tuple(w.shape[-2:]) for w in weights['fc2']] == [(3, 3), (4, 4)]


@pytest.mark.parametrize(
    'kwargs',
    [
        dict(),
        dict(attention=ATTENTIONS['SA'], attention_after='fc1'),
        dict(attention=ATTENTIONS['SA'], attention_after='both'),
    ],
)
def test_an_attention_after_the_last_layer_is_needed(kwargs):
    with pytest.raises(ValueError, match='one attention, after the last shared layer'):
        build(**kwargs)


def test_a_classifier_of_more_layers_is_refused():
    with pytest.raises(ValueError, match='num_cls_fcs=0'):
        build(attention=ATTENTIONS['SA'], num_cls_fcs=1)


def test_a_loss_whose_logits_are_no_softmax_is_refused():
    loss = dict(type='SeesawLoss', num_classes=5)
    with pytest.raises(ValueError, match='SeesawLoss has another'):
        build(attention=ATTENTIONS['SA'], loss_cls=loss)
