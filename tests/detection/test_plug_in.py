"""The heads in published configs of mmdet: built, trained one step and run, or refused by name.

Each config is written as a user would, on an ``mmdet::`` base, and then made thin: what is tested
is the combination, not the accuracy.
"""

import sys

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.runner import load_checkpoint

import mmclarity.detection  # noqa: F401  (registers the heads)
from mmclarity.compat import MissingOperatorError
from mmclarity.detection.roi_heads import RegionAttentionBBoxHead
from mmclarity.engine.checks import check_config
from mmclarity.errors import UsageError
from mmclarity.utils.checkpoints import check_start, load_checkpoint_file

THIN = {'in_channels', 'out_channels', 'conv_out_channels', 'feat_channels', 'fc_out_channels'}
THIN |= {'proposal_feature_channel', 'feedforward_channels', 'roi_in_channels', 'fc_in_channels'}
IMAGE = 96  # pixels


def thin(node):
    """256 channels become 16, 1024 become 32, groups of 32 become 8, in place."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        if isinstance(value, dict | list | tuple) and not isinstance(value, str):
            thin(value)
        elif key in THIN and value in (256, 1024, 2048):
            node[key] = {256: 16, 1024: 32, 2048: 32}[value]
        elif key == 'num_groups':
            node[key] = 8


def model_of(text, tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(text)
    model = Config.fromfile(path).model
    thin(model)
    if model.backbone.type == 'ResNet':
        model.backbone = dict(type='ResNet', depth=18, base_channels=8, norm_cfg=dict(type='BN'))
        neck = model.neck[0] if isinstance(model.neck, list) else model.neck
        neck.in_channels = [8, 16, 32, 64]
    model.backbone['init_cfg'] = None
    model.train_cfg.rpn_proposal.update(nms_pre=200, max_per_img=60)
    model.test_cfg.rpn.update(nms_pre=200, max_per_img=40)
    model.test_cfg.rcnn.update(score_thr=0.0, max_per_img=10)
    torch.manual_seed(0)
    return MODELS.build(model)


def recipe(base, roi_head='RegionAttentionRoIHead', attention='RegionLambda', bbox='', more=''):
    return (
        f'_base_ = {base!r}\n'
        "custom_imports = dict(imports=['mmclarity.detection'], allow_failed_imports=False)\n"
        f'model = dict(roi_head=dict(type={roi_head!r}, bbox_head=dict('
        f"type='RegionAttentionBBoxHead', attention=dict(type={attention!r}){bbox})), {more})\n"
    )


def cascade(base, roi_head='CascadeRegionAttentionRoIHead', attention='RegionLambda', more=''):
    return (
        f'_base_ = {base!r}\n'
        "custom_imports = dict(imports=['mmclarity.detection'], allow_failed_imports=False)\n"
        'stages = _base_.model.roi_head.bbox_head\n'
        'for stage in stages:\n'
        f"    stage.update(type='RegionAttentionBBoxHead', attention=dict(type={attention!r}))\n"
        f'model = dict(roi_head=dict(type={roi_head!r}, bbox_head=stages), {more})\n'
    )


def check(model, masks=False, semantics=False):
    """One step changes the attention; then detections, and an explanation that agrees."""
    batch = demo_mm_inputs(
        2,
        [[3, IMAGE, IMAGE], [3, IMAGE, 64]],
        num_items=[3, 2],
        num_classes=10,
        with_mask=masks,
        with_semantic=semantics,
    )
    heads = [m for m in model.modules() if isinstance(m, RegionAttentionBBoxHead)]
    assert heads and all(head.attention for head in heads)
    layers = [next(iter(head.attention.values())) for head in heads]
    before = [layer.out_proj.weight.detach().clone() for layer in layers]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    losses = model.train()(**model.data_preprocessor(batch, True), mode='loss')
    total, _ = model.parse_losses(losses)
    assert total.isfinite()
    total.backward()
    optimizer.step()
    for layer, old in zip(layers, before):
        new = layer.out_proj.weight
        assert not torch.equal(new, old) and new.isfinite().all()
    with torch.no_grad():
        inputs = model.eval().data_preprocessor(batch, False)
        samples = model(**inputs, mode='predict')
        assert [len(s.pred_instances) for s in samples] == [10, 10]
        assert all(('masks' in s.pred_instances) == masks for s in samples)
        x = model.extract_feat(inputs['inputs'])
        rpn = model.rpn_head.predict(x, inputs['data_samples'], rescale=False)
        metas = [sample.metainfo for sample in inputs['data_samples']]
        explained = model.roi_head.explain(x, rpn, metas, rescale=True)
    for image, sample in zip(explained, samples):
        # With masks mmdet rescales the boxes after suppression: another rounding.
        torch.testing.assert_close(image.detections.bboxes, sample.pred_instances.bboxes)
        assert len(image.stages) == len(heads)


FRCNN = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
SINGLE = {
    'Mask R-CNN': ('mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py', True),
    'Libra R-CNN': ('mmdet::libra_rcnn/libra-faster-rcnn_r50_fpn_1x_coco.py', False),
    'GRoIE, every level pooled': ('mmdet::groie/mask-rcnn_r50_fpn_groie_1x_coco.py', True),
    'PAFPN': ('mmdet::pafpn/faster-rcnn_r50_pafpn_1x_coco.py', False),
    'Mask R-CNN, group norm': ('mmdet::gn/mask-rcnn_r50_fpn_gn-all_2x_coco.py', True),
}


@pytest.mark.parametrize('name', SINGLE)
def test_heads_of_one_stage(name, tmp_path):
    base, masks = SINGLE[name]
    check(model_of(recipe(base), tmp_path), masks)


@pytest.mark.parametrize('attention', ['RegionSourceTargetAttention', 'RegionSelfAttention'])
def test_dynamic_rcnn_keeps_its_schedule(tmp_path, attention):
    base = 'mmdet::dynamic_rcnn/dynamic-rcnn_r50_fpn_1x_coco.py'
    model = model_of(recipe(base, 'DynamicRegionAttentionRoIHead', attention), tmp_path)
    model.roi_head.train_cfg.dynamic_rcnn.update_iter_interval = 1
    check(model)
    assert model.roi_head.bbox_assigner.pos_iou_thr >= 0.4  # initial_iou, no longer 0.5
    assert model.roi_head.bbox_assigner.pos_iou_thr != 0.5
    assert model.roi_head.iou_history == []


@pytest.mark.parametrize('attention', ['RegionSourceTargetAttention', 'RegionLambda'])
@pytest.mark.parametrize('semantics', [False, True])
def test_hybrid_task_cascade(tmp_path, attention, semantics):
    base = 'htc_r50_fpn_1x_coco' if semantics else 'htc-without-semantic_r50_fpn_1x_coco'
    text = cascade(f'mmdet::htc/{base}.py', 'HybridTaskCascadeRegionAttentionRoIHead', attention)
    check(model_of(text, tmp_path), masks=True, semantics=semantics)


def test_cascade_rcnn_and_cascade_mask_rcnn(tmp_path):
    check(model_of(cascade('mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py'), tmp_path))
    base = 'mmdet::cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py'
    check(model_of(cascade(base), tmp_path), masks=True)


def test_carafe_needs_a_compiled_mmcv_and_says_so(tmp_path):
    """Its upsampling is an operator of its own; everything else of it is built."""
    model = model_of(recipe('mmdet::carafe/faster-rcnn_r50_fpn-carafe_1x_coco.py'), tmp_path)
    if getattr(sys.modules['mmcv._ext'], '__file__', None):  # compiled
        check(model)
        return
    with pytest.raises(MissingOperatorError, match='"carafe_forward" needs a compiled mmcv'):
        check(model)


def test_convnext_of_mmpretrain(tmp_path):
    pytest.importorskip('mmpretrain', reason="mmdet's own ConvNeXt configs take it")
    base = 'mmdet::convnext/mask-rcnn_convnext-t-p4-w7_fpn_amp-ms-crop-3x_coco.py'
    more = "backbone=dict(arch='atto'), neck=dict(in_channels=[40, 80, 160, 320])"
    text = recipe(base, more=more).replace("detection']", "detection', 'mmpretrain.models']")
    check(model_of(text, tmp_path), masks=True)


def test_swin(tmp_path):
    base = 'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py'
    more = (
        'backbone=dict(embed_dims=24, depths=[1, 1, 1, 1], num_heads=[1, 2, 3, 4]), '
        'neck=dict(in_channels=[24, 48, 96, 192])'
    )
    check(model_of(recipe(base, more=more), tmp_path), masks=True)


def test_convnext_of_timm(tmp_path):
    more = (
        "backbone=dict(_delete_=True, type='TimmBackbone', name='convnext_atto', "
        'out_indices=(0, 1, 2, 3)), neck=dict(in_channels=[40, 80, 160, 320])'
    )
    check(model_of(recipe(FRCNN, more=more), tmp_path))


def test_a_network_that_timm_has_not_is_named():
    with pytest.raises(UsageError, match="no network 'convnext_huge'; near: .*convnext_atto"):
        MODELS.build(dict(type='TimmBackbone', name='convnext_huge'))


def test_group_norm_and_convolutions_of_the_base_are_kept(tmp_path):
    """Weights of the plain detector all find a place, and the attention follows the one fc."""
    base = 'mmdet::gn/mask-rcnn_r50_fpn_gn-all_2x_coco.py'
    plain = model_of(f'_base_ = {base!r}\n', tmp_path)
    for text in (
        recipe(base),
        f"_base_ = {base!r}\nmodel = dict(roi_head=dict(type='RegionAttentionRoIHead', "
        "bbox_head=dict(attention=dict(type='RegionLambda'))))\n",
    ):
        head = model_of(text, tmp_path).roi_head.bbox_head
        assert (head.num_shared_convs, head.num_shared_fcs) == (4, 1)
        assert list(head.attention) == ['fc1']
        missing, unexpected = head.load_state_dict(
            plain.roi_head.bbox_head.state_dict(), strict=False
        )
        assert not unexpected and all(key.startswith('attention.') for key in missing)


def test_a_box_head_may_keep_the_type_of_its_base(tmp_path):
    text = (
        f"_base_ = {FRCNN!r}\nmodel = dict(roi_head=dict(type='RegionAttentionRoIHead', "
        "bbox_head=dict(attention=dict(type='RegionSelfAttention'))))\n"
    )
    assert list(model_of(text, tmp_path).roi_head.bbox_head.attention) == ['fc2']


@pytest.mark.parametrize(
    ('roi_head', 'words'),
    [
        ('DynamicRegionAttentionRoIHead', 'schedule of Dynamic R-CNN.*dynamic-rcnn_r50'),
        ('CascadeRegionAttentionRoIHead', 'no roi_head.num_stages.*for stage in stages'),
        ('HybridTaskCascadeRegionAttentionRoIHead', 'no roi_head.num_stages.*htc/htc_r50'),
    ],
)
def test_heads_with_stages_or_a_schedule_on_a_plain_base(roi_head, words, tmp_path):
    with pytest.raises(UsageError, match=f'(?s){words}') as caught:
        model_of(recipe(FRCNN, roi_head), tmp_path)
    assert "type='RegionAttentionRoIHead'" in str(caught.value)


@pytest.mark.parametrize('head', ['Shared2FCBBoxHead', 'RegionAttentionBBoxHead'])
def test_attention_under_mmdets_own_roi_head_is_told_before_training(head, tmp_path):
    cfg = Config.fromfile(_write(tmp_path / 'a.py', f'_base_ = {FRCNN!r}\n'))
    cfg.model.backbone.init_cfg = None
    cfg.model.roi_head.bbox_head.update(type=head, attention=dict(type='RegionLambda'))
    with pytest.raises(UsageError, match="StandardRoIHead does not tell.*'RegionAttentionRoIHead'"):
        check_config(cfg)


def test_a_misspelt_attention_is_told_before_weights_are_fetched(tmp_path):
    cfg = Config.fromfile(_write(tmp_path / 'a.py', f'_base_ = {FRCNN!r}\n'))
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='/nowhere.pth')
    head = dict(type='RegionAttentionBBoxHead', attention=dict(type='RegionLamda'))
    cfg.model.roi_head.update(type='RegionAttentionRoIHead', bbox_head=head)
    with pytest.raises(UsageError, match="attention.type: .*did you mean 'RegionLambda'"):
        check_config(cfg)


REFUSED = {
    'cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco': (
        'CascadeRoIHead.*CascadeRegionAttentionRoIHead.*for stage in stages'
    ),
    'dynamic_rcnn/dynamic-rcnn_r50_fpn_1x_coco': 'DynamicRoIHead.*DynamicRegionAttentionRoIHead',
    'htc/htc_r50_fpn_1x_coco': 'HybridTaskCascadeRoIHead.*HybridTaskCascadeRegionAttentionRoIHead',
    'pisa/faster-rcnn_r50_fpn_pisa_1x_coco': 'PISARoIHead.*would be lost.*StandardRoIHead',
    'sparse_rcnn/sparse-rcnn_r50_fpn_1x_coco': 'SparseRoIHead',
    'grid_rcnn/grid-rcnn_r50_fpn_gn-head_2x_coco': 'GridRoIHead',
    'point_rend/point-rend_r50-caffe_fpn_ms-1x_coco': 'PointRendRoIHead',
    'double_heads/dh-faster-rcnn_r50_fpn_1x_coco': 'DoubleHeadRoIHead',
    'ms_rcnn/ms-rcnn_r50-caffe_fpn_1x_coco': 'MaskScoringRoIHead',
    'scnet/scnet_r50_fpn_1x_coco': 'SCNetRoIHead',
    'tridentnet/tridentnet_r50-caffe_1x_coco': 'TridentRoIHead',
    'faster_rcnn/faster-rcnn_r50-caffe_c4-1x_coco': 'plain BBoxHead.*num_shared_fcs',
    'sabl/sabl-faster-rcnn_r50_fpn_1x_coco': 'SABLHead',
}


@pytest.mark.parametrize('name', REFUSED)
def test_other_bases_are_refused_by_name(name, tmp_path):
    """As the heads of one stage are put on; a list of heads is replaced by a loop."""
    base = f'mmdet::{name}.py'
    plain = Config.fromfile(_write(tmp_path / 'plain.py', f'_base_ = {base!r}\n'))
    listed = isinstance(plain.model.roi_head.bbox_head, list)
    text = cascade(base, 'RegionAttentionRoIHead') if listed else recipe(base)
    model = Config.fromfile(_write(tmp_path / 'config.py', text)).model
    model.backbone.init_cfg = None
    with pytest.raises(UsageError, match=f'(?s){REFUSED[name]}'):
        MODELS.build(model)


@pytest.mark.parametrize(
    'name', ['double_heads/dh-faster-rcnn_r50_fpn_1x_coco', 'sabl/sabl-faster-rcnn_r50_fpn_1x_coco']
)
def test_a_box_head_alone_put_on_another_is_refused_by_name(name, tmp_path):
    text = (
        f"_base_ = 'mmdet::{name}.py'\nmodel = dict(roi_head=dict(bbox_head=dict("
        "type='RegionAttentionBBoxHead', attention=dict(type='RegionLambda'))))\n"
    )
    model = Config.fromfile(_write(tmp_path / 'config.py', text)).model
    model.backbone.init_cfg = None
    match = 'DoubleConvFCBBoxHead' if 'double' in name else 'SABLHead'
    with pytest.raises(UsageError, match=f'it is one of {match}.*Shared2FCBBoxHead'):
        MODELS.build(model)


def test_the_stages_of_sabl_are_refused_by_name(tmp_path):
    text = cascade('mmdet::sabl/sabl-cascade-rcnn_r50_fpn_1x_coco.py')
    with pytest.raises(UsageError, match='it is one of SABLHead.*Shared2FCBBoxHead'):
        model_of(text, tmp_path)


def test_attention_asked_of_a_kind_of_head_that_cannot_have_it():
    from mmclarity.detection.roi_heads.bases import as_region_heads

    with pytest.raises(UsageError, match='DIIHead cannot have attention.*Shared4Conv1FCBBoxHead'):
        as_region_heads([dict(type='DIIHead', attention=dict(type='RegionLambda'))])


def test_an_option_that_nobody_has_is_named():
    with pytest.raises(UsageError, match='no option bbox_haed.*bbox_head'):
        MODELS.build(dict(type='RegionAttentionRoIHead', bbox_haed=dict()))


def _write(path, text):
    path.write_text(text)
    return path


def test_a_public_checkpoint_of_80_classes_starts_ten_of_our_own(tmp_path):
    """What is new, dropped and left is said, and what is taken over is what mmengine loads."""
    plain = model_of(f'_base_ = {FRCNN!r}\n', tmp_path)
    state = plain.state_dict() | {'mask_head.conv.weight': torch.zeros(3)}
    path = tmp_path / 'faster_rcnn_r50_fpn_1x_coco.pth'
    torch.save(dict(meta=dict(epoch=12), state_dict=state), path)
    model = model_of(recipe(FRCNN, bbox=', num_classes=10'), tmp_path)
    note = check_start(load_checkpoint_file(str(path)), model, path.name)
    lines = {line.split(':')[0].strip(): line for line in note.splitlines()[1:]}
    assert 'attention.fc2' in lines['start anew, missing in the checkpoint']
    for name in ('fc_cls.weight', 'fc_cls.bias', 'fc_reg.weight', 'fc_reg.bias'):
        assert f'roi_head.bbox_head.{name}' in lines['dropped, of another shape']
    assert lines['left, unknown to the model'].endswith(': mask_head.conv.weight')
    new = model.roi_head.bbox_head.fc_cls.weight.clone()
    load_checkpoint(model, str(path), map_location='cpu')
    got = model.state_dict()
    taken = [key for key in got if key in state and got[key].shape == state[key].shape]
    assert f'{len(taken)} weights are taken over' in note
    assert all(torch.equal(got[key], state[key]) for key in taken)
    assert torch.equal(model.roi_head.bbox_head.fc_cls.weight, new)
