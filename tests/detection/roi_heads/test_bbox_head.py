"""The box head with attention among its regions."""

import copy

import pytest
import torch
from mmdet.registry import MODELS

import mmclarity.detection  # noqa: F401  (registers the heads)
from mmclarity.detection.attention import RegionSelfAttention
from mmclarity.detection.roi_heads import RegionAttentionBBoxHead, RegionContext
from mmclarity.errors import UsageError

BASE = dict(in_channels=4, fc_out_channels=16, roi_feat_size=3, num_classes=5)
ATTENTIONS = {
    'SA': dict(type='RegionSelfAttention', temperature=4.0),
    'STA': dict(type='RegionSourceTargetAttention', num_sources=3),
    'lambda': dict(type='RegionLambda', key_dims=4, num_heads=2),
    'lambda-position': dict(type='RegionLambda', key_dims=4, num_heads=2, position=True),
}
every_attention = pytest.mark.parametrize('name', ATTENTIONS)
every_stage = pytest.mark.parametrize(
    'after,layers', [('fc1', ['fc1']), ('fc2', ['fc2']), ('both', ['fc1', 'fc2'])]
)


def build(**kwargs):
    torch.manual_seed(0)
    return MODELS.build(dict(type='RegionAttentionBBoxHead', **(BASE | kwargs)))


def randomise(head):
    with torch.no_grad():
        for p in head.parameters():
            p.add_(torch.randn_like(p) * 0.2)
    return head.eval()


def make_context(counts, num_sources=0):
    """Targets in order of images; the first `num_sources` of each image again as sources."""
    index = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)).float()
    corner = torch.rand(len(index), 2) * 50
    rois = torch.cat([index[:, None], corner, corner + 1 + torch.rand(len(index), 2) * 30], 1)
    sources = None
    if num_sources:
        sources = torch.cat([rois[index == i][:num_sources] for i in range(len(counts))])
    return RegionContext(rois, len(counts), source_rois=sources)


@every_attention
@every_stage
@pytest.mark.parametrize('intra', [None, 'attention', 'lambda'])
def test_starts_as_the_plain_head(name, after, layers, intra):
    """The weights of Shared2FCBBoxHead load, and the outputs are the same to 1e-6."""
    plain = MODELS.build(dict(type='Shared2FCBBoxHead', **BASE)).eval()
    intra_cfg = intra and dict(type='IntraRegionAttention', kind=intra, num_heads=2)
    head = build(
        attention=ATTENTIONS[name], attention_after=after, intra_attention=intra_cfg
    ).eval()
    missing, unexpected = head.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected and all('attention' in key for key in missing)
    assert list(head.attention) == layers
    context = make_context([5, 0, 3], head.num_sources)
    x = torch.randn(len(context.all_rois), 4, 3, 3)
    for got, expected in zip(head(x, context), plain(x[:8])):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)


def test_without_attention_it_is_the_plain_head_and_needs_no_context():
    plain = MODELS.build(dict(type='Shared2FCBBoxHead', **BASE))
    head = build()
    head.load_state_dict(plain.state_dict(), strict=True)
    x = torch.randn(6, 4, 3, 3)
    assert head.num_sources == 0
    assert all(torch.equal(a, b) for a, b in zip(head(x), plain(x)))


@pytest.mark.parametrize(
    'layers',
    [
        dict(num_shared_convs=1, num_shared_fcs=1, conv_out_channels=6),
        dict(num_shared_fcs=2, with_avg_pool=True),
        dict(num_shared_fcs=2, num_cls_fcs=1, num_reg_fcs=2),
        dict(num_shared_fcs=0, num_cls_convs=1, num_reg_fcs=2, conv_out_channels=6),
    ],
    ids=str,
)
def test_separate_branches_as_in_mmdet(layers):
    cfg = BASE | layers
    plain = MODELS.build(dict(type='ConvFCBBoxHead', **cfg)).eval()
    head = MODELS.build(dict(type='RegionAttentionBBoxHead', **cfg)).eval()
    head.load_state_dict(plain.state_dict(), strict=True)
    x = torch.randn(6, 4, 3, 3)
    assert all(torch.equal(a, b) for a, b in zip(head(x), plain(x)))


@every_attention
def test_init_weights_leaves_the_output_projection_at_zero(name):
    """mmdet initialises the head's own layers by name; the attention's must stay."""
    head = build(
        attention=ATTENTIONS[name],
        attention_after='both',
        intra_attention=dict(type='IntraRegionAttention', num_heads=2),
    )
    before = copy.deepcopy(head.attention.state_dict())
    head.init_weights()
    for key, value in head.attention.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert not head.intra_attention.out_proj.weight.any()


@every_attention
@every_stage
def test_trained_attention_changes_the_output_and_images_stay_apart(name, after, layers):
    head = randomise(build(attention=ATTENTIONS[name], attention_after=after))
    context = make_context([4, 3], head.num_sources)
    x = torch.randn(len(context.all_rois), 4, 3, 3)
    cls_score, bbox_pred = head(x, context)
    assert cls_score.shape == (7, 6) and bbox_pred.shape == (7, 20)
    # Another image changes: targets 4..6 and, if there are sources, its part of them.
    changed = x.clone()
    changed[context.all_rois[:, 0] == 1] += 1
    again = head(changed, context)[0]
    torch.testing.assert_close(again[:4], cls_score[:4])
    # A region of the same image changes (of source-target attention: a source).
    changed = x.clone()
    changed[7 if head.num_sources else 0] *= -3  # not a shift: layer norm takes no notice of one
    again = head(changed, context)[0]
    assert (again[1:4] - cls_score[1:4]).abs().max() > 1e-6
    torch.testing.assert_close(again[4:7], cls_score[4:7])


