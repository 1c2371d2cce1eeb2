"""Training a box head from a cache is training it from the images."""

import json
from collections import namedtuple

import pytest
import torch
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate

import mmclarity.detection  # noqa: F401
from mmclarity.detection.second_look import with_second_look
from mmclarity.detection.trunk_cache import (
    TrunkCacheDataset,
    TrunkCacheHook,
    trunk_fingerprint,
)
from mmclarity.detection.trunk_cache.detector import join_maps
from mmclarity.detection.trunk_cache.make import _item, _seed, build_trunk, cache_splits
from mmclarity.engine.config import load_config, scope_of
from mmclarity.errors import UsageError
from tests.detection.trunk_cache.scenes import CONFIG, COUNT, options


def head(folder, **bbox_head):
    """The plain detector of the checkpoint with another box head, as configs set it."""
    cfg = load_config(CONFIG, options(folder))
    cfg.merge_from_dict(
        dict(
            model=dict(
                roi_head=dict(
                    type='RegionAttentionRoIHead',
                    bbox_head=dict(type='RegionAttentionBBoxHead', **bbox_head),
                )
            )
        )
    )
    torch.manual_seed(1)
    return build_trunk(cfg, str(folder / 'plain.pth'))


def from_images(place, split):
    """The data set that a cache was made of."""
    cfg = load_config(CONFIG, options(place))
    with scope_of(cfg):
        return DATASETS.build(cfg[f'{split}_dataloader'].dataset)


def step(model, items):
    """Losses and the box head's gradients of one batch."""
    model.train()
    batch = model.data_preprocessor(pseudo_collate(items), True)
    torch.manual_seed(3)  # of the sampler
    losses = model(**batch, mode='loss')
    loss = sum(value for name, value in losses.items() if 'loss' in name)
    named = dict(model.roi_head.bbox_head.named_parameters())
    return losses, dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))


@pytest.mark.parametrize(
    'attention',
    [None, dict(type='RegionLambda'), dict(type='RegionSourceTargetAttention', num_sources=16)],
)
def test_a_step_from_the_cache_is_a_step_from_the_images(place, attention):
    model = head(place, attention=attention)
    cached = TrunkCacheDataset('train', f'{place}/cache')
    images = from_images(place, 'train')
    assert len(cached) == 2 * COUNT == 2 * len(images)
    chosen = [1, 3, COUNT + 2]  # the last is of the second view
    fresh = []
    for number in chosen:
        _seed(0, number)
        fresh.append(_item(images, number % COUNT))
    for a, b in zip(step(model, [cached[i] for i in chosen]), step(model, fresh), strict=True):
        assert a.keys() == b.keys()
        for name in a:
            torch.testing.assert_close(a[name], b[name], msg=name)


def test_two_looks_detect_in_images_as_in_the_cache(place):
    """A training from the cache ends in a test on images: configs/cached_context_frcnn_*.py."""
    cfg = load_config(CONFIG, options(place))
    heads = Config.fromfile('configs/_base_/heads.py').heads
    cfg.merge_from_dict(dict(model=with_second_look(cfg.model, heads, **heads.closer_boxes)))
    cfg.model.test_cfg.rcnn.update(score_thr=0.0)
    cfg.model.test_cfg.rcnn.nms.update(min_score=0.0)
    torch.manual_seed(1)
    model = build_trunk(cfg, str(place / 'plain.pth'))
    cached, images = TrunkCacheDataset('val', f'{place}/cache'), from_images(place, 'val')
    found = []
    for items in ([cached[0], cached[1]], [images[0], images[1]]):
        with torch.no_grad():
            found.append(model(**model.data_preprocessor(pseudo_collate(items)), mode='predict'))
    for a, b in zip(*found, strict=True):
        assert len(a.pred_instances) == len(b.pred_instances) > 0
        torch.testing.assert_close(a.pred_instances.bboxes, b.pred_instances.bboxes)
        torch.testing.assert_close(a.pred_instances.scores, b.pred_instances.scores)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_a_cache_of_a_gpu_is_that_of_the_cpu(place, tmp_path):
    torch.backends.cudnn.allow_tf32, before = False, torch.backends.cudnn.allow_tf32
    made = cache_splits(
        CONFIG,
        str(place / 'plain.pth'),
        tmp_path,
        ['val'],
        dtype='float32',
        options=options(place),
        device='cuda',
    )
    assert list(made) == [tmp_path / 'val']
    torch.backends.cudnn.allow_tf32 = before
    ours, theirs = (
        TrunkCacheDataset(str(path)) for path in (tmp_path / 'val', place / 'cache/val')
    )
    assert ours.manifest['trunk'] == theirs.manifest['trunk']
    for one, other in zip((ours[0], ours[1]), (theirs[0], theirs[1]), strict=True):
        for a, b in zip(one['inputs'], other['inputs'], strict=True):
            torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)


def test_images_can_be_batched_by_their_shape(place):
    """As AspectRatioBatchSampler of the BDD100K configs does, by the size that went in."""
    cached = TrunkCacheDataset('train', str(place / 'cache'))
    for index in (0, len(cached) - 1):
        info = cached.get_data_info(index)
        assert (info['height'], info['width']) == cached[index]['data_samples'].img_shape


def test_views_are_augmented_anew(place):
    cached = TrunkCacheDataset('train', f'{place}/cache')
    flips = [cached[i]['data_samples'].flip for i in range(len(cached))]
    assert flips[:COUNT] != flips[COUNT:]


