"""Imports all that registers a class with mmdet; its registries do so when looked into."""

from .attention import intra, lambda_layer, self_attention
from .backbones import efficientnet_lite, timm_backbone
from .datasets import (
    augmentation,
    bdd100k,
    black_bars,
    camera,
    corruptions,
    recordings,
    transforms,
    weather,
)
from .dense_heads import quick_rpn_head
from .evaluation import bdd100k_metric
from .roi_heads import (
    belief_bbox_head,
    more_roi_heads,
    quick_roi_extractor,
    region_attention_bbox_head,
    region_attention_roi_head,
)
from .task_modules import quick_max_iou_assigner, quick_random_sampler
from .trunk_cache import dataset, detector, hook
from .viewer import hook as viewer_hook
from .viewer import painting

__all__ = [
    'augmentation',
    'bdd100k',
    'bdd100k_metric',
    'belief_bbox_head',
    'black_bars',
    'camera',
    'corruptions',
    'dataset',
    'detector',
    'efficientnet_lite',
    'hook',
    'intra',
    'lambda_layer',
    'more_roi_heads',
    'painting',
    'quick_max_iou_assigner',
    'quick_random_sampler',
    'quick_roi_extractor',
    'quick_rpn_head',
    'recordings',
    'region_attention_bbox_head',
    'region_attention_roi_head',
    'self_attention',
    'timm_backbone',
    'transforms',
    'viewer_hook',
    'weather',
]
