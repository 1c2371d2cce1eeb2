"""Training a box head from a cache is training it from the images."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope

import mmclarity.detection  # noqa: F401
from mmclarity.detection.trunk_cache import (
    CacheWriter,
    TrunkCache,
    TrunkCacheDataset,
    TrunkCacheHook,
    files,
    trunk_fingerprint,
)
from mmclarity.detection.trunk_cache import files as cache_files
from mmclarity.detection.trunk_cache.detector import join_maps
from mmclarity.detection.trunk_cache.make import _item, _seed, build_trunk, cache_splits
from mmclarity.engine.config import load_config, scope_of
from mmclarity.errors import UsageError
from mmclarity.utils import files as utils_files
from mmclarity.utils import parts
from tools.dataset_generators import make_murky

CONFIG = 'configs/frcnn_murky.py'
COUNT = 5


def scope():
    """Name of the default scope, which another test may have set; mmengine gives back a copy."""
    current = DefaultScope.get_current_instance()
    return current and current.scope_name


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """Scenes, the checkpoint of an untrained detector, and its caches in float32."""
    folder, before = tmp_path_factory.mktemp('cached'), scope()
    make_murky.main([str(folder / 'scenes'), '--train', str(COUNT), '--val', '2'])
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(load_config(CONFIG).model)
    torch.save(dict(state_dict=model.state_dict()), folder / 'plain.pth')
    made = list(
        cache_splits(
            CONFIG,
            str(folder / 'plain.pth'),
            folder / 'cache',
            ['train', 'val'],
            views=2,
            dtype='float32',
            options=options(folder),
        )
    )
    assert [path.name for path in made] == ['train', 'val']
    assert scope() == before, 'what is built next is looked up there'
    return folder


def options(folder):
    return {
        'data_root': f'{folder}/scenes/',
        'train_dataloader.dataset.pipeline': [
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='RandomResize', scale=(320, 192), ratio_range=(0.8, 1.2), keep_ratio=True),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackDetInputs'),
        ],
    }


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


@pytest.fixture
def copy(place, tmp_path):
    shutil.copytree(place / 'cache' / 'val', tmp_path / 'val')
    return tmp_path / 'val'


def test_a_cache_cut_off_is_refused(copy):
    os.truncate(copy / 'maps.bin', (copy / 'maps.bin').stat().st_size - 1)
    with pytest.raises(UsageError, match='cut off.*make it anew'):
        TrunkCache(copy)


def test_a_cache_that_is_cut_off_while_it_is_read_is_named(copy):
    cache = TrunkCache(copy)
    os.truncate(copy / 'maps.bin', cache.entries[-1]['offset'] + 5)
    cache.read(0)
    with pytest.raises(UsageError, match='maps.bin has become shorter'):
        cache.read(len(cache) - 1)


@pytest.mark.parametrize('dtype', ['bfloat16', 'float32'])
@pytest.mark.parametrize('memory', [1, 1 << 60])
def test_what_was_written_is_read_whatever_memory_holds(dtype, memory, tmp_path, monkeypatch):
    """Three numbers of two bytes leave the boxes behind them at an odd place; one has no boxes."""
    monkeypatch.setattr(cache_files, 'memory_of_machine', lambda: memory)
    kind = getattr(torch, dtype)
    torch.manual_seed(0)
    samples = [
        (
            [torch.rand(3, 1, 1).to(kind), torch.rand(1, 5, 2).to(kind)],
            torch.rand(n, 4),
            torch.rand(n),
        )
        for n in (0, 1, 3)
    ]
    manifest = dict(trunk='', settings='')
    with CacheWriter(tmp_path / 'c', manifest, count=3, dtype=dtype) as writer:
        for number, (maps, boxes, scores) in enumerate(samples):
            writer.add(maps, boxes, scores, dict(number=number))
    cache = TrunkCache(tmp_path / 'c')
    for number in (2, 0, 1, 2):
        maps, boxes, scores, sample = cache.read(number)
        wanted = samples[number]
        assert all(map(torch.equal, maps, wanted[0])) and maps[0].dtype == kind
        assert torch.equal(boxes, wanted[1]) and torch.equal(scores, wanted[2])
        assert sample == dict(number=number)


@pytest.mark.parametrize('name', ['maps.bin', 'index.jsonl', 'manifest.json'])
def test_a_missing_file_is_named(copy, name):
    (copy / name).unlink()
    with pytest.raises(UsageError, match=f'no {name}.*cache_trunk'):
        TrunkCache(copy)


def test_damaged_text_is_named(copy):
    text = (copy / 'index.jsonl').read_text()
    (copy / 'index.jsonl').write_text(text[:-20])
    with pytest.raises(UsageError, match='index.jsonl is damaged or cut off'):
        TrunkCache(copy)
    (copy / 'manifest.json').write_text(json.dumps(dict(format=99)))
    with pytest.raises(UsageError, match='format 99'):
        TrunkCache(copy)


def add(writer):
    writer.add([torch.zeros(2, 3, 4)], torch.zeros(5, 4), torch.zeros(5), dict(meta={}))


def test_too_little_space_is_told_before_anything_is_written(tmp_path, monkeypatch):
    usage = namedtuple('usage', 'total used free')
    monkeypatch.setattr(files.shutil, 'disk_usage', lambda path: usage(2, 1, 1 << 20))
    with pytest.raises(UsageError, match='would take about .* GB, but only 0.0 GB'):  # noqa: SIM117
        with CacheWriter(tmp_path / 'cache', {}, 10**6) as writer:
            add(writer)
    assert not any(tmp_path.iterdir())


def test_a_disk_that_fills_up_leaves_nothing(tmp_path):
    class Full:
        def writelines(self, parts):
            raise OSError(errno.ENOSPC, 'No space left on device')

        def close(self):
            pass

    with pytest.raises(UsageError, match='the disk is full'):  # noqa: SIM117
        with CacheWriter(tmp_path / 'cache', {}, 2) as writer:
            add(writer)
            writer._maps.close()
            writer._maps = Full()
            add(writer)
    assert not any(tmp_path.iterdir())


def test_two_writers_of_one_cache_do_not_meet(tmp_path):
    with pytest.raises(FileExistsError, match='made by somebody else meanwhile'):  # noqa: SIM117
        with CacheWriter(tmp_path / 'cache', {}, 2) as first:
            add(first)
            with CacheWriter(tmp_path / 'cache', dict(trunk='second'), 1) as second:
                add(second)
                assert first.part != second.part
            add(first)
    assert [path.name for path in tmp_path.iterdir()] == ['cache']
    assert TrunkCache(tmp_path / 'cache').manifest['trunk'] == 'second'


def test_what_a_killed_writer_left_goes_and_a_living_one_keeps_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, '_swept', set())
    ended = subprocess.Popen([sys.executable, '-c', ''])
    ended.wait()
    left, alive = (
        tmp_path / f'.cache.{utils_files.host()}-{pid}-01234567.part'
        for pid in (ended.pid, os.getppid())
    )
    for folder in (left, alive):
        folder.mkdir()
        (folder / 'maps.bin').write_bytes(b'x')
    with CacheWriter(tmp_path / 'cache', {}, 1) as writer:
        add(writer)
    assert {path.name for path in tmp_path.iterdir()} == {'cache', alive.name}


def test_a_writer_that_stops_early_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):  # noqa: SIM117
        with CacheWriter(tmp_path / 'cache', {}, 2) as writer:
            add(writer)
            raise KeyboardInterrupt
    with pytest.raises(ValueError, match='2 samples were announced, 1 came'):  # noqa: SIM117
        with CacheWriter(tmp_path / 'cache', {}, 2) as writer:
            add(writer)
    assert not any(tmp_path.iterdir())


def test_what_is_written_is_read(tmp_path):
    maps = [torch.randn(2, 6, 8).bfloat16(), torch.randn(2, 3, 4).bfloat16()]
    boxes, scores = torch.rand(5, 4) * 600, torch.rand(5)
    with CacheWriter(tmp_path / 'cache', dict(trunk='x'), 2) as writer:
        writer.add(maps, boxes, scores, dict(meta=dict(a=np.float64(0.1), b=(1, 2))))
        writer.add(maps[::-1], boxes[:0], scores[:0], dict(meta={}))
    cache = TrunkCache(tmp_path / 'cache')
    assert cache.manifest['trunk'] == 'x' and len(cache) == 2
    got, got_boxes, got_scores, sample = cache.read(0)
    assert all(torch.equal(a, b) for a, b in zip(got, maps, strict=True))
    assert torch.equal(got_boxes, boxes) and torch.equal(got_scores, scores)
    assert sample == dict(meta=dict(a=0.1, b=[1, 2]))
    assert cache.read(1)[1].shape == (0, 4)
    with pytest.raises(UsageError, match='exists already'):
        CacheWriter(tmp_path / 'cache', {}, 2)
    with pytest.raises(UsageError, match='dtype'):
        CacheWriter(tmp_path / 'other', {}, 2, 'int8')


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