def test_detections_from_the_cache_are_those_from_the_images(place):
    model = head(place).eval()
    cached = TrunkCacheDataset('val', f'{place}/cache')
    images = from_images(place, 'val')
    with torch.no_grad():
        found, expected = (
            model(**model.data_preprocessor(pseudo_collate([data[0], data[1]])), mode='predict')
            for data in (cached, images)
        )
    for a, b in zip(found, expected, strict=True):
        assert len(a.pred_instances) > 0
        torch.testing.assert_close(a.pred_instances.bboxes, b.pred_instances.bboxes)
        torch.testing.assert_close(a.pred_instances.scores, b.pred_instances.scores)
        kept = set(b.metainfo) - {'pad_shape', 'batch_input_shape'}
        assert kept <= set(a.metainfo)
        # Floats of a label come back as they were written.
        assert a.metainfo['instances'] == json.loads(json.dumps(b.metainfo['instances']))


@pytest.mark.parametrize(('dtype', 'tolerance'), [('float16', 1e-3), ('bfloat16', 8e-3)])
def test_half_precision_keeps_the_losses(place, tmp_path, dtype, tolerance):
    list(
        cache_splits(
            CONFIG,
            str(place / 'plain.pth'),
            tmp_path,
            ['train'],
            dtype=dtype,
            options=options(place),
            device='cpu',
        )
    )
    model = head(place)
    half, full = (
        TrunkCacheDataset(str(path)) for path in (tmp_path / 'train', place / 'cache' / 'train')
    )
    assert half[0]['inputs'][0].dtype == getattr(torch, dtype)
    with torch.autocast('cpu', torch.bfloat16, enabled=False):
        losses = [
            step(
                model,
                [
                    dict(item, inputs=[m.float() for m in item['inputs']])
                    for item in (data[0], data[1])
                ],
            )[0]
            for data in (half, full)
        ]
    if dtype == 'float16':  # bfloat16 units may have computed other proposals
        assert losses[0]['loss_cls'].item() == pytest.approx(
            losses[1]['loss_cls'].item(), rel=10 * tolerance
        )
    assert losses[0]['loss_cls'].isfinite()


def test_smaller_maps_are_continued_by_their_edge():
    small, large = torch.arange(6.0).view(1, 2, 3), torch.zeros(1, 3, 4)
    (joined,) = join_maps([[small, large]])
    assert joined.shape == (2, 1, 3, 4)
    assert joined[0, 0].tolist() == [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5]]


Loader = namedtuple('Loader', 'dataset')
Runner = namedtuple('Runner', 'model cfg train_dataloader val_dataloader')


def runner(place, model, train='train', val='val', changes=None):
    cfg = load_config(CONFIG, options(place))
    cfg.merge_from_dict(changes or {})
    return Runner(
        model, cfg, *(Loader(TrunkCacheDataset(name, f'{place}/cache')) for name in (train, val))
    )


def test_the_hook_knows_its_trunk(place):
    model, hook = head(place, attention=dict(type='RegionLambda')), TrunkCacheHook()
    hook.before_train(runner(place, model))
    hook.before_val(runner(place, model))
    for part in (model.rpn_head.rpn_cls.bias, model.backbone.bn1.running_mean):
        before = part.data.clone()
        part.data[0] += 1e-3
        with pytest.raises(UsageError, match='another trunk.*load_from'):
            hook.before_train(runner(place, model))
        part.data.copy_(before)
    with pytest.raises(UsageError, match='other settings'):
        hook.before_train(
            runner(
                place, model, changes=dict(model=dict(train_cfg=dict(rpn_proposal=dict(nms_pre=7))))
            )
        )
    with pytest.raises(UsageError, match='for testing, not for training'):
        hook.before_train(runner(place, model, train='val'))


def test_fingerprint_does_not_hang_on_the_memory_layout(place):
    model = head(place)
    before = trunk_fingerprint(model)
    assert trunk_fingerprint(model.to(memory_format=torch.contiguous_format)) == before


def test_fingerprint_takes_both_zeros_for_one():
    """Half precision leaves zeros with a sign, which an average of weights takes off."""
    model = torch.nn.Module()
    model.backbone = torch.nn.Linear(2, 2)
    torch.nn.init.zeros_(model.backbone.weight)
    before = trunk_fingerprint(model)
    with torch.no_grad():
        model.backbone.weight.neg_()
    assert torch.signbit(model.backbone.weight).all() and trunk_fingerprint(model) == before
    with torch.no_grad():
        model.backbone.weight[0, 0] = 1e-40
    assert trunk_fingerprint(model) != before


def test_options_that_cannot_be(place):
    with pytest.raises(UsageError, match='views'):
        list(cache_splits(CONFIG, 'x.pth', place / 'c', ['val'], 0, options=options(place)))
    with pytest.raises(UsageError, match='exist already'):
        list(
            cache_splits(
                CONFIG, str(place / 'plain.pth'), place / 'cache', ['val'], options=options(place)
            )
        )
    with pytest.raises(UsageError, match='checkpoint not found'):
        list(cache_splits(CONFIG, 'missing.pth', place / 'c', ['val'], options=options(place)))


def test_the_cached_config_is_the_plain_one_but_for_where_maps_come_from():
    plain, cached = (
        Config.fromfile(f'configs/{name}frcnn_bdd100k_fine.py') for name in ('', 'cached_')
    )
    for part in ('backbone', 'neck', 'rpn_head', 'train_cfg', 'test_cfg'):
        assert cached.model[part] == plain.model[part]
    assert cached.train_dataloader.dataset.dataset.type == 'TrunkCacheDataset'
    assert cached.test_dataloader.dataset.type == 'BDD100KDataset'
