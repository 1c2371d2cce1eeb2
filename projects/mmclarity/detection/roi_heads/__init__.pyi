from .belief_bbox_head import BeliefBBoxHead
from .explanation import DetectionExplanation, Explanation, LayerWeights, Verdict
from .more_roi_heads import (
    DynamicRegionAttentionRoIHead,
    HybridTaskCascadeRegionAttentionRoIHead,
)
from .quick_roi_extractor import QuickRoIExtractor
from .region_attention_bbox_head import RegionAttentionBBoxHead
from .region_attention_roi_head import CascadeRegionAttentionRoIHead, RegionAttentionRoIHead
from .region_context import ContextFeatures, PassContext, RegionContext

__all__ = [
    'BeliefBBoxHead',
    'CascadeRegionAttentionRoIHead',
    'ContextFeatures',
    'DetectionExplanation',
    'DynamicRegionAttentionRoIHead',
    'Explanation',
    'HybridTaskCascadeRegionAttentionRoIHead',
    'LayerWeights',
    'PassContext',
    'QuickRoIExtractor',
    'RegionAttentionBBoxHead',
    'RegionAttentionRoIHead',
    'RegionContext',
    'Verdict',
]
