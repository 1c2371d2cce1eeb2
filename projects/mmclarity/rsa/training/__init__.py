"""What mmengine configs need: ``custom_imports=dict(imports=['mmclarity.rsa.training'])``."""

from .classification import (
    ImageFolderDataset,
    RGBPreprocessor,
    SmallAlexNet,
    TopKAccuracy,
    TorchvisionClassifier,
)
from .hook import RSAHook

__all__ = [
    'ImageFolderDataset',
    'RGBPreprocessor',
    'RSAHook',
    'SmallAlexNet',
    'TopKAccuracy',
    'TorchvisionClassifier',
]
