from .dataset import TrunkCacheDataset
from .detector import FrozenTrunkPreprocessor, FrozenTrunkRCNN
from .files import CacheWriter, TrunkCache, trunk_fingerprint
from .hook import TrunkCacheHook

__all__ = [
    'CacheWriter',
    'FrozenTrunkPreprocessor',
    'FrozenTrunkRCNN',
    'TrunkCache',
    'TrunkCacheDataset',
    'TrunkCacheHook',
    'trunk_fingerprint',
]
