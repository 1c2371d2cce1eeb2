"""Every config parses, holds what it says, and builds its model."""

import copy
import functools
import re
from pathlib import Path

import pytest
import torch
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.registry import DATASETS, METRICS, MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.registry import DefaultScope

import mmclarity.detection  # noqa: F401  (registers the heads)
from mmclarity.detection.roi_heads import (
    BeliefBBoxHead,
    CascadeRegionAttentionRoIHead,
    RegionAttentionBBoxHead,
    RegionAttentionRoIHead,
)
from mmclarity.engine.config import load_config
from mmclarity.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / 'configs').glob('*.py'))
EXPERIMENTS = {
    'frcnn': None,
    'sa_frcnn_t32': ('RegionSelfAttention', 32.0),
    'sa_frcnn_t032': ('RegionSelfAttention', 0.32),
    'sta_frcnn_t32': ('RegionSourceTargetAttention', 32.0),
    'sta_frcnn_t032': ('RegionSourceTargetAttention', 0.32),
    'lambda_frcnn': ('RegionLambda', None),
}
DETECTION = [
    f'{name}_{data}' for name in EXPERIMENTS for data in ('bdd100k', 'bdd100k_small', 'murky')
]
TWO_LOOKS = {
    'context_frcnn_bdd100k': 10,
    'context_frcnn_bdd100k_fine': 10,
    'context_frcnn_murky': 10,
    'context_frcnn_aquarium': 7,
    'cached_context_frcnn_bdd100k_fine': 10,
    'cached_context_frcnn_aquarium': 7,
}


@functools.cache
def _parsed(path):
    return Config.fromfile(path)


def load(name):
    return copy.deepcopy(_parsed(ROOT / 'configs' / f'{name}.py'))


