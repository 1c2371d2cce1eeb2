"""Attention among, and within, the regions of an image."""
from .base import BaseRegionAttention
from .geometry import PairGeometryEncoder, relative_geometry
from .intra import IntraRegionAttention
from .lambda_layer import RegionBatchNorm, RegionLambda
from .regions import RegionBatch
from .self_attention import RegionSelfAttention, RegionSourceTargetAttention

__all__ = [
    'BaseRegionAttention', 'IntraRegionAttention', 'PairGeometryEncoder', 'RegionBatch',
    'RegionBatchNorm', 'RegionLambda', 'RegionSelfAttention', 'RegionSourceTargetAttention',
    'relative_geometry'
]
