from .base import BaseRegionAttention
from .geometry import BoxEmbedding, PairGeometryEncoder, relative_geometry
from .intra import IntraRegionAttention
from .lambda_layer import RegionBatchNorm, RegionLambda
from .regions import RegionBatch
from .self_attention import RegionSelfAttention, RegionSourceTargetAttention

__all__ = [
    'BaseRegionAttention',
    'BoxEmbedding',
    'IntraRegionAttention',
    'PairGeometryEncoder',
    'RegionBatch',
    'RegionBatchNorm',
    'RegionLambda',
    'RegionSelfAttention',
    'RegionSourceTargetAttention',
    'relative_geometry',
]