def strings(node):
    """All strings in a config, keys aside."""
    if isinstance(node, dict):
        for value in node.values():
            yield from strings(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from strings(value)
    elif isinstance(node, str):
        yield node


@pytest.mark.parametrize('path', CONFIGS, ids=lambda p: p.stem)
def test_parses(path):
    assert load(path.stem).model.type


@pytest.mark.parametrize('name', DETECTION)
def test_detection_configs_do_not_touch_mmagic(name):
    """Naming it once would import all of it, for seconds."""
    cfg = load(name)
    assert not [s for s in strings(cfg.to_dict()) if 'mmagic' in s]
    assert 'mmclarity.detection' in cfg.custom_imports.imports
    assert cfg.default_scope == 'mmdet'


@pytest.mark.parametrize('name', DETECTION)
def test_builds_the_model_it_is_named_after(name):
    cfg = load(name)
    if 'pretrained' in cfg.model.backbone:
        cfg.model.backbone.pretrained = False
    cfg.model.backbone.init_cfg = None
    with (
        DefaultScope.overwrite_default_scope('mmdet'),
        torch.device('meta' if name.endswith('bdd100k') else 'cpu'),
    ):
        roi_head = MODELS.build(cfg.model).roi_head
    assert roi_head.bbox_head.num_classes == 10
    expected = EXPERIMENTS[re.sub(r'_(bdd100k|bdd100k_small|murky)$', '', name)]
    if expected is None:
        assert type(roi_head) is StandardRoIHead
        return
    assert type(roi_head) is RegionAttentionRoIHead
    assert type(roi_head.bbox_head) is RegionAttentionBBoxHead
    assert list(roi_head.bbox_head.attention) == ['fc2']
    attention = roi_head.bbox_head.attention['fc2']
    assert type(attention).__name__ == expected[0]
    assert attention.embed_dims == cfg.model.roi_head.bbox_head.fc_out_channels
    if expected[1] is not None:
        assert attention.temperature == expected[1]


@pytest.mark.parametrize(('name', 'classes'), TWO_LOOKS.items())
def test_two_looks(name, classes):
    """The second look is asked for smaller moves of boxes that are closer already."""
    model = load(name).model
    model.backbone.init_cfg = None
    if 'pretrained' in model.backbone:
        model.backbone.pretrained = False
    with DefaultScope.overwrite_default_scope('mmdet'), torch.device('meta'):
        roi_head = MODELS.build(model).roi_head
    assert type(roi_head) is CascadeRegionAttentionRoIHead and roi_head.num_stages == 2
    first, second = roi_head.bbox_head
    assert (type(first), type(second)) == (RegionAttentionBBoxHead, BeliefBBoxHead)
    assert first.num_classes == second.num_classes == classes
    assert first.reg_class_agnostic and second.reg_class_agnostic
    assert (first.bbox_coder.stds, second.bbox_coder.stds) == (
        [0.1, 0.1, 0.2, 0.2],
        [0.05, 0.05, 0.1, 0.1],
    )
    assert [part.pos_iou_thr for part in roi_head.bbox_assigner] == [0.5, 0.6]
    assert not first.attention and second.attention['fc2'].num_heads == 4


@pytest.mark.parametrize(
    ('base', 'why'),
    [
        ('cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py', 'has one a stage already'),
        ('retinanet/retinanet_r50_fpn_1x_coco.py', 'has none'),
    ],
)
def test_a_second_look_on_a_base_that_cannot_have_it(base, why, tmp_path):
    config = tmp_path / 'own.py'
    config.write_text(
        f"_base_ = ['mmdet::{base}', '{ROOT}/configs/_base_/heads.py']\n"
        'from mmclarity.detection.second_look import with_second_look\n'
        'model = with_second_look(_base_.model, _base_.heads)\n'
    )
    with pytest.raises(UsageError, match=f'one box head .*{why}'):
        load_config(str(config))


@pytest.mark.parametrize('name', ['', 'cached_'])
def test_two_looks_at_boxes(name):
    """Nothing is looked at but the boxes: no attention, fit, agreement, soft suppression."""
    cfg = load(f'{name}two_looks_frcnn_bdd100k_fine')
    cfg.model.backbone.pretrained = False
    with DefaultScope.overwrite_default_scope('mmdet'), torch.device('meta'):
        roi_head = MODELS.build(cfg.model).roi_head
    first, second = roi_head.bbox_head
    assert not first.attention and not second.attention
    assert first.box_fit is None and second.box_fit.power == 1
    assert first.consensus is None and second.consensus == dict(temperature=0.025)
    assert [part.pos_iou_thr for part in roi_head.bbox_assigner] == [0.5, 0.6]
    assert second.bbox_coder.stds == [0.05, 0.05, 0.1, 0.1]
    assert roi_head.test_cfg.nms.type == 'soft_nms' and roi_head.test_cfg.max_per_img == 200
    plain = load('frcnn_bdd100k_fine').model  # the trunk, and what its cache holds
    for part in ('backbone', 'neck', 'rpn_head'):
        own, theirs = (dict(model[part], pretrained=None) for model in (cfg.model, plain))
        assert own == theirs
    own = cfg.model.test_cfg.rpn.to_dict()
    if not name:  # by itself it takes fewer proposals; of a cache all that the plain one gave
        assert own.pop('max_per_img') == 250 < plain.test_cfg.rpn.max_per_img
    assert {**plain.test_cfg.rpn.to_dict(), **own} == plain.test_cfg.rpn.to_dict()


def test_two_looks_on_the_embedded_scenes_lack_attention_alone():
    alone, context = (load(f'{name}_frcnn_murky') for name in ('two_looks', 'context'))
    second = alone.model.roi_head.bbox_head[1]
    assert second.pop('type') == 'RegionAttentionBBoxHead' and second.pop('attention') is None
    theirs = context.model.roi_head.bbox_head[1]
    assert theirs.pop('type') == 'BeliefBBoxHead' and theirs.pop('attention')
    assert {**theirs, **second} == theirs
    alone.model.roi_head.bbox_head[1] = context.model.roi_head.bbox_head[1] = None
    assert alone.model.to_dict() == context.model.to_dict()


@pytest.mark.parametrize('data', ['bdd100k', 'murky'])
def test_a_step_of_two_looks_on_tiny_images(data):
    """Losses of both looks, and gradients for every weight that is to learn."""
    model = load(f'context_frcnn_{data}').model
    model.backbone.init_cfg = None
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(model)
        inputs = demo_mm_inputs(2, [[3, 64, 96], [3, 64, 96]], num_classes=10, num_items=[2, 3])
        model.train()
        losses = model(**model.data_preprocessor(inputs, training=True), mode='loss')
        total, _ = model.parse_losses(losses)
        total.backward()
    assert {'s0.loss_cls', 's0.loss_bbox', 's1.loss_cls', 's1.loss_bbox'} <= set(losses)
    assert torch.isfinite(total)
    for name, weight in model.roi_head.named_parameters():
        assert weight.grad is not None and torch.isfinite(weight.grad).all(), name


@pytest.mark.parametrize('head', ['frcnn', 'context_frcnn'])
def test_a_cache_is_trained_on_alike_whatever_its_images_are(head):
    """But for the number of classes, and the images that a test sees, these are one config."""
    road, water = load(f'cached_{head}_bdd100k_fine'), load(f'cached_{head}_aquarium')
    whole = load(f'{head}_aquarium')
    elsewhere = load_config(f'{head}_aquarium.py', dict(data_root='sea/'))
    for loader in (elsewhere.train_dataloader.dataset, elsewhere.test_dataloader):
        assert loader.dataset.data_root == 'sea/'
    assert water.test_dataloader == whole.test_dataloader
    for cfg in (road, water):
        heads = cfg.model.roi_head.bbox_head
        for look in heads if isinstance(heads, list) else [heads]:
            assert look.pop('num_classes') == (10 if cfg is road else 7)
        for part in ('test_dataloader', 'test_pipeline', 'aquarium', 'looks'):
            cfg.pop(part, None)
    assert road.to_dict() == water.to_dict()


@pytest.mark.parametrize('name', [*DETECTION, *TWO_LOOKS])
def test_data_and_metrics_are_registered(name):
    cfg = load(name)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert DATASETS.get(loader.dataset.type) is not None
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        assert METRICS.get(evaluator.type) is not None


def test_a_head_is_attached_by_training_the_box_head_alone():
    cfg, base = load('attach_head_bdd100k_small'), load('lambda_frcnn_bdd100k_small')
    assert cfg.model == base.model and cfg.train_dataloader == base.train_dataloader
    assert cfg.custom_hooks[:2] == base.custom_hooks
    assert cfg.custom_hooks[2] == dict(type='TrainOnlyHook', parts=['roi_head.bbox_head'])
    assert cfg.train_cfg.max_epochs == cfg.param_scheduler[1].T_max == 4
    assert cfg.find_unused_parameters


def test_the_big_ones_follow_the_public_bdd100k_recipe():
    """Batch 32 as 8x4, SGD 0.04, 12 epochs with steps at 8 and 11, 500 iterations of warm-up."""
    cfg = load('lambda_frcnn_bdd100k')
    assert cfg.train_dataloader.batch_size == 4 and cfg.auto_scale_lr.base_batch_size == 32
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr) == ('SGD', 0.04)
    warm_up, steps = cfg.param_scheduler
    assert warm_up.type == 'LinearLR' and warm_up.end == 500 and not warm_up.by_epoch
    assert steps.milestones == [8, 11] and cfg.train_cfg.max_epochs == 12
    scales = [t.scale for t in cfg.train_pipeline if t.type == 'Resize']
    assert scales == [(1280, 720)]


