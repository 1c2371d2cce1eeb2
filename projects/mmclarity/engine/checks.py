"""What can be known of a config before anything is built: misspelt keys, and values out of range.

mmengine takes a misspelt key as a new one that nothing reads, or finds it after the data has been
read, or after the first epoch.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from mmengine import registry
from mmengine.config import Config
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from torch.utils.data import DataLoader

from mmclarity.errors import CheckpointError, UsageError
from mmclarity.utils import checkpoints

from .config import scope_of
from .names import (
    check_keys,
    check_whole,
    close_to,
    hint,
    items,
    nested,
    parameters,
    refuse_type,
    registered,
)
from .optimizer_checks import check_optimizers

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
_LOADER_KEYS = (
    'dataset',
    'num_batch_per_epoch',
    'disable_subprocess_warning',
    'persistent_workers',
    'type',
)
# The last one is put there by mmengine where a base is named with its scope, as mmdet::...
_LOOP_KEYS = ('type', 'by_epoch', '_scope_')
_SHAPES: dict[str, tuple[type, ...]] = {
    'model': (dict,),
    'default_hooks': (dict,),
    'custom_hooks': (list,),
    'optim_wrapper': (dict,),
    'param_scheduler': (list, dict),
}
_HOOK_NAMES = (
    'runtime_info',
    'timer',
    'sampler_seed',
    'logger',
    'param_scheduler',
    'checkpoint',
    'visualization',
)


def check_config(cfg: Config, training: bool = True) -> None:
    """Refuse what could not work, before data is read.

    Args:
        cfg: with everything that the command line adds.
        training: also what only training reads.

    Raises:
        UsageError: naming the key, what it must be, and what it may have been meant to be.
    """
    try:
        _check(cfg, training)
    except UsageError as error:
        name = str(cfg.filename or 'config')
        raise type(error)(str(error) if name in str(error) else f'{name}: {error}') from error


def _check(cfg: Config, training: bool) -> None:
    for key, kinds in _SHAPES.items():
        if cfg.get(key) is not None and not isinstance(cfg.get(key), kinds):
            wanted = ' or '.join(kind.__name__ for kind in kinds)
            raise UsageError(f'{key} must be a {wanted}, got {cfg.get(key)!r}')
    for key in LOADERS if training else ('test_dataloader',):
        _check_loaders(cfg, key)
    with scope_of(cfg):
        for place, value, kind in _typed_parts(cfg, training):
            check_keys(place, value, kind)
        _check_attention(cfg.get('model') or {})
    if training:
        _check_loop(cfg)
        check_optimizers(cfg)
        _check_saving(cfg)
    for which in ('val', 'test') if training else ('test',):
        _check_groups(cfg, which)
    _check_starts(cfg.get('model') or {}, 'model', remote=training)


def _typed_parts(cfg: Config, training: bool) -> Iterator[tuple[str, dict, Any]]:
    """(place, config, registry) of what is built by its ``type`` alone."""
    for part in ('val', 'test') if training else ('test',):
        for place, value in items(f'{part}_evaluator', cfg.get(f'{part}_evaluator')):
            if registered(value.get('type'), registry.EVALUATOR) is None:
                yield place, value, registry.METRICS
                continue
            yield place, value, registry.EVALUATOR  # of several data sets
            for inner, metric in items(f'{place}.metrics', value.get('metrics')):
                yield inner, metric, registry.METRICS
    for key in LOADERS if training else ('test_dataloader',):
        for place, loader in items(key, cfg.get(key)):
            for inner, value in _datasets(f'{place}.dataset', loader.get('dataset')):
                yield inner, value, registry.DATASETS
                for step, transform in items(f'{inner}.pipeline', value.get('pipeline')):
                    yield step, transform, registry.TRANSFORMS
            for name in ('sampler', 'batch_sampler'):
                for inner, value in items(f'{place}.{name}', loader.get(name)):
                    yield inner, value, registry.DATA_SAMPLERS
    model = cfg.get('model')
    if isinstance(model, dict):
        for place, value in nested('model', model):
            for kind in (registry.MODELS, registry.TASK_UTILS):
                if registered(value.get('type'), kind) is not None or place == 'model':
                    yield place, value, kind
                    break
    for place, value in items('custom_hooks', cfg.get('custom_hooks')):
        yield place, value, registry.HOOKS
    hooks = cfg.get('default_hooks') or {}
    for name, value in hooks.items():
        if name not in _HOOK_NAMES and (near := close_to(name, _HOOK_NAMES)):
            raise UsageError(f'default_hooks has no {name!r}; did you mean {near!r}?')
        if isinstance(value, dict):
            yield f'default_hooks.{name}', value, registry.HOOKS
    if training:
        # One list, or one for each of several optimisers.
        for place, value in nested('param_scheduler', cfg.get('param_scheduler')):
            yield place, value, registry.PARAM_SCHEDULERS


def _check_attention(model: dict) -> None:
    """Box heads with attention among regions need the RoI head that tells the regions apart."""
    roi_head = (model.get('roi_head') if isinstance(model, dict) else None) or {}
    kind = registered(roi_head.get('type'), registry.MODELS)
    name = getattr(kind, '__name__', '')
    if kind is None or 'RegionAttention' in name or hasattr(kind, 'explain'):
        _check_attention_types(roi_head)
        return
    for place, head in items('model.roi_head.bbox_head', roi_head.get('bbox_head')):
        for key in ('attention', 'intra_attention'):
            if head.get(key):
                raise UsageError(
                    f'{place}.{key}: {name} does not tell its box heads which regions belong '
                    "together; set roi_head=dict(type='RegionAttentionRoIHead') (Cascade..., "
                    'Dynamic... or HybridTaskCascadeRegionAttentionRoIHead on such bases)'
                )


def _check_attention_types(roi_head: dict) -> None:
    """A misspelt attention, before weights are fetched for the backbone."""
    for place, head in items('model.roi_head.bbox_head', roi_head.get('bbox_head')):
        attention = head.get('attention')
        if not isinstance(attention, dict) or not isinstance(attention.get('type'), str):
            continue
        if registered(attention['type'], registry.MODELS) is None:
            refuse_type(f'{place}.attention', attention['type'], registry.MODELS)


def _datasets(place: str, dataset: Any) -> Iterator[tuple[str, dict]]:
    for where, value in items(place, dataset):
        yield where, value
        for key in ('dataset', 'datasets'):
            if key in value:
                yield from _datasets(f'{where}.{key}', value[key])


def _check_loaders(cfg: Config, key: str) -> None:
    known = {*inspect.signature(DataLoader.__init__).parameters, *_LOADER_KEYS} - {'self'}
    for place, loader in items(key, cfg.get(key)):
        for name in loader:
            if name not in known:
                raise UsageError(f'{place} has no {name!r}; {hint(name, known)}')
        for name, least in (('batch_size', 1), ('num_workers', 0)):
            if loader.get(name) is not None:
                check_whole(f'{place}.{name}', loader[name], least)


def _check_loop(cfg: Config) -> None:
    loop = cfg.get('train_cfg')
    if not loop:
        raise UsageError(
            'the config has no train_cfg, so it cannot be trained; e.g. '
            'train_cfg=dict(by_epoch=True, max_epochs=12, val_interval=1)'
        )
    if not isinstance(loop, dict):
        raise UsageError(f'train_cfg must be a dict, got {loop!r}')
    name = loop.get('type', None)
    if name is None:
        kind = EpochBasedTrainLoop if loop.get('by_epoch', True) else IterBasedTrainLoop
    else:
        kind = registry.LOOPS.get(name) if isinstance(name, str) else name
    if kind is not None:
        known, takes_more = parameters(kind)
        known -= {'self', 'runner', 'dataloader'}
        for key in loop:
            if key in known or key in _LOOP_KEYS or takes_more:
                continue
            raise UsageError(f'train_cfg has no {key!r}; {hint(key, known)}')
    for key in ('max_epochs', 'max_iters', 'val_interval', 'val_begin'):
        if key in loop:
            never = '; for a training without validation, set val_cfg, val_dataloader and '
            never += 'val_evaluator to None'
            try:
                check_whole(f'train_cfg.{key}', loop[key], 0 if key == 'val_begin' else 1)
            except UsageError as error:
                raise UsageError(f'{error}{never if key == "val_interval" else ""}') from None
    together = [cfg.get(f'val_{name}') is not None for name in ('cfg', 'dataloader', 'evaluator')]
    if any(together) and not all(together):
        raise UsageError(
            'val_cfg, val_dataloader and val_evaluator go together: give all three, or set all '
            'three to None'
        )


def _check_saving(cfg: Config) -> None:
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    best = hook.get('save_best')
    if best and not cfg.get('val_evaluator'):
        raise UsageError(
            f'default_hooks.checkpoint.save_best={best!r} needs a validation, and the config has '
            'none: give val_cfg, val_dataloader and val_evaluator'
        )
    if 'interval' in hook and hook['interval'] != -1:
        check_whole('default_hooks.checkpoint.interval', hook['interval'], 1)


def _check_groups(cfg: Config, which: str) -> None:
    """What a metric sorts images ``by`` has to come through the pipeline."""
    loaders = [loader for _, loader in items('', cfg.get(f'{which}_dataloader'))]
    passed: set[str] | None = None
    for loader in loaders:
        for _, dataset in _datasets('', loader.get('dataset')):
            steps = [step for _, step in items('', dataset.get('pipeline'))]
            keys = steps[-1].get('meta_keys') if steps else None
            if keys is not None:
                passed = set(keys) if passed is None else passed & set(keys)
    for place, metric in items(f'{which}_evaluator', cfg.get(f'{which}_evaluator')):
        groups = metric.get('by')
        if isinstance(groups, str):
            raise UsageError(f'{place}.by must be a list of names, got {groups!r}')
        if passed is None:
            continue
        for name in groups or ():
            if name not in passed:
                near = close_to(name, passed)
                meant = f' (did you mean {near!r}?)' if near else ''
                raise UsageError(
                    f"{place}.by names {name!r}{meant}, which the pipeline's last step does not "
                    f'pass on: its meta_keys are {", ".join(sorted(passed))}. Add it there if the '
                    'data set has it, or leave it out'
                )


def _check_starts(value: Any, place: str, remote: bool) -> None:
    """Weights that parts of the model start from are there, or can be fetched."""
    if isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check_starts(item, f'{place}[{index}]', remote)
    if not isinstance(value, dict):
        return
    path = value.get('checkpoint')
    if value.get('type') == 'Pretrained' and isinstance(path, str):
        try:
            if not checkpoints.is_local(path):
                if remote:
                    checkpoints.fetch(path)
            else:
                checkpoints.load_checkpoint_file(path)
        except CheckpointError as error:
            raise CheckpointError(f'{place}.checkpoint: {error}') from error
    for key, item in value.items():
        _check_starts(item, f'{place}.{key}', remote)
