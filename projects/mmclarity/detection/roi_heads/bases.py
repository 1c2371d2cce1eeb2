"""Which of mmdet's heads the attention can be put on, and what is said about the others."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping

from mmdet.registry import MODELS

from mmclarity.errors import UsageError

#: RoI heads of mmdet and what they become.
ROI_HEADS = {
    'StandardRoIHead': 'RegionAttentionRoIHead',
    'CascadeRoIHead': 'CascadeRegionAttentionRoIHead',
    'DynamicRoIHead': 'DynamicRegionAttentionRoIHead',
    'HybridTaskCascadeRoIHead': 'HybridTaskCascadeRegionAttentionRoIHead',
}
#: Box heads of mmdet that RegionAttentionBBoxHead can be, and their shared layers.
BBOX_HEADS = {
    'Shared2FCBBoxHead': dict(num_shared_fcs=2),
    'Shared4Conv1FCBBoxHead': dict(num_shared_convs=4, num_shared_fcs=1),
    'ConvFCBBoxHead': dict(),
}
CASCADE_RECIPE = """\
    _base_ = 'mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py'
    stages = _base_.model.roi_head.bbox_head
    for stage in stages:
        stage.update(type='RegionAttentionBBoxHead', attention=dict(type='RegionLambda'))
    model = dict(roi_head=dict(type='CascadeRegionAttentionRoIHead', bbox_head=stages))"""
_SUPPORTED = 'the attention goes on ' + ', '.join(
    f'{base} ({mine})' for base, mine in ROI_HEADS.items()
)
# What a schedule or sampler in train_cfg.rcnn shows about the base.
_TRAIN_CFG = {'dynamic_rcnn': 'DynamicRoIHead', 'isr': 'PISARoIHead', 'carl': 'PISARoIHead'}


def parameters(kind: type) -> set[str]:
    """Names of what a class and its bases take."""
    names = set()
    for base in kind.__mro__:
        if '__init__' in vars(base):
            for name, parameter in inspect.signature(base.__init__).parameters.items():
                if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                    names.add(name)
    return names - {'self'}


def _who_takes(options: Iterable[str], candidates: Iterable[type]) -> str | None:
    """The simplest class that takes all of these options."""
    options = set(options)
    fitting = [kind for kind in candidates if options <= parameters(kind)]
    return min(fitting, key=lambda kind: (len(parameters(kind)), kind.__name__), default=None)


def _mmdet(room: str) -> list[type]:
    """Classes registered from a module (and those below it) of mmdet's RoI heads."""
    place = f'mmdet.models.roi_heads{room}'
    return [kind for kind in MODELS.module_dict.values() if kind.__module__.startswith(place)]


def check_roi_base(kind: type, options: Mapping) -> None:
    """Refuse to stand for a RoI head that does more than ``kind``.

    A config that only changes ``type`` keeps everything else that the base's RoI head takes:
    by that it is recognised.

    Args:
        kind: The class that is built.
        options: Its keyword arguments.

    Raises:
        UsageError: Naming the base, and the class to use or that there is none.
    """
    name = kind.__name__
    unknown = sorted(set(options) - parameters(kind))
    _check_plain_base(name, options)
    if unknown:
        base = _who_takes(
            unknown, [kind for kind in _mmdet('') if kind.__name__.endswith('RoIHead')]
        )
        if base is None:
            raise UsageError(
                f'{name} has no option {", ".join(unknown)}, nor has any RoI head of mmdet; its '
                f'options are {", ".join(sorted(parameters(kind)))}'
            )
        _refuse(name, base.__name__, f'roi_head.{", ".join(unknown)}')
    train_cfg = options.get('train_cfg')
    for stage in train_cfg if isinstance(train_cfg, list | tuple) else [train_cfg or {}]:
        for key, base in _TRAIN_CFG.items():
            if key in stage and ROI_HEADS.get(base) != name:
                _refuse(name, base, f'train_cfg.rcnn.{key}')
        sampler = stage.get('sampler') or {}
        if 'ScoreHLRSampler' in str(sampler.get('type')):
            _refuse(name, 'PISARoIHead', 'train_cfg.rcnn.sampler of type ScoreHLRSampler')