def test_no_head_stands_in_two_files():
    written = [
        path for path in (ROOT / 'configs').rglob('*.py') if 'RegionAttention' in path.read_text()
    ]
    assert [path.name for path in written] == ['heads.py']


@pytest.mark.parametrize('data', ['bdd100k', 'bdd100k_small', 'murky'])
def test_the_six_differ_in_the_head_only(data):
    """So that a difference in accuracy is the head's; at t = 0.32 it learns at a rate of its own.

    Queries and keys start smaller by g = (t / sqrt(d))^(1/2) each; AdamW needs a rate smaller by
    g, SGD by its square, for the same course as at t = sqrt(d).
    """
    ratio = 0.32 / dict(bdd100k=1024, bdd100k_small=512, murky=256)[data] ** 0.5
    plain = load(f'frcnn_{data}').to_dict()
    for name in EXPERIMENTS:
        other = load(f'{name}_{data}').to_dict()
        other.pop('heads', None)  # the choice of heads, which nothing reads
        head = other['model']['roi_head']
        head['type'] = plain['model']['roi_head']['type']
        head['bbox_head']['type'] = plain['model']['roi_head']['bbox_head']['type']
        head['bbox_head'].pop('attention', None)
        rates = other['optim_wrapper'].pop('paramwise_cfg', None)
        assert (rates is not None) == ('t032' in name)
        if rates is not None:
            sgd = other['optim_wrapper']['optimizer']['type'] == 'SGD'
            assert set(rates['custom_keys']) == {'q_proj', 'k_proj'}
            for rate in rates['custom_keys'].values():
                assert rate['lr_mult'] == pytest.approx(ratio if sgd else ratio**0.5, rel=0.02)
        assert other == plain, name
