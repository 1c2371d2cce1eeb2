"""RoI heads with attention among regions."""

from .region_attention_bbox_head import RegionAttentionBBoxHead
from .region_attention_roi_head import CascadeRegionAttentionRoIHead, RegionAttentionRoIHead
from .region_context import RegionContext

__all__ = [
    'CascadeRegionAttentionRoIHead',
    'RegionAttentionBBoxHead',
    'RegionAttentionRoIHead',
    'RegionContext',
]
