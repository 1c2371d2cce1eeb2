"""Making the caches of a config's data sets."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.utils import track_iter_progress
from torch import nn

from mmclarity.engine.config import (
    building,
    datasets,
    load_config,
    resolve_data_roots,
    scope_of,
)
from mmclarity.engine.hooks.precision import fastest_dtype, keep_float32
from mmclarity.errors import UsageError
from mmclarity.utils.checkpoints import check_fits, load_checkpoint_file
from mmclarity.utils.devices import check_device

from .dataset import packed
from .files import TRUNK_PARTS, CacheWriter, settings_fingerprint, trunk_fingerprint
from .hook import trunk_settings


def cache_splits(
    config: str,
    checkpoint: str,
    folder: Path,
    splits: Sequence[str],
    views: int = 1,
    seed: int = 0,
    dtype: str = 'auto',
    options: dict | None = None,
    device: str | None = None,
) -> Iterator[Path]:
    """Write ``folder/split`` for every split.

    Args:
        config: Config of the trained detector.
        checkpoint: Its file.
        folder: Made if it is not there.
        splits: Of 'train', 'val' and 'test'.
        views: Passes over the training set, 1 or more; of the others there is one.
        seed: Of the augmentations.
        dtype: 'auto', 'bfloat16', 'float16' or 'float32', see ``tools/cache_trunk.py``.
        options: Settings that replace those of the config.
        device: Of torch, that computes the trunk; None takes the one that trainings run on.

    Yields:
        The folders, as they are done.

    Raises:
        UsageError: If config, checkpoint or data are missing or do not fit, the device is not
            there, a folder exists already, or the disk is too full; no half of a cache is left
            then.
    """
    if views < 1:
        raise UsageError(f'--views must be 1 or more, got {views}')
    device = check_device(device or get_device())
    cfg = load_config(config, options)
    resolve_data_roots(cfg, tuple(f'{split}_dataloader' for split in splits))
    taken = [str(folder / split) for split in splits if (folder / split).exists()]
    if taken:
        raise UsageError(f'{", ".join(taken)} exist already; remove them or name another folder')
    model = build_trunk(cfg, checkpoint).to(device)
    for split in splits:
        mode = 'train' if split == 'train' else 'test'
        dataset = _dataset(cfg, config, split)
        manifest = dict(
            trunk=trunk_fingerprint(model),
            mode=mode,
            checkpoint=str(checkpoint),
            config=config,
            split=split,
            seed=seed,
            settings=settings_fingerprint(trunk_settings(cfg.model)),
            metainfo=dict(dataset.metainfo),
        )
        _write(model, dataset, folder / split, manifest, views if mode == 'train' else 1, dtype)
        yield folder / split


def _dataset(cfg: Config, config: str, split: str) -> Any:
    inner = list(datasets(cfg, f'{split}_dataloader'))
    if len(inner) != 1:
        raise UsageError(
            f'{config}: {split}_dataloader has {len(inner)} data sets; a cache is '
            'made of one (wrappers that choose from one are fine)'
        )
    with scope_of(cfg):
        return DATASETS.build(inner[0])


def build_trunk(cfg: Config, checkpoint: str) -> nn.Module:
    """The config's detector with its trained weights, as a FrozenTrunkRCNN in evaluation mode."""
    settings = copy.deepcopy(cfg.model)
    settings.type, settings.data_preprocessor.type = 'FrozenTrunkRCNN', 'FrozenTrunkPreprocessor'
    settings.backbone.init_cfg = None
    if 'pretrained' in settings.backbone:
        settings.backbone.pretrained = False  # the checkpoint has all weights
    with building(cfg), scope_of(cfg):
        model = MODELS.build(settings)
    loaded = load_checkpoint_file(checkpoint)
    weights = loaded.get('state_dict', loaded)
    for part in TRUNK_PARTS:  # the box head is another one, or not there at all
        if getattr(model, part, None) is not None:
            mine = {
                name.partition('.')[2]: value
                for name, value in weights.items()
                if name.startswith(f'{part}.')
            }
            check_fits(mine, getattr(model, part), checkpoint)
    model.load_state_dict(weights, strict=False)
    keep_float32(model)
    return model.to(memory_format=torch.channels_last).eval()


def _write(model: nn.Module, dataset, folder: Path, manifest: dict, views: int, dtype: str) -> None:
    """One cache; bfloat16 where a training of the small detectors would compute in it."""
    device = next(model.parameters()).device
    units = fastest_dtype(str(device)) == torch.bfloat16
    stored = ('bfloat16' if units else 'float16') if dtype == 'auto' else dtype
    training = manifest['mode'] == 'train'
    autocast = units and dtype != 'float32'
    with CacheWriter(folder, manifest, len(dataset) * views, stored) as writer:
        for number in track_iter_progress(range(len(dataset) * views)):
            _seed(manifest['seed'], number)
            data = _item(dataset, number % len(dataset))
            batch = model.data_preprocessor(
                dict(inputs=[data['inputs']], data_samples=[data['data_samples']]), training
            )
            with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
                maps, proposals = model.trunk(batch['inputs'], batch['data_samples'], training)
            writer.add(
                maps[0], proposals[0].bboxes, proposals[0].scores, packed(batch['data_samples'][0])
            )


def _item(dataset, index: int) -> dict:
    """A sample; its pipeline may refuse an image (nothing left in a crop) a few times."""
    for _ in range(100):
        data = dataset.prepare_data(index)
        if data is not None:
            return data
    raise UsageError(
        f'sample {index} of {dataset.ann_file}: the pipeline leaves nothing of it in '
        '100 attempts; let FilterAnnotations keep empty images (keep_empty=True)'
    )


def _seed(seed: int, number: int) -> None:
    """Augmentations hang on the seed and the sample's number, not on what came before."""
    value = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)