def _check_plain_base(name: str, options: Mapping) -> None:
    """Refuse a head with stages or a schedule on a base that has neither."""
    if name in ('CascadeRegionAttentionRoIHead', 'HybridTaskCascadeRegionAttentionRoIHead'):
        lacking = [key for key in ('num_stages', 'stage_loss_weights') if key not in options]
        if not lacking and isinstance(options.get('bbox_head'), list | tuple):
            return
        why = f'no roi_head.{", ".join(lacking)}' if lacking else 'one bbox_head, no list'
        recipe = CASCADE_RECIPE
        if name.startswith('Hybrid'):
            recipe = recipe.replace('cascade_rcnn/cascade-rcnn', 'htc/htc').replace(
                'CascadeRegion', 'HybridTaskCascadeRegion'
            )
        raise UsageError(
            f'{name} needs a base whose heads are a list, one a stage; this one has {why}. On a '
            f"plain base, use type='RegionAttentionRoIHead'; on a cascade:\n{recipe}"
        )
    if name != 'DynamicRegionAttentionRoIHead':
        return
    head, rcnn = options.get('bbox_head') or {}, options.get('train_cfg')
    loss = head.get('loss_bbox') or {} if isinstance(head, Mapping) else {}
    why = None
    if isinstance(rcnn, Mapping) and 'dynamic_rcnn' not in rcnn:
        why = 'no train_cfg.rcnn.dynamic_rcnn (its schedule)'
    elif 'SmoothL1Loss' not in str(loss.get('type')):
        why = f'the box loss {loss.get("type", "L1Loss")}, not the SmoothL1Loss that it sharpens'
    if why:
        raise UsageError(
            f'{name} needs a base with the schedule of Dynamic R-CNN; this one has {why}. Use '
            "type='RegionAttentionRoIHead', or _base_ = "
            "'mmdet::dynamic_rcnn/dynamic-rcnn_r50_fpn_1x_coco.py'"
        )


def _refuse(name: str, base: str, because: str) -> None:
    mine = ROI_HEADS.get(base)
    if mine is None:
        raise UsageError(
            f'{name} cannot stand in the place of {base} (recognised by {because}): what it does '
            f'beyond StandardRoIHead would be lost: {_SUPPORTED}; not on {base}'
        )
    recipe = ''
    if mine == 'CascadeRegionAttentionRoIHead':
        recipe = f'. Its heads are a list, one a stage:\n{CASCADE_RECIPE}'
    raise UsageError(
        f'{name} cannot stand in the place of {base} (recognised by {because}): '
        f"use type='{mine}'{recipe}"
    )


def as_region_heads(cfg: dict | list) -> dict | list:
    """Box head configs with ``attention`` that kept the ``type`` of their base, as ours.

    ``bbox_head=dict(attention=...)`` alone is then enough: the shared layers stay those of the
    base.

    Raises:
        UsageError: If attention is asked of a box head that cannot have it.
    """
    if isinstance(cfg, list | tuple):
        return [as_region_heads(item) for item in cfg]
    if not isinstance(cfg, dict) or not {'attention', 'intra_attention'} & set(cfg):
        return cfg
    kind = MODELS.get(cfg['type']) if isinstance(cfg.get('type'), str) else cfg.get('type')
    name = kind.__name__ if isinstance(kind, type) else str(cfg.get('type'))
    if name in BBOX_HEADS:
        cfg = type(cfg)(BBOX_HEADS[name] | dict(cfg, type='RegionAttentionBBoxHead'))
        if name == 'ConvFCBBoxHead':
            cfg.setdefault('num_shared_fcs', 0)
            cfg.setdefault('num_shared_convs', 0)
    elif kind is not None and 'attention' not in parameters(kind):
        raise UsageError(
            f'bbox_head of type {name} cannot have attention among regions; it goes on '
            f'{", ".join(BBOX_HEADS)}'
        )
    return cfg


def shared_layers(kind: type, options: dict) -> dict[str, int]:
    """Shared layers of the box head whose ``type`` was replaced, by what else it was given.

    Args:
        kind: The class that is built.
        options: Its keyword arguments.

    Returns:
        ``num_shared_convs`` and ``num_shared_fcs``, where they are not among the options.

    Raises:
        UsageError: If an option is of another kind of box head, or the base has no shared layer.
    """
    unknown = sorted(set(options) - parameters(kind))
    if unknown:
        base = _who_takes(unknown, _mmdet('.bbox_heads'))
        whose = f': it is one of {base.__name__}' if base else ''
        raise UsageError(
            f'{kind.__name__} has no option {", ".join(unknown)}{whose}. The attention goes on '
            f'{", ".join(BBOX_HEADS)}; for another head, leave its type and use no attention'
        )
    counts = [name for name in parameters(kind) if name.startswith('num_') and name[-1] == 's']
    if set(options) & set(counts) - {'num_classes'}:
        return {} if 'num_shared_fcs' in options else dict(num_shared_fcs=2)
    if any(options.get(key) for key in ('norm_cfg', 'conv_cfg', 'conv_out_channels')):
        # Of mmdet's heads with only shared layers this one alone has convolutions to normalise.
        return dict(num_shared_convs=4, num_shared_fcs=1)
    if options.get('with_avg_pool') and 'fc_out_channels' not in options:
        raise UsageError(
            'the base has a plain BBoxHead (with_avg_pool, no fully connected layers): there is '
            'no shared layer after which attention could stand. Set num_shared_fcs=1 (or 2) and '
            'fc_out_channels to add some: that is another head than the base has'
        )
    return dict(num_shared_fcs=2)