@every_attention
@every_stage
@pytest.mark.parametrize('counts', [[4, 3], [0, 0]], ids=str)
def test_gradients_reach_every_parameter(name, after, layers, counts):
    head = randomise(
        build(
            attention=ATTENTIONS[name],
            attention_after=after,
            intra_attention=dict(type='IntraRegionAttention', num_heads=2),
        )
    ).train()
    context = make_context(counts, head.num_sources)
    outputs = head(torch.randn(len(context.all_rois), 4, 3, 3), context)
    sum(out.square().sum() for out in outputs).backward()
    for key, p in head.named_parameters():
        assert p.grad is not None, key
        if sum(counts):
            assert p.grad.abs().sum() > 0, key


@every_stage
def test_attention_weights_name_the_layers(after, layers):
    head = randomise(build(attention=ATTENTIONS['STA'], attention_after=after))
    context = make_context([4, 1], head.num_sources)
    weights = head.attention_weights(torch.randn(len(context.all_rois), 4, 3, 3), context)
    assert list(weights) == layers
    assert [w.shape for w in weights[layers[-1]]] == [(1, 4, 3), (1, 1, 1)]
    for w in weights[layers[-1]]:
        torch.testing.assert_close(w.sum(-1), torch.ones_like(w.sum(-1)))


def test_both_layers_have_weights_of_their_own():
    head = randomise(build(attention=ATTENTIONS['SA'], attention_after='both'))
    assert head.attention['fc1'].q_proj is not head.attention['fc2'].q_proj


def test_a_registered_subclass_may_be_used():
    class Mine(RegionSelfAttention):
        pass

    head = build(attention=dict(type=Mine))
    assert type(head.attention['fc2']) is Mine and head.attention['fc2'].embed_dims == 16


@pytest.mark.parametrize(
    'kwargs,error,match',
    [
        (
            dict(attention=dict(type='RegionAttentoin')),
            UsageError,
            'RegionAttentoin.*RegionSelfAttention, RegionSourceTargetAttention or RegionLambda',
        ),
        (dict(attention=dict(type='FPN')), UsageError, 'unknown attention type'),
        (dict(attention=dict(type='IntraRegionAttention')), UsageError, 'RegionLambda'),
        (dict(attention='RegionLambda'), TypeError, r'dict\(type='),
        (dict(attention=dict(num_heads=2)), TypeError, r'dict\(type='),
        (dict(intra_attention=dict(type='Intra')), UsageError, 'use IntraRegionAttention'),
        (
            dict(attention=ATTENTIONS['SA'], attention_after='fc3'),
            ValueError,
            "fc1, fc2, both, last.*'fc3'",
        ),
        (
            dict(attention=ATTENTIONS['SA'], num_shared_fcs=1, attention_after='fc2'),
            ValueError,
            'num_shared_fcs=1',
        ),
        (
            dict(attention=ATTENTIONS['SA'], num_shared_fcs=0, num_cls_convs=1),
            ValueError,
            "'last' needs 1 shared .*num_shared_fcs=0",
        ),
        (dict(num_fsc=2), UsageError, 'no option num_fsc'),
        (dict(attention=dict(type='RegionSelfAttention', num_heads=5)), ValueError, 'divisible'),
        (dict(attention=dict(type='RegionSelfAttention', temperature=0)), ValueError, 'positive'),
    ],
)
def test_bad_options_are_named(kwargs, error, match):
    with pytest.raises(error, match=match):
        RegionAttentionBBoxHead(**(BASE | kwargs))


def test_used_alone_it_says_where_it_belongs():
    with pytest.raises(ValueError, match='inside RegionAttentionRoIHead'):
        build(attention=ATTENTIONS['SA'])(torch.randn(2, 4, 3, 3))


def test_another_width_is_named():
    head = build(attention=ATTENTIONS['SA'] | dict(embed_dims=8))
    with pytest.raises(ValueError, match='embed_dims=8.*fc_out_channels'):
        head(torch.randn(4, 4, 3, 3), make_context([4]))


@pytest.mark.parametrize('given', ['norm_cfg', 'conv_out_channels'])
def test_convolutions_of_the_base_are_kept(given):
    """What is left of a Shared4Conv1FCBBoxHead whose type was replaced; the attention is last."""
    cfg = dict(conv_out_channels=8, norm_cfg=dict(type='GN', num_groups=2))
    cfg = BASE | {given: cfg[given]}
    plain = MODELS.build(dict(type='Shared4Conv1FCBBoxHead', **cfg)).eval()
    head = RegionAttentionBBoxHead(attention=ATTENTIONS['SA'], **cfg).eval()
    missing, unexpected = head.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected and all(key.startswith('attention.fc1.') for key in missing)
    x = torch.randn(5, 4, 3, 3)
    for got, expected in zip(head(x, make_context([3, 2])), plain(x)):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)


def test_something_else_than_a_context_is_refused():
    """As by DoubleHeadRoIHead, which gives its head two maps of features."""
    with pytest.raises(UsageError, match='inside RegionAttentionRoIHead'):
        build()(torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3))
