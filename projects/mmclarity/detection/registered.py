"""Imports all that registers a class with mmdet; its registries do so when looked into."""

from .attention import intra, lambda_layer, self_attention
from .backbones import efficientnet_lite, timm_backbone
from .datasets import bdd100k, transforms
from .evaluation import bdd100k_metric
from .roi_heads import more_roi_heads, region_attention_bbox_head, region_attention_roi_head

__all__ = [
    'bdd100k',
    'bdd100k_metric',
    'efficientnet_lite',
    'intra',
    'lambda_layer',
    'more_roi_heads',
    'region_attention_bbox_head',
    'region_attention_roi_head',
    'self_attention',
    'timm_backbone',
    'transforms',
]
